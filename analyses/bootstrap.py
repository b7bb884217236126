"""Intervals by resampling what is independent: the tasks, and the seeds where there are several.

Samples of a task depend on each other (they share the adapted parameters), tasks do not, so tasks are drawn, with
replacement. Every learner meets the same tasks, which makes tasks and seeds a *crossed* design: one draw of tasks
serves every seed, and learners are compared on the same draw (`task_draws` depends on nothing but how many there are).

Why the *basic* interval (Davison and Hinkley 1997, eq. 5.6), 2θ − q₉₇.₅ … 2θ − q₂.₅. A resample holds fewer distinct
tasks than the sample, about 63 %. That moves a similarity of pooled tasks, mostly up: fewer distinct tasks have fewer
ways to differ. The distance from resample to sample stands for the distance from sample to population, so the basic
interval subtracts the shift, where a percentile interval, q₂.₅ … q₉₇.₅, would add it a second time. The value itself
keeps its shift; where that is larger than the interval is wide, the interval is stretched to hold the value, too.

Means of accuracies and of their differences need no resampling: `trainers.intervals` has theirs.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri, stdtrit  # not scipy.stats, which takes a second to import

__all__ = ["FEWEST", "REPLICATES", "Interval", "bounds", "over_seeds", "task_draws"]

REPLICATES = 200
"""How many resamples an interval takes by default."""

FEWEST = 39
"""Replicates that an interval takes: the smallest of 39 is their quantile 1/40."""

_TAIL = 0.025


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval.

    Attributes:
        value: of the sample itself, not the mean of resamples.
        low: lower end; None where there is no interval, as with a single task.
        high: upper end.
        tasks: how many were resampled.
        seeds: how many runs were; with 1 the interval is about tasks alone.
    """

    value: float
    low: float | None
    high: float | None
    tasks: int
    seeds: int


@functools.lru_cache(maxsize=8)  # a page draws hundreds of times from a few numbers of tasks
def task_draws(tasks: int, replicates: int = REPLICATES) -> Int[np.ndarray, "replicate task"]:
    """Return how often each replicate draws each task: `tasks` draws with replacement, a row each, in narrow integers.

    A pure function of its arguments, kept and not to be written to: whatever met equally many tasks is resampled
    together, so that the difference of two replicates is a replicate of the difference.

    Raises:
        ValueError: either is not positive.
    """
    if tasks < 1 or replicates < 1:
        raise ValueError(f"bootstrap: need at least one task and one replicate, got {tasks} and {replicates}")
    generator = np.random.default_rng([tasks, replicates])
    draws = np.empty((replicates, tasks), dtype=np.min_scalar_type(-tasks - 1))  # there may be millions
    for row in draws:
        row[:] = generator.multinomial(tasks, np.full(tasks, 1 / tasks))
    draws.flags.writeable = False
    return draws


def bounds(
    value: float, replicates: Float[np.ndarray, " replicate"], range: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """Return the basic bootstrap's 95 % interval, 2θ − q₉₇.₅ and 2θ − q₂.₅, stretched to hold θ and cut to `range`.

    Of R replicates, q at share p is the one of rank p(R+1), as Davison and Hinkley have it (section 2.4): numpy's
    default is so much nearer to the middle that 100 replicates would cover 93 %.

    Args:
        value: θ, of the sample.
        replicates: of the resamples, at least 39.
        range: smallest and largest value that there can be.

    Raises:
        ValueError: fewer replicates, or the value or one of them is not finite.
    """
    replicates = np.asarray(replicates, dtype=np.float64)
    if len(replicates) < FEWEST or not (math.isfinite(value) and np.isfinite(replicates).all()):
        raise ValueError(
            f"bootstrap: an interval needs a finite value and at least {FEWEST} finite replicates; got {value} and "
            f"{np.isfinite(replicates).sum()} finite of {len(replicates)}"
        )
    lowest, highest = np.quantile(replicates, [_TAIL, 1 - _TAIL], method="weibull")
    low, high = np.clip([min(2 * value - highest, value), max(2 * value - lowest, value)], *range)
    return float(low), float(high)


def over_seeds(
    values: Float[np.ndarray, " seed"],
    replicates: Float[np.ndarray, "seed replicate"],
    *,
    tasks: int,
    seeds: int | None = None,
    within: bool = False,
    range: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return the mean over seeds with an interval for which tasks and seeds are resampled together (Owen 2007).

    Each replicate keeps its draw of tasks and draws S of the S seeds, too. A replicate's deviation has two parts: what
    the drawn seeds' values miss the mean by, and what the tasks change in them. The bootstrap makes the first too
    small when S is small: its variance is that of S seeds about *their* mean, short of S/(S−1), and with three seeds
    normal quantiles are far from Student's. So that part is widened by t(S−1; 0.975)/z(0.975)·√(S/(S−1)), as far as
    normal seed effects ask for it (2.7 for three seeds). With one seed the interval is about tasks alone.

    Args:
        values: one a seed.
        replicates: the same value on each resample of tasks, rows of `task_draws` in order. NaN for an undefined one.
        tasks: how many were resampled.
        seeds: given where `values` are of pairs (or other combinations) of fewer seeds than there are values. P values
            from S seeds have S−1 degrees of freedom: t(S−1; 0.975)/z(0.975)·√(P/(S−1)) is the widening. That is right
            for pairs (a, b) of S seeds here and S seeds there.
        within: whether the values are of the P = S(S−1)/2 pairs within one set of S seeds. Where each seed moves all
            its pairs alike, the mean has the variance 4σ²/S, of which drawing pairs gives 4σ²(S−2)/(S²(S−1)): the
            widening is t(S−1; 0.975)/z(0.975)·√(2P/(S−2)), 5.4 for three seeds. Of two seeds there is one pair, and
            the interval is about tasks alone.
        range: smallest and largest value that there can be.

    Returns:
        The interval; without ends where there is one task, where fewer than 39 replicates were made, or where a
        replicate is undefined: then the value stands on a few tasks, and what it would be without them is not known.

    Raises:
        ValueError: shapes that do not belong together, a value that is not finite, or more `seeds` than values.
    """
    values, replicates = np.asarray(values, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    count = len(values)
    seeds = count if seeds is None else seeds
    if not count or replicates.ndim != 2 or len(replicates) != count or not 1 <= seeds <= count or tasks < 1:
        raise ValueError(
            f"bootstrap: expected replicates (seed, replicate) of as many seeds as values, and 1 ≤ seeds ≤ values; got "
            f"{count} values, replicates {replicates.shape}, seeds={seeds}, tasks={tasks}"
        )
    if within and count != seeds * (seeds - 1) // 2:
        raise ValueError(f"bootstrap: {seeds} seeds have {seeds * (seeds - 1) // 2} pairs; got {count} values")
    if not np.isfinite(values).all():
        raise ValueError(f"bootstrap: every seed needs a finite value, got {values.tolist()}; leave the others out")
    value = float(values.mean())
    if tasks < 2 or replicates.shape[1] < FEWEST or not np.isfinite(replicates).all():
        return Interval(value, None, None, tasks, seeds)
    draws = task_draws(count, replicates.shape[1]) / count  # of seeds: (replicate, seed)
    by_tasks = np.einsum("rs,sr->r", draws, replicates - values[:, None])
    by_seeds = draws @ (values - value)
    low, high = bounds(value, value + by_tasks + _widening(count, seeds, within) * by_seeds, range)
    return Interval(value, low, high, tasks, seeds)


def _widening(count: int, seeds: int, within: bool) -> float:
    """Return by what the bootstrap's deviation of a mean of `count` values of `seeds` seeds falls short."""
    if count < 2 or seeds < 2:
        return 1.0
    student = float(stdtrit(seeds - 1, 1 - _TAIL) / ndtri(1 - _TAIL))
    return student * math.sqrt(2 * count / (seeds - 2) if within else count / (seeds - 1))
