"""How the small models are meta-trained, and what the paper calls where they lead. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from metaprobe.trainers.limits import check_rate, check_whole

__all__ = ["HELD", "MOVING", "ORIGIN", "SOLUTIONS", "Descent", "Labels", "LogisticTraining"]

ORIGIN = "(0, 0)"
SOLUTIONS = ("(1/√α, 0)", "(−1/√α, 0)", "(0, 1/√α)", "(0, −1/√α)")
"""The paper's names of the four points that it calls MAML solutions."""

HELD, MOVING = "a held", "both move"
"""What moves in the one step of the deep model, as `view` names it."""

Labels = Literal["drawn", "sign"]


@dataclass(frozen=True)
class Descent:
    """How the scalar models are meta-trained.

    Rates and momentum are the paper's (appendix D). It says neither how many tasks a step has, nor how many steps were
    taken, nor where they began: those are ours.

    Attributes:
        alpha: rate of the one inner step.
        beta: rate of the outer steps, of stochastic gradient descent.
        momentum: of those.
        tasks: drawn anew for each outer step.
        iterations: outer steps.
        runs: trainings, each from weights of its own, drawn from N(0, 1).
        seed: names weights and tasks.
    """

    alpha: float = 0.1
    beta: float = 0.01
    momentum: float = 0.9
    tasks: int = 16
    iterations: int = 1000
    runs: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("tasks", "iterations", "runs"):
            check_whole(name, getattr(self, name), 1)
        for name in ("alpha", "beta"):
            check_rate(name, getattr(self, name))


@dataclass(frozen=True)
class LogisticTraining:
    """How logistic regressions are meta-trained.

    The inner rate is the paper's for all of them, the outer rates are by number of linear layers (Table D.5). Widths,
    samples, tasks a step, steps, optimiser and momentum are ours: the paper does not say them of these models.

    Attributes:
        alpha: rate of the one inner step.
        betas: rate of the outer steps by number of linear layers; stochastic gradient descent.
        momentum: of those.
        width: units of a linear layer.
        n_shot: support samples of a task.
        n_query: query samples of a task.
        tasks: drawn anew for each outer step.
        iterations: outer steps.
        labels: "drawn" from σ(θᵀx), or its "sign".
        seed: names weights and tasks.
    """

    alpha: float = 0.9
    betas: tuple[tuple[int, float], ...] = ((0, 0.01), (2, 0.1), (3, 0.1))
    momentum: float = 0.9
    width: int = 16
    n_shot: int = 10
    n_query: int = 100
    tasks: int = 16
    iterations: int = 400
    labels: Labels = "drawn"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "n_shot", "n_query", "tasks", "iterations"):
            check_whole(name, getattr(self, name), 1)
        check_rate("alpha", self.alpha)
