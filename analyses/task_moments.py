"""The joint moments of every task about one common centre: any weighting of the tasks is then one product.

Moments about a fixed centre simply add up, those about each task's own mean do not. So every task is moved to the mean
of all of them once; a resample that draws task t wₜ times is Σ wₜ·(moments of t), and is moved from the common centre
to its own mean by the formulas of `probe.moments`, used backwards. The common centre is within the spread of the data,
so no digits are lost to an offset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.probe.moments import JointMoments, at_their_mean, moved_sums

__all__ = ["TaskMoments", "on_resamples"]

_BYTES = 32 << 20  # of scatter matrices that one product gives


@dataclass(frozen=True, eq=False)
class TaskMoments:
    """Joint moments of each task of one layer and step, about one centre; memory is that of the stored moments.

    Attributes:
        n: samples of each task.
        split: number of features of x.
        centre: the common centre, the mean of all samples.
        totals: Σ(z − centre) of each task.
        scatter, cubic, quartic: as in `JointMoments`, but about the common centre; the scatter flattened.
        largest: largest |z| of each column.
        eps: machine epsilon of the type in which x and y were stored.
    """

    n: Int[np.ndarray, " task"]
    split: int
    centre: Float[np.ndarray, " column"]
    totals: Float[np.ndarray, "task column"]
    scatter: Float[np.ndarray, "task entry"]
    cubic: Float[np.ndarray, "task 2 column"]
    quartic: Float[np.ndarray, "task 3"]
    largest: Float[np.ndarray, "task column"]
    eps: tuple[float, float]

    @classmethod
    def of(cls, moments: Sequence[JointMoments]) -> TaskMoments:
        """Move the moments of every task to their common centre.

        Raises:
            ValueError: there are none, or their features differ.
        """
        if not moments:
            raise ValueError("task moments: expected the moments of at least one task, got none")
        if len(shapes := {part.columns for part in moments}) > 1:
            raise ValueError(f"task moments: the tasks' numbers of features differ: {sorted(shapes)}")
        n, means = np.array([part.n for part in moments]), np.stack([part.mean for part in moments])
        centre = means[0] + n @ (means - means[0]) / n.sum()
        steps = means - centre
        width = len(centre)
        scatter, cubic = np.empty((len(moments), width * width)), np.empty((len(moments), 2, width))
        quartic = np.empty((len(moments), 3))
        for task, (part, step) in enumerate(zip(moments, steps, strict=True)):
            moved, cubic[task], quartic[task] = moved_sums(part, step)
            scatter[task] = moved.ravel()
        largest = np.stack([part.largest for part in moments])
        eps = (max(part.eps[0] for part in moments), max(part.eps[1] for part in moments))
        return cls(n, moments[0].split, centre, n[:, None] * steps, scatter, cubic, quartic, largest, eps)

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return len(self.n)

    def pooled(self, weights: Int[np.ndarray, " task"] | None = None) -> JointMoments:
        """Return the moments of all tasks together, task t `weights[t]` times; 0 leaves it out, None takes each once.

        Raises:
            ValueError: weights that are not one whole number ≥ 0 a task, or all 0.
        """
        chosen = np.ones(self.tasks, dtype=np.int64) if weights is None else np.asarray(weights)
        return next(self.resampled(chosen[None]))

    def resampled(self, draws: Int[np.ndarray, "replicate task"]) -> Iterator[JointMoments]:
        """Yield `pooled(row)` for each row of `draws`, many from one matrix product; errors as there."""
        draws = np.asarray(draws)
        whole = draws.ndim == 2 and draws.shape[1] == self.tasks and np.issubdtype(draws.dtype, np.integer)
        if not whole or (draws < 0).any() or not draws.any(axis=1).all():
            raise ValueError(
                f"task moments: expected whole weights ≥ 0, one for each of {self.tasks} tasks and some above 0; got "
                f"{draws.dtype} of shape {draws.shape[1:]}"
            )
        several = max(1, _BYTES // self.scatter[0].nbytes)
        for start in range(0, len(draws), several):
            rows = draws[start : start + several]
            weights = rows.astype(np.float64)
            scatters, totals = weights @ self.scatter, weights @ self.totals
            cubics = np.tensordot(weights, self.cubic, axes=1)
            quartics = weights @ self.quartic
            for i, row in enumerate(rows):
                n, drawn = int(row @ self.n), row > 0
                about = JointMoments(
                    n=n,
                    split=self.split,
                    mean=self.centre,
                    scatter=scatters[i].reshape(len(self.centre), -1),
                    cubic=cubics[i],
                    quartic=quartics[i],
                    largest=self.largest[drawn].max(axis=0),
                    eps=self.eps,
                )
                yield at_their_mean(about, totals[i] / n)


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
