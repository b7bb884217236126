"""ANIL: only the head adapts, in training and at test time; the body is learned by the outer loop alone."""

from trainers.algorithms.base import Algorithm, meta_gradient
from trainers.config import Adaptation, TrainConfig

__all__ = ["ANIL"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return Adaptation(layers[-1:], config.inner_lr, config.inner_steps, adapt_norm=config.adapt_norm)


ANIL = Algorithm(
    name="anil",
    summary="MAML whose inner loop moves the head alone (almost no inner loop).",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 4",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
)
