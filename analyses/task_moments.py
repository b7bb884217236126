"""The joint moments of tasks, and of any weightings of them, in memory that does not grow with the number of tasks.

Moments about a fixed centre simply add up, those about each task's own mean do not. So a first pass over the tasks
pools them, which gives a common centre. A second one moves each task's moments there and adds them, a block of tasks in
one product, to the sums of many resamples: one that draws task t wₜ times is Σ wₜ·(moments of t), and is moved from the
common centre to its own mean by the formulas of `probe.moments`, used backwards. The common centre is within the spread
of the data, so no digits are lost to an offset.

A pass serves as many resamples as there are tasks, or more where they are small; there are more passes where there are
more resamples. So of wide layers no more sums are held than there are tasks or resamples, whichever are fewer, and
tasks are read no more often than there are tasks and resamples, each of which then costs a decomposition anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.probe.moments import JointMoments, at_their_mean, moved_sums, pool

__all__ = ["TaskMoments", "on_resamples"]

_BYTES = 32 << 20  # of moments that are worked on at once, where they are not wide
_LEAST = 8  # tasks that are added at once however wide they are: of one alone, all sums would be passed over for little


@dataclass(frozen=True, eq=False)
class TaskMoments:
    """Joint moments of each task of one layer and step, read one by one and as often as they are needed.

    Attributes:
        read: returns those of the task in a place, 0 … tasks−1, the same ones each time.
        tasks: how many tasks there are.
    """

    read: Callable[[int], JointMoments]
    tasks: int

    @functools.cached_property
    def whole(self) -> JointMoments:
        """The moments of all tasks together.

        Raises:
            ValueError: there are none, or their features differ.
        """
        return pool(map(self.read, range(self.tasks)))

    def resampled(self, draws: Int[np.ndarray, "replicate task"]) -> Iterator[JointMoments]:
        """Yield for each row of `draws` the moments of all tasks together, task t `row[t]` times; 0 leaves it out.

        Raises:
            ValueError: as `whole`; or weights that are not one whole number ≥ 0 a task, or all 0.
        """
        draws = np.asarray(draws)
        whole = draws.ndim == 2 and draws.shape[1] == self.tasks and np.issubdtype(draws.dtype, np.integer)
        if not whole or (draws < 0).any() or not draws.any(axis=1).all():
            raise ValueError(
                f"task moments: expected whole weights ≥ 0, one for each of {self.tasks} tasks and some above 0; got "
                f"{draws.dtype} of shape {draws.shape[1:]}"
            )
        several = max(self.tasks, _BYTES // self.whole.scatter.nbytes)
        for start in range(0, len(draws), several):
            yield from map(self._moved, *self._sums(draws[start : start + several]))

    def _sums(
        self, draws: Int[np.ndarray, "replicate task"]
    ) -> tuple[Float[np.ndarray, "replicate entry"], Float[np.ndarray, "replicate column"]]:
        """Return for each resample its sums about the common centre and its largest |z|, from one pass over the tasks.

        The entries are n, Σ(z − centre), quartic, cubic and scatter.
        """
        whole, width = self.whole, len(self.whole.mean)
        sums, largest = np.zeros((len(draws), 4 + 3 * width + width * width)), np.zeros((len(draws), width))
        several = max(_LEAST, _BYTES // whole.scatter.nbytes)
        room = np.empty((min(several, self.tasks), sums.shape[1]))
        for first in range(0, self.tasks, several):
            weights = draws[:, first : first + several]
            block = room[: weights.shape[1]]
            for task, entries in enumerate(block, first):
                part = self.read(task)
                step = part.mean - whole.mean
                scatter, cubic, quartic = moved_sums(part, step)
                np.concatenate([[part.n], part.n * step, quartic, cubic.ravel(), scatter.ravel()], out=entries)
                np.maximum(largest, part.largest, out=largest, where=draws[:, task, None] > 0)
            for at in range(0, len(sums), several):  # so that a product is no larger than the block
                sums[at : at + several] += weights[at : at + several].astype(np.float64) @ block
        return sums, largest

    def _moved(self, sums: Float[np.ndarray, " entry"], largest: Float[np.ndarray, " column"]) -> JointMoments:
        """Return the moments of a resample about its mean."""
        whole, width = self.whole, len(self.whole.mean)
        n, total, quartic, cubic, scatter = np.split(sums, np.cumsum([1, width, 3, 2 * width]))
        about = JointMoments(
            n=int(n[0]),
            split=whole.split,
            mean=whole.mean,
            scatter=scatter.reshape(width, width),
            cubic=cubic.reshape(2, width),
            quartic=quartic,
            largest=largest,
            eps=whole.eps,
        )
        return at_their_mean(about, total / about.n)


def on_resamples(
    moments: TaskMoments, draws: Int[np.ndarray, "replicate task"], measures: Sequence[Measure]
) -> Float[np.ndarray, "measure replicate"]:
    """Return each measure on each resample of tasks; NaN where it is undefined, or where no task is drawn."""
    values = np.full((len(measures), len(draws)), np.nan)
    drawn = np.flatnonzero(draws.any(axis=1))
    if not len(drawn):
        return values
    for replicate, pooled in zip(drawn, moments.resampled(draws[drawn]), strict=True):
        pair = Pair.of_moments(pooled)
        for place, measure in enumerate(measures):
            value = measure.apply(pair).value
            values[place, replicate] = np.nan if value is None else value
    return values
