"""Clusters as tensors of a checkpoint's file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.clustering.settings import Clustering, clustered_names
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.cluster_format import CENTRES, CLUSTERS, INITIALISATIONS, MEMBERS, cluster_problems
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.networks import Parameters, layer_of

__all__ = ["CLUSTERS", "cluster_tensors", "read_clusters", "with_settings"]

_NORM = ".norm."  # in the names of what belongs to norms, in our networks


def cluster_tensors(clusters: Clusters) -> dict[str, Tensor]:
    """Return the tensors of clusters by their names in a file; the base lies there under the network's own names."""
    centres = {f"{CENTRES}{name}": value for name, value in clusters.centres.items()}
    initialisations = {f"{INITIALISATIONS}{name}": value for name, value in clusters.initialisations.items()}
    return {MEMBERS: clusters.members} | centres | initialisations


def with_settings(config: TrainConfig, clusters: Clusters | None) -> TrainConfig:
    """Return the config that a checkpoint holds: of clusters, with all that decides to which a task goes."""
    if clusters is None:
        return config
    moves, norms = clusters.moves, any(_NORM in name for name in clusters.centres)
    decided = {"label_orders": moves.label_orders, "symmetric_head": moves.symmetric_head, "cluster_norms": norms}
    return dataclasses.replace(config, cluster_steps=moves.adaptation.steps, **decided)


def read_clusters(
    path: Path | str, base: Parameters, tensors: Mapping[str, Tensor], config: TrainConfig, adaptation: Adaptation
) -> Clusters:
    """Build the clusters of a checkpoint from its tensors.

    A checkpoint that does not say after how many steps tasks are assigned is of an earlier version: after as many as
    the learner takes, in the order that their labels have.

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
    settings = Clustering.of(config)
    if config.cluster_steps is not None:
        _check_centres(path, base, centres, settings)
        adaptation = dataclasses.replace(adaptation, steps=settings.steps)
    moves = Moves(adaptation, settings.label_orders, settings.symmetric_head)
    return Clusters(base, centres, initialisations, members, moves, settings.assign_to)


def _check_centres(path: Path | str, base: Parameters, centres: Mapping[str, Tensor], settings: Clustering) -> None:
    """Refuse centres of other parameters than those that the config says tasks are clustered by."""
    names = tuple(base)
    wanted = clustered_names(names, {name for name in names if _NORM in name}, layer_of(names[-1]), settings)
    if differing := sorted(set(wanted) ^ set(centres)):
        told = "is missing" if differing[0] in wanted else "is there"
        by = f"tasks are clustered by {settings.by!r} {'with' if settings.norms else 'without'} norms, by its config"
        raise UnreadableInput(f"{path}: its clusters are damaged: {CENTRES}{visible(differing[0], 80)} {told}; {by}")
