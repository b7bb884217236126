"""First-order MAML: as MAML, with the inner gradients taken as constants in the meta-gradient."""

import dataclasses

from metaprobe.trainers.algorithms.base import UPDATES, Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation, TrainConfig

__all__ = ["FOMAML"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return dataclasses.replace(adapt_all(config, layers), first_order=True)


FOMAML = Algorithm(
    name="fomaml",
    summary="MAML without second derivatives: the query gradient at the adapted weights, applied to the initial ones.",
    citation="Finn, Abbeel, Levine: Model-Agnostic Meta-Learning, ICML 2017, Section 5.2",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
    options=UPDATES | {"step_norms", "step_statistics", "multi_step_loss"},  # it is first order throughout
    regression=True,
)
