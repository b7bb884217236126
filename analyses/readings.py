"""What a quantity reads: a number with its interval, or why it has none; one reading from the rows of all seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.analyses.table import Row

__all__ = ["Estimate", "Reading", "Undefined", "definite", "mapped", "pool", "quadrature"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float  # the mean over seeds, in the measure's own unit (accuracies in percent)
    low: float | None = None  # lower end of the 95 % interval, None where the rows give no interval
    high: float | None = None  # upper end, likewise
    # what the interval counts (tasks, or samples of a similarity), of the smallest seed; None where not given
    n: int | None = None
    per_seed: tuple[tuple[int, float], ...] = ()  # (seed, value) of every seed
    # whether it is a difference whose two sides were taken as independent, for want of a paired one
    unpaired: bool = False

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds (ddof 1), None with fewer than two."""
        return float(np.std([v for _, v in self.per_seed], ddof=1)) if len(self.per_seed) > 1 else None

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends of the interval; the value itself where there is none."""
        return self.value if self.low is None else self.low, self.value if self.high is None else self.high

    def simultaneous(self, parts: int, seeds: int = 1) -> Estimate:
        """Return it with an interval that holds together with those of other parts (Bonferroni, 1961): 1 − 0.05/parts.

        Each side is stretched by t(ν; 1 − 0.025/parts) / t(ν; 0.975), with ν one less than the number of seeds, of one
        seed than that of tasks, and the normal's quantiles where neither is known.

        Args:
            parts: how many intervals.
            seeds: behind it, where it does not name them itself, as a difference that was drawn over all does not.
        """
        if parts < 2 or self.low is None or self.high is None:
            return self
        seeds = len(self.per_seed) or seeds
        freedom = (seeds if seeds > 1 else self.n or 0) - 1
        one, all_of_them = (
            float(stdtrit(freedom, share) if freedom > 0 else ndtri(share)) for share in (0.975, 1 - 0.025 / parts)
        )
        low, high = (self.value + (end - self.value) * all_of_them / one for end in (self.low, self.high))
        return dataclasses.replace(self, low=low, high=high)


@dataclass(frozen=True)
class Undefined:
    """A quantity that was measured and has no number, with the reason its rows give."""

    reason: str


_NO_REASON, _ENDLESS = "no reason given", "its value is not finite"

Reading = Estimate | Undefined | None
"""An estimate, an undefined value with its reason, or None: not measured."""


def pool(rows: Sequence[Row], limits: tuple[float, float] = (-math.inf, math.inf)) -> Reading:
    r"""Reduce the rows of one quantity, one row a seed, to one reading.

    One seed keeps its own interval, which is over test tasks. Where a row without a seed was made over all of them,
    by drawing tasks and seeds together, that is the reading. Otherwise several seeds, which share their test tasks,
    keep both kinds of chance: with m the mean over S seeds and sd their standard deviation,

        half-width² = (t_{S-1, 0.975} · sd / √S)² + (mean half-width over tasks)²

    Args:
        rows: rows that differ in their seed only.
        limits: the smallest and largest value the measure can take; an interval is cut there.

    Returns:
        The estimate; `Undefined` when a row has no number; None when there are no rows.

    Raises:
        MetaprobeError: two rows belong to the same seed, so that one of them would be dropped in silence. Rows that say
            the same of the same checkpoint count once: every run of a seed tests the same untrained network.
    """
    if not rows:
        return None
    whole, single = [row for row in rows if row.seed is None], [row for row in rows if row.seed is not None]
    if whole and single:
        found, each = pool(whole, limits), pool(single, limits)
        if isinstance(found, Estimate) and isinstance(each, Estimate):
            return dataclasses.replace(found, per_seed=each.per_seed)
        return found
    rows = _without_repeats(rows)
    bad = [row for row in rows if row.status not in ("", "ok") or row.value is None or not math.isfinite(row.value)]
    if bad:
        reasons = dict.fromkeys(row.reason or (_NO_REASON if row.value is None else _ENDLESS) for row in bad)
        share = "" if len(rows) == 1 else f"{len(bad)} of {len(rows)} seeds: "
        return Undefined(share + "; ".join(reasons))
    values = np.array([row.value for row in rows], dtype=np.float64)
    low, high = _interval(rows, values, limits)
    counts = [row.n for row in rows if row.n is not None]
    seeds = sorted((row.seed, float(row.value or 0.0)) for row in rows if row.seed is not None)
    return Estimate(float(sum(values.tolist()) / len(values)), low, high, min(counts, default=None), tuple(seeds))


def quadrature(left: Reading, right: Reading) -> Reading:
    """Return left − right: half-widths are added in quadrature, as if independent.

    Where both meet the same tasks, what is hard for one is mostly hard for the other, so that their paired difference
    would vary less: the interval errs towards the wide, and the estimate says that it is unpaired.
    """
    if not isinstance(left, Estimate):
        return left
    if not isinstance(right, Estimate):
        return right
    value = left.value - right.value
    if None in (left.low, left.high, right.low, right.high):
        return Estimate(value, unpaired=True)
    (low, high), (down, up) = left.ends, right.ends
    return Estimate(
        value,
        value - math.hypot(left.value - low, up - right.value),
        value + math.hypot(high - left.value, right.value - down),
        unpaired=True,
    )


def definite(reading: Reading) -> Reading:
    """Return a reading that a page can say and draw: a value that is not finite is undefined, an end of NaN is none.

    An end may be infinite: Student's t over too few tasks knows nothing.
    """
    if not isinstance(reading, Estimate):
        return reading
    if not math.isfinite(reading.value):
        return Undefined(_ENDLESS)
    low, high = (None if end is None or math.isnan(end) else end for end in (reading.low, reading.high))
    seeds = tuple((seed, value) for seed, value in reading.per_seed if math.isfinite(value))
    return dataclasses.replace(reading, low=low, high=high, per_seed=seeds)


def mapped(reading: Reading, offset: float, factor: float) -> Reading:
    """Return offset + factor · reading, with the ends of its interval in their order."""
    if not isinstance(reading, Estimate):
        return reading
    low, high = (reading.low, reading.high) if factor > 0 else (reading.high, reading.low)
    return dataclasses.replace(
        reading,
        value=offset + factor * reading.value,
        low=None if low is None else offset + factor * low,
        high=None if high is None else offset + factor * high,
        per_seed=tuple((seed, offset + factor * value) for seed, value in reading.per_seed),
    )


def _interval(
    rows: Sequence[Row], values: np.ndarray, limits: tuple[float, float]
) -> tuple[float | None, float | None]:
    bounds = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    known, count, mean = len(bounds) == len(rows), len(rows), float(values.mean())
    if count == 1:
        if not known:
            return None, None
        return max(bounds[0][0], limits[0]), bounds[0][1]  # Student's t over few tasks knows no zero
    spread = float(stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    lows, highs = np.array(bounds).T if known else (values, values)
    down = math.hypot(spread, float((values - lows).mean()))
    up = math.hypot(spread, float((highs - values).mean()))
    return max(mean - down, min(limits[0], mean)), min(mean + up, max(limits[1], mean))


def _without_repeats(rows: Sequence[Row]) -> list[Row]:
    """Return one row a seed; an error where two of a seed differ in what they say or in their checkpoint."""
    first: dict[int | None, Row] = {}
    for row in rows:
        kept = first.setdefault(row.seed, row)
        if kept is row or (row.checkpoint and dataclasses.replace(row, source=kept.source) == kept):
            continue
        one, other = (r.checkpoint or "unnamed" for r in (kept, row))
        raise MetaprobeError(
            f"two rows of {row.measure} ({_identity(row)}) where one was expected, of checkpoints {one} and {other}. "
            "Leave one checkpoint per learner, seed and iteration in the table."
        )
    return list(first.values())


def _identity(row: Row) -> str:
    names = ("learner", "algorithm", "update_rule", "seed", "iteration", "layer", "phase", "step", "frozen", "head")
    names += ("inner_steps", "samples", "group", "view")
    return ", ".join(f"{name} {getattr(row, name)}" for name in names if getattr(row, name) not in ("", None))
