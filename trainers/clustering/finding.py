"""Finding the clusters that TSA-MAML starts from, in the adapted parameters of training tasks."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.kmeans import k_means
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.clustering.settings import Clustering, clustered_names
from metaprobe.trainers.clustering.vectors import TaskVectors
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.networks import Parameters, TaskNetwork, norm_parameters
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.data import TaskSampler
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Search", "find_clusters"]

_CHUNK = 8  # tasks that a worker adapts at once


@dataclass(frozen=True)
class Search:
    """What finding clusters needs of a run.

    Attributes:
        config: the run's.
        base: θ*, on the device.
        tasks: training tasks.
        adaptation: how learners adapt to them; for clusters with as many steps as the config asks.
        workers: of the run's network.
        scratch: a folder for temporary files.
    """

    config: TrainConfig
    base: Parameters
    tasks: TaskSampler
    adaptation: Adaptation
    workers: TaskWorkers[TaskNetwork]
    scratch: Path


def find_clusters(search: Search, advance: Callable[[int], None]) -> Clusters:
    """Cluster training tasks by θ̄_T − θ*, and start each cluster at its members' mean (Zhou et al. 2021, Section 4.2).

    Displacements of all parameters are averaged, those included by which tasks are not clustered. The tasks are those
    with the indices 0, 1 …, which training then begins with too. One cluster alone is not looked for: it starts at θ*
    itself, which makes TSA-MAML with m = 1 MAML continued; all tasks asked for are its members.

    Args:
        search: where to look.
        advance: called with the number of tasks just adapted to.

    Raises:
        MetaprobeError: an empty cluster, or too little room on the disk.
    """
    wanted = Clustering.of(search.config)
    base = {name: value.detach() for name, value in search.base.items()}
    network = search.workers.network
    names = clustered_names(base, norm_parameters(network), network.layer_names[-1], wanted)
    adaptation = dataclasses.replace(search.adaptation, steps=wanted.steps)
    moves = Moves(adaptation, wanted.label_orders, wanted.symmetric_head)
    if wanted.m == 1:
        alone = {name: value[None].clone() for name, value in base.items()}
        centres = {name: alone[name].clone() for name in names}
        members = torch.tensor([wanted.tasks])
        return Clusters(base, centres, alone, members, moves, wanted.assign_to)
    shapes = {name: tuple(value.shape) for name, value in base.items()}
    with TaskVectors(shapes, wanted.tasks, search.scratch) as vectors:
        ends = range(0, wanted.tasks, _CHUNK)
        batches = (search.tasks.batch(range(first, min(first + _CHUNK, wanted.tasks))) for first in ends)
        for rows in search.workers.map(functools.partial(_displacements, base, moves), batches):
            vectors.append(rows)
            advance(len(next(iter(rows.values()))))
        features = sum(base[name].numel() for name in names)
        labels = k_means(vectors.points(names), wanted.m, search.config.seed, features)
        means = vectors.means(labels, wanted.m)
    initialisations = {name: base[name] + torch.from_numpy(means[name]).to(base[name]) for name in base}
    return Clusters(
        base=base,
        centres={name: initialisations[name].clone() for name in names},
        initialisations=initialisations,
        members=torch.from_numpy(np.bincount(labels, minlength=wanted.m)),
        moves=moves,
        assign_to=wanted.assign_to,
    )


def _displacements(
    base: Parameters, moves: Moves, network: TaskNetwork, tasks: Tasks
) -> dict[str, Float32[np.ndarray, "task feature"]]:
    """Return how far each parameter moves for each task, θ̄_T − θ*."""
    adapted = moves.adapted(network, base, tasks.support)
    return {name: (adapted[name] - value).expand(len(tasks), *value.shape).flatten(1).cpu().numpy()
            for name, value in base.items()}  # fmt: skip
