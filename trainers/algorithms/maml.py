"""MAML: every layer adapts, and the meta-gradient goes through the inner gradients."""

from trainers.algorithms.base import Algorithm, meta_gradient
from trainers.config import Adaptation, TrainConfig

__all__ = ["MAML"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return Adaptation(layers, config.inner_lr, config.inner_steps, adapt_norm=config.adapt_norm)


MAML = Algorithm(
    name="maml",
    summary="Learns an initialisation from which a few gradient steps on all layers solve a task.",
    citation="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017, Algorithm 2",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
)
