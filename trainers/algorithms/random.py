"""Random features: a network that stays as it was drawn, the floor of every comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from metaprobe.trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["RANDOM"]


def _no_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return no gradient; loss and accuracy, for the record, are those of the NIL head on the queries."""
    import torch

    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import TaskNetwork
    from metaprobe.trainers.networks.heads import nil_log_probabilities

    assert isinstance(network, TaskNetwork)
    with torch.no_grad():
        return direct_gradient({}, nil_log_probabilities(network, params, tasks, transductive), tasks.query.labels)


RANDOM = Algorithm(
    name="random",
    summary="Never trained: freshly drawn weights, of which the head alone adapts at test time.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 5.2 (iv)",
    adaptation=adapt_head,
    meta_gradient=_no_gradient,
    head="nil",
    takes_base=False,
)
