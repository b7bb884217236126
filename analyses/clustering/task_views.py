"""What a task is described by: the mean feature of its images, and how far adaptation moves the parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters, Start, starting_point
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks, layer_of, norm_parameters
from metaprobe.trainers.networks.running import statistics_part
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.data import TaskSampler
from metaprobe.trainers.tasks.episodes import Examples, Tasks

__all__ = [
    "PARAMETER_VIEWS",
    "VIEWS",
    "StartName",
    "TaskViews",
    "View",
    "Viewer",
    "adapted_parameters",
    "batches_of",
    "collect_views",
    "columns_of",
    "flattened",
    "mean_features",
    "views_of",
]

View = Literal["all", "body", "head", "features"]
StartName = Literal["base", "own"]

PARAMETER_VIEWS: tuple[View, ...] = ("all", "body", "head")
"""Views of the adapted parameters: column ranges of one vector."""

VIEWS: tuple[View, ...] = (*PARAMETER_VIEWS, "features")


@dataclasses.dataclass(frozen=True, eq=False)
class TaskViews:
    """Tasks, a row each.

    Attributes:
        moved: θ_T − θ, flattened, the body's parameters first and the head's last; 0 for one that does not adapt.
            Norms' parameters are not among them, unless the checkpoint's clusters are made by those too.
        features: mean over the task's images of what the head reads, before adaptation.
        groups: the domain of each task.
        body: how many columns of `moved` are the body's.
    """

    moved: Float32[np.ndarray, "task parameter"]
    features: Float32[np.ndarray, "task feature"]
    groups: tuple[str, ...]
    body: int

    def of(self, view: View) -> Float32[np.ndarray, "task column"]:
        """Return the vectors of a view, without a copy."""
        return self.features if view == "features" else self.moved[:, columns_of(view, self.body)]


def columns_of(view: View, body: int) -> slice:
    """Return the columns of a view of the parameters, the body's `body` columns being first."""
    return {"all": slice(None), "body": slice(body), "head": slice(body, None)}[view]


@dataclasses.dataclass(frozen=True, eq=False)
class Viewer:
    """How tasks are described; made by `Viewer.of`.

    Attributes:
        network: of the checkpoint, on the device.
        base: θ, which parameters are told relative to, and whose body makes the features.
        start: what a task adapts from: `base`, with its update rule's parameters if it has some, or each task from the
            initialisation of its cluster.
        moves: how, and over how many orders of its labels.
        transductive: whether query images are normalised by themselves, else with the support set's statistics.
        norms: whether the norms' parameters count.
    """

    network: TaskNetwork
    base: Parameters
    start: Start
    moves: Moves
    transductive: bool
    norms: bool = False

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, start: StartName = "base", device: str = "cpu", moves: Moves | None = None
    ) -> Viewer:
        """Return how a checkpoint's tasks are described.

        Args:
            checkpoint: a learner; what it adapts from before any clusters is the origin of all vectors.
            start: "base", adapt from there, as when a task is assigned; "own", from what the checkpoint itself adapts
                from, which differs for one with clusters: its groups' initialisations then count in θ_T − θ.
            device: where to compute.
            moves: how tasks adapt from the base (default: as the checkpoint assigns them to its clusters; without any,
                as it adapts to a test).
        """
        where, clusters = device_named(device), checkpoint.clusters
        network = checkpoint.network().to(where)
        base = {name: value.detach() for name, value in network.named_parameters()}
        chosen: Start = base if clusters is not None and start == "base" else checkpoint.start(where)
        how = Moves(checkpoint.adaptation)
        if start == "base":
            how = moves or (how if clusters is None else clusters.moves)
        norms = norm_parameters(network)
        counted = clusters is not None and any(name in norms for name in clusters.centres)
        return cls(network, base, chosen, how, checkpoint.config.norm == "transductive", counted)

    @property
    def columns(self) -> tuple[tuple[str, ...], int]:
        """The parameters in the order of `TaskViews.moved`, and how many of its columns are the body's."""
        head, left_out = self.network.layer_names[-1], set[str]() if self.norms else norm_parameters(self.network)
        names = sorted((name for name in self.base if name not in left_out), key=lambda name: layer_of(name) == head)
        return tuple(names), sum(self.base[name].numel() for name in names if layer_of(name) != head)


def views_of(viewer: Viewer, network: TaskNetwork, tasks: Tasks) -> TaskViews:
    """Describe a batch of tasks.

    Args:
        viewer: how.
        network: a worker's own copy of the viewer's.
        tasks: labels may be permuted; features do not read them.
    """
    moved = flattened(viewer, adapted_parameters(viewer, network, tasks.support), len(tasks))
    features = mean_features(viewer, network, tasks)
    return TaskViews(moved.float().cpu().numpy(), features.float().cpu().numpy(), tasks.groups, viewer.columns[1])


def adapted_parameters(viewer: Viewer, network: TaskNetwork, support: Examples) -> dict[str, Tensor]:
    """Return θ_T by name; a parameter that does not adapt has no task axis."""
    if isinstance(viewer.start, Clusters):  # from its own initialisation a task adapts as in a test
        return adapt_as(
            network, starting_point(network, viewer.start, support), support, viewer.moves.adaptation
        ).params
    return viewer.moves.adapted(network, viewer.start, support)


def flattened(viewer: Viewer, adapted: Parameters, tasks: int) -> Float[Tensor, "task parameter"]:
    """Return θ_T − θ of each of so many tasks as one vector, the head last."""
    moved = {name: adapted[name].detach() - viewer.base[name] for name in viewer.columns[0]}
    parts = [moved[name].expand(tasks, *viewer.base[name].shape).flatten(1) for name in viewer.columns[0]]
    return torch.cat(parts, dim=1)


def mean_features(viewer: Viewer, network: TaskNetwork, tasks: Tasks) -> Float[Tensor, "task feature"]:
    """Return each task's mean feature under θ, over support and query images, each normalised as the learner meets it.

    Labels are not read, so that permuting them changes nothing.
    """
    body, support, query = network.layer_names[:-1], tasks.support.images, tasks.query.images
    kept = {} if isinstance(viewer.start, Clusters) else statistics_part(viewer.start)
    base = {**viewer.base, **kept}

    def total(images: Tensor, n_context: int | None = None) -> Tensor:
        return network.features(forward_tasks(network, base, images, n_context, layers=body)).double().sum(dim=1)

    with torch.no_grad():
        if viewer.transductive:
            summed = total(support) + total(query)
        else:
            summed = total(torch.cat([support, query], dim=1), n_context=support.shape[1])
    return summed / (support.shape[1] + query.shape[1])


def batches_of(sampler: TaskSampler, tasks: int, chunk: int) -> Iterator[Tasks]:
    """Yield a sampler's first tasks in batches of `chunk`."""
    for first in range(0, tasks, chunk):
        yield sampler.batch(range(first, min(first + chunk, tasks)))


def collect_views(
    viewer: Viewer, batches: Iterable[Tasks], count: int, advance: Callable[[int], None] | None = None
) -> TaskViews:
    """Describe a sequence of tasks, batches shared out to as many workers as torch may use threads.

    Peak memory: 4 bytes × `count` × (parameters + features) for the result (0.9 GB for 2,000 tasks of 112,000
    parameters), and for each worker what adapting a batch takes. Rows do not depend on the number of workers.

    Args:
        viewer: how.
        batches: the tasks.
        count: how many they are together.
        advance: called with the number of tasks just done.

    Raises:
        MetaprobeError: fewer than one task.
    """
    if count < 1:
        raise MetaprobeError(f"views are collected of at least one task; got {count}")
    moved, features = np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    groups: list[str] = []
    with exact_float32(), TaskWorkers(viewer.network) as workers:
        for part in workers.map(lambda own, tasks: views_of(viewer, own, tasks), batches):
            if not groups:
                moved = np.empty((count, part.moved.shape[1]), np.float32)
                features = np.empty((count, part.features.shape[1]), np.float32)
            rows = slice(len(groups), len(groups) + len(part.groups))
            moved[rows], features[rows] = part.moved, part.features
            groups += part.groups
            if advance:
                advance(len(part.groups))
    return TaskViews(moved, features, tuple(groups), viewer.columns[1])
