"""The learners of the study and what they are called. No torch, no pandas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BASE", "CONTINUED", "GAINS", "LARGE", "Learner", "label_of"]

BASE, CONTINUED, LARGE = "base", "m1", "large"
"""Keys of learners: the pretrained MAML; MAML trained on, for as many steps as TSA-MAML; MAML with a larger network."""

GAINS = {BASE: "accuracy_gain_over_base", CONTINUED: "accuracy_gain_over_m1", "first": "accuracy_gain_over_first"}
"""Measures of paired differences in accuracy (points), by the learner that is subtracted."""


@dataclass(frozen=True)
class Learner:
    """One trained learner.

    Attributes:
        role: what it is in the study.
        seed: of its training.
        checkpoint: its id in the table.
        m: how many initialisations it has.
        parameters: of its network.
    """

    role: Literal["base", "tsa", "large"]
    seed: int
    checkpoint: str
    m: int = 1
    parameters: int = 0

    @property
    def key(self) -> str:
        """What it is called in code, the same for all seeds."""
        return f"m{self.m}" if self.role == "tsa" else self.role


def label_of(key: str) -> str:
    """Return what a learner is called on the page."""
    fixed = {BASE: "MAML", CONTINUED: "MAML, continued", LARGE: "MAML, larger network"}
    return fixed.get(key) or f"TSA-MAML, m = {key.removeprefix('m')}"
