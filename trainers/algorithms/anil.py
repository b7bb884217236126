"""ANIL: only the head adapts, in training and at test time; the body is learned by the outer loop alone."""

from metaprobe.trainers.algorithms.base import STAGES, UPDATES, Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation, TrainConfig

__all__ = ["ANIL"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    """Return the head alone, with the linear layers before it that `--linnet` adds (Arnold et al. 2021, Table 2)."""
    return adapt_all(config, layers[-1 - len(config.linnet) :])


ANIL = Algorithm(
    name="anil",
    summary="MAML whose inner loop moves the head alone (almost no inner loop).",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 4",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
    options=UPDATES | STAGES,
    regression=True,
)
