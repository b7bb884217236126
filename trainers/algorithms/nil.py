"""NIL: no inner loop in training either; queries are classified by their similarity to the support set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from metaprobe.trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["NIL"]


def _matching_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the gradient of the queries' mean −log Σ_k a(x, x_k) y_k by the body; the head is not in it."""
    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import TaskNetwork
    from metaprobe.trainers.networks.heads import body_of, nil_log_probabilities

    assert isinstance(network, TaskNetwork)
    scores = nil_log_probabilities(network, params, tasks, transductive)
    return direct_gradient(body_of(network, params), scores, tasks.query.labels)


NIL = Algorithm(
    name="nil",
    summary="Trains the body as a matching network, without a head; at test time its untrained head adapts alone.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 5.2 (v)",
    adaptation=adapt_head,
    meta_gradient=_matching_gradient,
    head="nil",
)
