"""What an algorithm is, and the meta-gradient that the inner-loop family shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.config import Adaptation, TrainConfig

if TYPE_CHECKING:  # listing the algorithms must not wait for torch
    from torch import Tensor, nn

    from trainers.networks import Parameters
    from trainers.tasks.episodes import Tasks

__all__ = ["Algorithm", "MetaGradient", "meta_gradient"]


@dataclass(frozen=True)
class MetaGradient:
    """The sum over tasks of one outer step's gradient, losses (nats) and correctly classified share of queries."""

    gradients: dict[str, Tensor]
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Algorithm:
    """A way to meta-train.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: paper and section.
        adaptation: how its learners adapt, from the run's config and the network's layers.
        meta_gradient: (network, params, tasks, adaptation, transductive) → the gradient *summed* over the tasks, so
            that a batch may come in chunks.
    """

    name: str
    summary: str
    citation: str
    adaptation: Callable[[TrainConfig, tuple[str, ...]], Adaptation]
    meta_gradient: Callable[[nn.Module, Parameters, Tasks, Adaptation, bool], MetaGradient]


def meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return ∇θ Σ_T L_query(θ_T(θ)), the outer gradient of MAML and its relatives (Finn et al. 2017, Eq. 4).

    Args:
        network: see `trainers.adapt`.
        params: θ, leaves that require a gradient.
        tasks: the chunk.
        adaptation: which layers adapt, how far, and whether to first order.
        transductive: how the query set is normalised.
    """
    import torch

    from trainers.adapt import adapt_as, query_logits, task_losses

    adapted = adapt_as(network, params, tasks.support, adaptation, create_graph=True)
    logits = query_logits(network, adapted.params, tasks.support, tasks.query, transductive=transductive)
    loss = task_losses(logits, tasks.query.labels).sum()
    gradients = torch.autograd.grad(loss, list(params.values()))
    hits = (logits.argmax(-1) == tasks.query.labels).float().mean(dim=1).sum()
    return MetaGradient(dict(zip(params, gradients, strict=True)), float(loss.detach()), float(hits))
