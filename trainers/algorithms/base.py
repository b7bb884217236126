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
    loss: Tensor
    accuracy: Tensor

    def __add__(self, other: MetaGradient) -> MetaGradient:
        gradients = {name: gradient + other.gradients[name] for name, gradient in self.gradients.items()}
        return MetaGradient(gradients, self.loss + other.loss, self.accuracy + other.accuracy)


@dataclass(frozen=True)
class Algorithm:
    """A way to meta-train.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: paper and section.
        adaptation: how its learners adapt, from the run's config and the network's layers.
        meta_gradient: (network, params, tasks, adaptation, transductive, sweep) → the gradient *summed* over the tasks,
            so that a batch may come in chunks; `sweep` asks for the scheme that holds one inner step's graph at a time.
    """

    name: str
    summary: str
    citation: str
    adaptation: Callable[[TrainConfig, tuple[str, ...]], Adaptation]
    meta_gradient: Callable[[nn.Module, Parameters, Tasks, Adaptation, bool, bool], MetaGradient]


def meta_gradient(
    network: nn.Module,
    params: Parameters,
    tasks: Tasks,
    adaptation: Adaptation,
    transductive: bool,
    sweep: bool = False,
) -> MetaGradient:
    """Return ∇θ Σ_T L_query(θ_T(θ)), the outer gradient of MAML and its relatives; see `trainers.meta_gradient`."""
    from trainers.meta_gradient import swept_meta_gradient, unrolled_meta_gradient

    scheme = swept_meta_gradient if sweep else unrolled_meta_gradient
    return scheme(network, params, tasks, adaptation, transductive)
