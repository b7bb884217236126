"""Clusters as tensors of a checkpoint's file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from trainers.clustering.clusters import Clusters
from trainers.clustering.settings import Clustering
from trainers.config import Adaptation, TrainConfig
from trainers.errors import UnreadableInput
from trainers.formats.cluster_format import CENTRES, CLUSTERS, INITIALISATIONS, MEMBERS, cluster_problems
from trainers.networks import Parameters

__all__ = ["CLUSTERS", "cluster_tensors", "read_clusters"]


def cluster_tensors(clusters: Clusters) -> dict[str, Tensor]:
    """Return the tensors of clusters by their names in a file; the base lies there under the network's own names."""
    centres = {f"{CENTRES}{name}": value for name, value in clusters.centres.items()}
    initialisations = {f"{INITIALISATIONS}{name}": value for name, value in clusters.initialisations.items()}
    return {MEMBERS: clusters.members} | centres | initialisations


def read_clusters(
    path: Path | str, base: Parameters, tensors: Mapping[str, Tensor], config: TrainConfig, adaptation: Adaptation
) -> Clusters:
    """Build the clusters of a checkpoint from its tensors.

    Raises:
        UnreadableInput: a tensor is missing, one too many, or of a shape that does not fit the base, or a cluster has
            less than no member.
    """
    kinds = {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()}
    if problem := next(cluster_problems(kinds, torch.int64), None):
        raise UnreadableInput(f"{path}: its clusters are damaged: {problem}")
    members = tensors[MEMBERS]
    if config.clusters not in (None, len(members)):
        told = f"{len(members)} of them, where its config asks for {config.clusters}"
        raise UnreadableInput(f"{path}: its clusters are damaged: {told}")
    if (members < 0).any():
        cluster = int(members.argmin())
        raise UnreadableInput(
            f"{path}: its clusters are damaged: {MEMBERS} counts {int(members[cluster])} tasks in cluster {cluster}"
        )
    # in the base's order: sums over parameters must not depend on the order in a file
    centres, initialisations = (
        {name: tensors[part + name] for name in base if part + name in tensors} for part in (CENTRES, INITIALISATIONS)
    )
    return Clusters(base, centres, initialisations, members, adaptation, Clustering.of(config).assign_to)
