"""Gradient descent, the inner step of MAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.update_rules.base import Own, UpdateRule

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SGD"]


def _gradient(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return the gradient as it is."""
    return gradient


SGD = UpdateRule(
    name="sgd",
    summary="Takes the gradient as it is: nothing of the step is learned.",
    citation="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017, Equation 1",
    transform=_gradient,
)
