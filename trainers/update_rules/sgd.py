"""Gradient descent, the inner step of MAML."""

from __future__ import annotations

from metaprobe.trainers.update_rules.base import UpdateRule

__all__ = ["SGD"]

SGD = UpdateRule(
    name="sgd",
    summary="Takes the gradient as it is: nothing of the step is learned.",
    citation="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017, Equation 1",
)
