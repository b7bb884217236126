"""Several initialisations, one a cluster of tasks, and how a task finds its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.config import AssignTo
from metaprobe.trainers.networks import Parameters
from metaprobe.trainers.tasks.episodes import Examples

__all__ = ["Clusters", "Start", "starting_point"]


@dataclass(frozen=True)
class Clusters:
    """What TSA-MAML learns (Zhou et al. 2021, Section 4.2): m centres of adapted parameters, m initialisations.

    Attributes:
        base: θ*, the MAML initialisation that tasks adapt from to find their cluster.
        centres: (m, …) by name, for the parameters that tasks are clustered by.
        initialisations: (m, …) by name, for all parameters.
        members: how many of the tasks that the clusters were found in belong to each, (m,).
        moves: how θ* adapts to a task to find its cluster.
        assign_to: whether adapted parameters are compared with the centres, or with the initialisations.
    """

    base: Parameters
    centres: Mapping[str, Tensor]
    initialisations: Mapping[str, Tensor]
    members: Int[Tensor, " cluster"]
    moves: Moves
    assign_to: AssignTo

    @property
    def count(self) -> int:
        """How many clusters there are, m."""
        return len(self.members)

    def assign(self, network: nn.Module, support: Examples) -> Int[Tensor, " task"]:
        """Return each task's cluster: argmin_i ‖θ̄_T − c_i‖₂, θ̄_T being θ* adapted to the task's support set."""
        if self.count == 1:  # nothing to choose
            return torch.zeros(len(support.labels), dtype=torch.int64, device=support.images.device)
        return self.nearest(self.moves.adapted(network, self.base, support))

    def nearest(self, adapted: Parameters) -> Int[Tensor, " task"]:
        """Return the cluster nearest to each task's adapted parameters, which carry a leading task axis."""
        with torch.no_grad():
            squared = torch.stack([self._squared(adapted, cluster) for cluster in range(self.count)])
            return squared.argmin(dim=0)

    def of(self, network: nn.Module, support: Examples) -> Parameters:
        """Return each task's initialisation: all parameters with a leading task axis."""
        chosen = self.assign(network, support)
        return {name: value.detach()[chosen] for name, value in self.initialisations.items()}

    def to(self, device: torch.device | str) -> Clusters:
        """Return the same on another device."""
        moved = {
            part: {name: value.to(device) for name, value in getattr(self, part).items()}
            for part in ("base", "centres", "initialisations")
        }
        return dataclasses.replace(self, members=self.members.to(device), **moved)

    def _squared(self, adapted: Parameters, cluster: int) -> Tensor:
        against = self.centres if self.assign_to == "centres" else self.initialisations
        total = 0.0
        for name in self.centres:
            apart = (adapted[name] - against[name][cluster]).double()
            shared = apart.dim() < against[name].dim()  # a parameter that does not adapt
            total = total + (apart[None] if shared else apart).square().flatten(1).sum(dim=1)
        assert isinstance(total, Tensor)  # there are centres
        return total


Start = Parameters | Clusters
"""What a test adapts from: one initialisation, or one of several for each task."""


def starting_point(network: nn.Module, start: Start, support: Examples) -> Parameters:
    """Return the parameters that tasks adapt from: shared, or a task's own with a leading task axis."""
    return start.of(network, support) if isinstance(start, Clusters) else start
