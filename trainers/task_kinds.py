"""What a task asks for, classes or numbers: its loss, and the metric that it is judged by. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["CLASSIFICATION", "KINDS", "REGRESSION", "Loss", "TaskKind"]

Loss = Literal["cross-entropy", "mse"]


@dataclass(frozen=True)
class TaskKind:
    """A kind of task.

    Attributes:
        name: "classification" or "regression".
        loss: what inner and outer loop minimise, a mean over samples (of regression: and outputs).
        metric: what a learner is judged by, as tables and metrics.jsonl call it.
        scale: from the metric of one sample (right or wrong, a squared error) to its unit.
        unit: as it stands after a number.
        limits: smallest and largest value of the metric, in its unit.
        higher_is_better: whether more of it is better.
    """

    name: str
    loss: Loss
    metric: str
    scale: float
    unit: str
    limits: tuple[float, float]
    higher_is_better: bool

    def goodness(self, value: float) -> float:
        """Return the metric so that more is better."""
        return value if self.higher_is_better else -value


CLASSIFICATION = TaskKind("classification", "cross-entropy", "accuracy", 100.0, " %", (0.0, 100.0), True)
REGRESSION = TaskKind("regression", "mse", "mean_squared_error", 1.0, "", (0.0, math.inf), False)

KINDS: dict[Loss, TaskKind] = {kind.loss: kind for kind in (CLASSIFICATION, REGRESSION)}
"""By their loss, which a run's config names."""
