"""HSML: MAML whose initialisation is gated by where a task lies in a learned tree of clusters."""

from __future__ import annotations

import dataclasses

from metaprobe.trainers.algorithms.base import Algorithm, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation, TrainConfig

__all__ = ["HSML"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return dataclasses.replace(adapt_all(config, layers), modulation="tree")


HSML = Algorithm(
    name="hsml",
    summary="MAML from an initialisation that an embedding of the task gates, through a learned tree of clusters.",
    citation="Yao, Wei, Huang, Li: Hierarchically Structured Meta-Learning, ICML 2019, Section 4",
    adaptation=_adaptation,
    meta_gradient=meta_gradient,
)
