"""Multimodal MAML: MAML whose norms are scaled and shifted by what an encoder sees of each task's images."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_all, meta_gradient
from metaprobe.trainers.config import Adaptation, TrainConfig

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["MMAML"]


def _adaptation(config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    return dataclasses.replace(adapt_all(config, layers), modulation="film", inner_clip=config.inner_clip or 0.0)


def _as_published(config: TrainConfig) -> dict[str, Any]:
    """Return that scales and shifts stay as the task's embedding made them; `--adapt-norm` has them adapt, too.

    Elements of inner gradients are held to ±20, as in the authors' code.
    """
    return {"adapt_norm": False, "inner_clip": 20.0}


def _without_norms(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the meta-gradient by all but the norms, which have no scale and shift of their own in the paper."""
    from metaprobe.trainers.networks import norm_parameters

    fixed = {name: params[name].detach() for name in norm_parameters(network)}
    return meta_gradient(network, {**params, **fixed}, tasks, adaptation, transductive, sweep)


MMAML = Algorithm(
    name="mmaml",
    summary="MAML whose feature maps are scaled and shifted by an embedding of each task's support images.",
    citation="Vuorio, Sun, Hu, Lim: Multimodal Model-Agnostic Meta-Learning via Task-Aware Modulation, NeurIPS 2019, "
    "Section 4",
    adaptation=_adaptation,
    meta_gradient=_without_norms,
    options=frozenset({"inner_clip"}),
    defaults=_as_published,
)
