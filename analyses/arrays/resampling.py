"""Intervals from random halves of the samples, or of groups of them.

A bootstrap draws with replacement, and a sample that is drawn twice is like itself: where features are many, that is
most of the similarity that a measure then sees, debiased CKA more than any (of 60 samples of 288 independent features
the basic interval reached from −0.86 to 0.00). So halves are drawn without replacement, the delete-d jackknife (Shao
and Wu 1989): of G groups m stay and d = G − m go, and to first order √(m/d)·(θ_half − θ) spreads as θ itself. As with
the bootstrap elsewhere (`analyses.bootstrap`), the interval is the basic one.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.arrays.view import Together
from metaprobe.analyses.bootstrap import FEWEST
from metaprobe.analyses.measures.measure import Measure
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.task_moments import TaskMoments, on_resamples
from metaprobe.probe.moments import JointMoments, moments_of, pool

__all__ = ["MOST_GROUPS", "Part", "resampled", "summed"]

MOST_GROUPS = 100
"""Groups that more samples than that are dealt to at random: the width of an interval then errs by 7 %."""

_FEWEST = 40  # groups, below which memory is too small for an interval
_ROUGH = 10  # groups, below which an interval is no more than a hint
_DIRECT = 4e11  # multiplications that resampling rows may take


@dataclass(frozen=True, eq=False)
class Part:
    """Two layers, ready for measures.

    Attributes:
        whole: all samples.
        groups: how many groups of samples an interval draws from.
        told: what to mind about the interval; why there is none.
        moments: of each group; none where rows are drawn, or where there is no interval.
        rows: of each side, and the group of each row; where they are drawn.
    """

    whole: Pair
    groups: int
    told: str = ""
    moments: tuple[JointMoments, ...] = ()
    rows: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @classmethod
    def of_rows(cls, pair: Together, groups: Int[np.ndarray, " sample"]) -> Part:
        """Read both arrays whole; rows are fewer than features, so that moments would cost more."""
        x, y = pair.of_samples(np.arange(pair.samples))
        whole = Pair.of_arrays(x, y, eps=pair.eps)
        return cls(whole, int(groups.max()) + 1, rows=(x, y, np.repeat(groups, pair.positions)))


def summed(pair: Together, groups: Int[np.ndarray, " sample"], room: int, keep: bool) -> Part:
    """Stream two arrays by, and keep the joint moments of each group of samples.

    Args:
        pair: the arrays.
        groups: of each sample.
        room: bytes that moments may take.
        keep: whether both arrays fit in memory: what is said of all samples is then computed from them.
    """
    count, told = int(groups.max()) + 1, ""
    if count > 1:
        fitting = room // (3 * 8 * pair.columns**2)  # as they are, resampled, and those being added to these
        if fitting < min(count, _FEWEST):
            need = 24 * min(count, _FEWEST) * pair.columns**2
            told = f"no interval: it would take {need / 1e9:,.1f} GB for the moments of {min(count, _FEWEST)} groups"
            groups, count = np.zeros_like(groups), 1
        elif fitting < count:
            groups, count = groups % fitting, int(fitting)
    if 1 < count < pair.samples:
        told = f"interval over {count} groups of the {pair.samples:,} samples"
    sums: list[JointMoments | None] = [None] * count
    for first, x, y in pair.blocks():
        own = np.repeat(groups[first : first + len(x) // pair.positions], pair.positions)
        for group in np.unique(own):
            mine = slice(None) if count == 1 else own == group
            part, before = moments_of(x[mine], y[mine]), sums[group]
            sums[group] = part if before is None else before + part
    moments = tuple(dataclasses.replace(one, eps=pair.eps) for one in sums if one is not None)
    whole = Pair.of_arrays(*pair.of_samples(np.arange(pair.samples)), eps=pair.eps) if keep else None
    return Part(whole or Pair.of_moments(pool(moments)), len(moments), told, moments if count > 1 else ())


def resampled(
    part: Part, measures: Sequence[Measure], results: Sequence[Similarity], replicates: int
) -> tuple[Float[np.ndarray, "measure replicate"], str]:
    """Return each measure on random halves of the groups, spread as the measure itself is; none where there are none.

    Args:
        part: the layers.
        measures: which.
        results: what they say of all samples.
        replicates: halves; 0 for none.

    Returns:
        The values, NaN where undefined; and what to mind about an interval from them, or why there is none.
    """
    nothing = np.empty((len(measures), 0))
    if not replicates or part.groups < 2:
        return nothing, (part.told or "no interval: all samples are in one group") if replicates else ""
    if replicates < FEWEST:
        return nothing, f"no interval: {replicates} halves of the samples are fewer than the {FEWEST} that it takes"
    kept = part.groups - part.groups // 2
    generator = np.random.default_rng([part.groups, replicates])
    halves = generator.permuted(np.tile(np.arange(part.groups) < kept, (replicates, 1)), axis=1).astype(np.int64)
    if part.rows is None:
        if not part.moments:
            return nothing, part.told
        values = on_resamples(TaskMoments(part.moments.__getitem__, len(part.moments)), halves, measures)
    else:
        x, y, groups = part.rows
        if (cost := replicates * len(x) ** 2 * (x.shape[1] + y.shape[1])) > _DIRECT:
            return nothing, f"no interval: {replicates} halves of the samples would take {cost:.0e} multiplications"
        values = np.full((len(measures), replicates), np.nan)
        for replicate, half in enumerate(halves):
            rows = np.flatnonzero(half[groups])
            if len(rows) > 1:
                pair = Pair.of_arrays(x[rows], y[rows], eps=(part.whole.x.eps, part.whole.y.eps))
                found = [measure.apply(pair).value for measure in measures]
                values[:, replicate] = [math.nan if value is None else value for value in found]
    wholes = np.array([[math.nan if one.value is None else one.value] for one in results])
    few = f"interval over {part.groups} groups of samples: rough" if part.groups < _ROUGH else ""
    return wholes + math.sqrt(kept / (part.groups - kept)) * (values - wholes), "; ".join(
        filter(None, (part.told, few))
    )
