"""Multitask training: one head for all tasks, though the labels of each are its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from metaprobe.trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["MULTITASK"]


def _shared_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the gradient of the unadapted network's mean cross-entropy on all images of each task, body and head.

    Support and query sets count alike, image by image, so that it sees the images that other algorithms see. Each is
    normalised as at test time: the support set by itself, the query set by itself or by the support set.
    """
    import torch

    from metaprobe.trainers.adapt import query_logits
    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import forward_tasks

    support = forward_tasks(network, params, tasks.support.images)
    query = query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    labels = torch.cat([tasks.support.labels, tasks.query.labels], dim=1)
    return direct_gradient(params, torch.cat([support, query], dim=1), labels)


MULTITASK = Algorithm(
    name="multitask",
    summary="Trains one head on all tasks with no inner loop; at test time that head adapts alone.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 5.2 (iii)",
    adaptation=adapt_head,
    meta_gradient=_shared_gradient,
    head="nil",
)
