"""How a learner adapts to a task, as a frozen dataclass. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.limits import MOST_STEPS, fits_float32
from metaprobe.trainers.plain import LATER

__all__ = ["Adaptation", "CgSystem", "StepStatistics"]

CgSystem = Literal["paper", "code"]
StepStatistics = Literal["batch", "running"]


@dataclass(frozen=True)
class Adaptation:
    """How a learner adapts to a task: θ ← θ − inner_lr ∇θ L_support, `steps` times, on `layers` only.

    `first_order` drops the derivative through the inner gradients from the meta-gradient (FOMAML); it changes training
    only. `adapt_norm` says whether the affine parameters of the norms take part. `rule` names the update rule, which
    may make something else of the gradient (`trainers.update_rules`). `step_norms` says whether the norms have
    parameters of their own for each step (`trainers.step_norms`), `step_statistics` whose statistics they take at a
    test: each batch's, or running ones of each step (`trainers.step_statistics`). `modulation` names what an embedding
    of the task makes of θ before the first step (`trainers.modulations`), "" for nothing. `loss_weights`, too, is of
    training only, and of the iterations that have it (`trainers.stages`): of the query losses after each step, where
    the last is not all that counts. `prox_lambda` λ holds the inner loop near θ: it descends L_support + λ/2 ‖φ − θ‖²,
    in training and test (`trainers.algorithms.imaml`); `cg_steps` and `cg_system`, of training only, are how that
    solves for its meta-gradient. `fce_steps` is how often a query reads the support set where the matching head
    compares full-context embeddings (`trainers.networks.full_context`), 0 where it compares features.
    `inner_clip` holds every element of an inner gradient to ± that, 0 for no limits.
    """

    layers: tuple[str, ...]
    inner_lr: float
    steps: int
    first_order: bool = False
    adapt_norm: bool = True
    rule: str = field(default="sgd", metadata=LATER)
    step_norms: bool = field(default=False, metadata=LATER)
    step_statistics: StepStatistics = field(default="batch", metadata=LATER)
    modulation: str = field(default="", metadata=LATER)
    loss_weights: tuple[float, ...] = field(default=(), metadata=LATER)
    prox_lambda: float = field(default=0.0, metadata=LATER)
    cg_steps: int = field(default=0, metadata=LATER)
    cg_system: CgSystem = field(default="paper", metadata=LATER)
    fce_steps: int = field(default=0, metadata=LATER)
    inner_clip: float = field(default=0.0, metadata=LATER)

    @property
    def learned_rule(self) -> str | None:
        """The update rule, where steps are not those of plain gradient descent."""
        return None if self.rule == type(self).rule else self.rule

    def __post_init__(self) -> None:
        got = f"got steps={self.steps}, inner_lr={self.inner_lr}"
        if self.steps < 0 or not self.inner_lr > 0:
            raise MetaprobeError(f"an adaptation needs steps >= 0 and inner_lr > 0; {got}")
        if self.steps > MOST_STEPS or not fits_float32(self.inner_lr):
            told = f"an adaptation takes {MOST_STEPS:,} steps at most, at a rate that is finite in float32"
            raise MetaprobeError(f"{told}; {got}")
        for name in ("prox_lambda", "inner_clip"):
            if (value := getattr(self, name)) and not (value > 0 and fits_float32(value)):
                raise MetaprobeError(f"an adaptation's {name} is 0 or above, and finite in float32; got {value}")
        if self.step_norms and self.adapt_norm:
            told = "the norms of a step are learned outside and leave nothing of them to adapt"
            raise MetaprobeError(f"--step-norms and --adapt-norm contradict each other: {told}; add --no-adapt-norm")
        if self.loss_weights and len(self.loss_weights) != self.steps:
            told = f"{len(self.loss_weights)} weights of losses for {self.steps} steps"
            raise MetaprobeError(f"an adaptation has a loss after each step; got {told}")
