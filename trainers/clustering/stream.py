"""Which tasks make up the meta-batch of each outer step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks.data import TaskSampler
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["AssignedTasks", "ConsecutiveTasks"]


class ConsecutiveTasks:
    """The tasks of a run as they come: iteration i takes those from i · meta_batch on.

    Args:
        sampler: draws them.
        meta_batch: tasks of an iteration.
        share: the part of them that this process computes.
    """

    def __init__(self, sampler: TaskSampler, meta_batch: int, share: range) -> None:
        self._sampler, self._meta_batch, self._share = sampler, meta_batch, share

    def take(self, iteration: int) -> tuple[int, Tasks]:
        """Return the cluster (0: there is one) and the tasks of an iteration."""
        first = iteration * self._meta_batch
        return 0, self._sampler.batch(range(first + self._share.start, first + self._share.stop))


class AssignedTasks:
    """The tasks of a run, gathered until a cluster has a whole meta-batch of its own.

    Tasks are drawn in order, a meta-batch at a time, and each waits with its cluster. The clusters that have a whole
    meta-batch take turns, the lowest first, before more are drawn.

    Args:
        sampler: draws them.
        meta_batch: tasks of an iteration.
        clusters: how many there are.
        assign: tasks → the cluster of each.
    """

    def __init__(
        self,
        sampler: TaskSampler,
        meta_batch: int,
        clusters: int,
        assign: Callable[[Tasks], Sequence[int]],
    ) -> None:
        self._sampler, self._meta_batch, self._assign = sampler, meta_batch, assign
        self._next = 0
        self._waiting: list[list[int]] = [[] for _ in range(clusters)]

    def take(self, iteration: int) -> tuple[int, Tasks]:
        """Return the next cluster with a whole meta-batch, and those tasks; `iteration` says nothing here."""
        while max(map(len, self._waiting)) < self._meta_batch:
            indices = range(self._next, self._next + self._meta_batch)
            for index, cluster in zip(indices, self._assign(self._sampler.batch(indices)), strict=True):
                self._waiting[cluster].append(index)
            self._next = indices.stop
        cluster = next(place for place, waiting in enumerate(self._waiting) if len(waiting) >= self._meta_batch)
        chosen = self._waiting[cluster][: self._meta_batch]
        del self._waiting[cluster][: self._meta_batch]
        return cluster, self._sampler.batch(chosen)

    @property
    def state(self) -> Int[Tensor, "row 2"]:
        """What a resumed run goes on from: the next task and how many clusters, then each waiting task and its own."""
        rows = [(self._next, len(self._waiting))]
        rows += [(index, cluster) for cluster, waiting in enumerate(self._waiting) for index in waiting]
        return torch.tensor(rows, dtype=torch.int64)

    @state.setter
    def state(self, rows: Int[Tensor, "row 2"]) -> None:
        (following, clusters), *waiting = rows.tolist()
        if clusters != len(self._waiting) or any(not 0 <= cluster < clusters for _, cluster in waiting):
            told = f"the resume state holds tasks of other clusters ({clusters} of them) than this run's"
            raise UnreadableInput(f"{told} {len(self._waiting)}; it belongs to another run")
        self._next = following
        for queue in self._waiting:
            queue.clear()
        for index, cluster in waiting:
            self._waiting[cluster].append(index)
