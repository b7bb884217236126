"""k-means of tasks by any view of them: what TSA-MAML does with adapted parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from threadpoolctl import threadpool_limits
from torch import Tensor

from metaprobe.analyses.clustering.task_views import VIEWS, View, Viewer, collect_views
from metaprobe.trainers.clustering.kmeans import k_means
from metaprobe.trainers.clustering.vectors import isometric
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.episodes import Examples, Tasks

__all__ = ["ViewClusters", "cluster_means", "find_view_clusters", "points_of", "relabelled", "spread"]

_WIDTH = 4096  # columns taken at once
_TALL = 256  # rows taken at once
_ORDER = 1  # spawn key: what a plan's seed names here


@dataclasses.dataclass(frozen=True, eq=False)
class ViewClusters:
    """Clusters of tasks for each view.

    Attributes:
        m: how many.
        centres: the mean vector of each cluster, by view, on the device.
        undefined: why a view has none, by view.
    """

    m: int
    centres: Mapping[View, Float64[Tensor, "cluster column"]]
    undefined: Mapping[View, str]

    def nearest(self, view: View, vectors: Float[Tensor, "task column"]) -> Int64[np.ndarray, " task"]:
        """Return the cluster whose centre is nearest to each vector, in float64; the first of several."""
        exact = vectors.double()
        squared = torch.stack([(exact - centre).square().sum(dim=1) for centre in self.centres[view]])
        return squared.argmin(dim=0).cpu().numpy()


def find_view_clusters(
    viewer: Viewer,
    batches: Iterable[Tasks],
    count: int,
    m: int,
    seed: int,
    advance: Callable[[int], None] | None = None,
) -> ViewClusters:
    """Cluster tasks by k-means, once for each view.

    Peak memory: `collect_views`, and 20 bytes × `count`² on top.

    Args:
        viewer: how tasks are described.
        batches: training tasks.
        count: how many they are together.
        m: clusters of each view.
        seed: of k-means.
        advance: called with the number of tasks just done.

    Raises:
        MetaprobeError: more clusters than tasks.
    """
    if m > count:
        raise MetaprobeError(f"k-means cannot find {m} clusters in {count} tasks; raise --fit-tasks to {m} at least")
    views = collect_views(viewer, batches, count, advance)
    device = next(iter(viewer.base.values())).device
    centres: dict[View, Float64[Tensor, "cluster column"]] = {}
    undefined: dict[View, str] = {}
    for view in VIEWS:
        rows = views.of(view)
        if not spread(rows):
            undefined[view] = "all tasks have the same vector: nothing of it adapts"
            continue
        try:
            labels = k_means(points_of(rows), m, seed, rows.shape[1])
        except MetaprobeError as error:  # tasks at fewer points than clusters
            undefined[view] = str(error)
            continue
        centres[view] = torch.from_numpy(cluster_means(rows, labels, m)).to(device)
    return ViewClusters(m, centres, undefined)


def spread(rows: Float32[np.ndarray, "task column"]) -> bool:
    """Tell whether rows differ at all."""
    return any(
        bool((rows[:, c : c + _WIDTH] != rows[:1, c : c + _WIDTH]).any()) for c in range(0, rows.shape[1], _WIDTH)
    )


def points_of(rows: Float32[np.ndarray, "task column"]) -> Float32[np.ndarray, "task coordinate"]:
    """Return points that lie to each other as rows do, in no more coordinates than there are rows.

    One thread does the work, so that the result does not depend on how many there are. Peak memory: 12 bytes × tasks²,
    and a block.
    """
    if rows.shape[1] <= len(rows):
        return rows
    starts = range(0, rows.shape[1], _WIDTH)
    with threadpool_limits(1):
        return isometric(rows[:, first : first + _WIDTH] for first in starts)


def cluster_means(
    rows: Float32[np.ndarray, "task column"], labels: Int64[np.ndarray, " task"], m: int
) -> Float64[np.ndarray, "cluster column"]:
    """Return the mean row of each cluster, summed in float64 without a copy of the rows."""
    sums = np.zeros((m, rows.shape[1]))
    members = np.eye(m)[:, labels]
    for first in range(0, len(rows), _TALL):
        block = slice(first, first + _TALL)
        sums += members[:, block] @ rows[block].astype(np.float64)
    return sums / np.bincount(labels, minlength=m)[:, None]


def relabelled(support: Examples, seed: int, place: int, indices: tuple[int, ...]) -> Examples:
    """Return support sets whose ways are permuted: other labels, the images in place.

    Args:
        support: of some tasks, whose labels count from 0.
        seed: of the permutations, together with `place` and a task's index; the identity is never drawn.
        place: of the tasks' domain.
        indices: of the tasks.
    """
    ways = int(support.labels.max()) + 1
    orders = np.stack([_order(ways, seed, place, index) for index in indices])
    chosen = torch.from_numpy(orders).to(support.labels)
    return dataclasses.replace(support, labels=chosen.gather(1, support.labels))


def _order(ways: int, seed: int, place: int, index: int) -> Int64[np.ndarray, " way"]:
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_ORDER, place, index)))
    order = generator.permutation(ways)
    while ways > 1 and (order == np.arange(ways)).all():
        order = generator.permutation(ways)
    return order
