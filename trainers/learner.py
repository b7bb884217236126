"""What a run trains: one initialisation, or one for each cluster of tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from metaprobe.trainers.clustering.clusters import Clusters, Start
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.networks import Parameters
from metaprobe.trainers.rule_parameters import computed

__all__ = ["Learner"]


class Learner:
    """The tensors that the outer loop steps, and the forms in which others take them.

    Args:
        params: of the network, and of its update rule, leaves; with clusters they are the base, which stays.
        beside: trained with them, but no part of the network.
        clusters: where a run with several initialisations begins.
        adaptation: whose update rule says what the network computes with.
        limits: that parameters are kept in, by name.

    Attributes:
        params: all tensors that are trained, by name; of several initialisations as "cluster/name".
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        beside: Mapping[str, Tensor] | None,
        clusters: Clusters | None,
        adaptation: Adaptation,
        limits: Mapping[str, tuple[float, float]],
    ) -> None:
        self._adaptation, self._limits = adaptation, dict(limits)
        self._network, self._beside, self._clusters = dict(params), dict(beside or {}), clusters
        if clusters is None:
            self._initialisations = [self._network | self._beside]
            self.params = self._initialisations[0]
            return
        self._initialisations = [
            {name: value[cluster].clone().requires_grad_() for name, value in clusters.initialisations.items()}
            for cluster in range(clusters.count)
        ]
        self.params = {
            f"{cluster}/{name}": value
            for cluster, params in enumerate(self._initialisations)
            for name, value in params.items()
        }

    @property
    def count(self) -> int:
        """How many initialisations there are."""
        return len(self._initialisations)

    def of(self, cluster: int) -> Parameters:
        """Return what a meta-batch of one cluster trains (0 where there is but one)."""
        return self._initialisations[cluster]

    def clip(self, element: float | None, norm: float | None) -> None:
        """Hold every element of what is to be stepped by to ± a number, then its norm, over all tensors, to another.

        A norm of 0 is none to be held to.
        """
        stepped = [value for value in self.params.values() if value.grad is not None]
        if element is not None:
            clip_grad_value_(stepped, element)
        if norm:
            clip_grad_norm_(stepped, norm)

    def clamp(self) -> None:
        """Bring what has limits back into them."""
        with torch.no_grad():
            for name, (low, high) in self._limits.items():
                self._network[name].clamp_(low, high)

    @property
    def network(self) -> Parameters:
        """What a checkpoint holds: the weights under the network's own names, and its update rule's parameters."""
        with torch.no_grad():
            return computed(self._network, self._adaptation)

    @property
    def clusters(self) -> Clusters | None:
        """The clusters with their initialisations as they are now; None for a learner of one."""
        if self._clusters is None:
            return None
        stacked = {
            name: torch.stack([params[name].detach() for params in self._initialisations])
            for name in self._clusters.initialisations
        }
        return dataclasses.replace(self._clusters, initialisations=stacked)

    @property
    def start(self) -> Start:
        """What a test adapts from."""
        return self.clusters or self.network
