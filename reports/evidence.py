"""Numbers out of the tidy table: one reading per quantity, pooled over seeds, with its interval or its reason."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from reports.entries import Entry
from trainers.errors import MetaprobeError

__all__ = ["Estimate", "Reading", "Undefined", "minus", "pool"]


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the mean over seeds, in the measure's own unit (accuracies in percent).
        low: lower end of the 95 % interval, None where the rows give no interval.
        high: upper end, likewise.
        n: what the interval counts (tasks, or samples of a similarity), of the smallest seed; None where not given.
        per_seed: (seed, value) of every seed.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    per_seed: tuple[tuple[int, float], ...] = ()

    @property
    def sd(self) -> float | None:
        """Standard deviation over the seeds (ddof 1), None with fewer than two."""
        return float(np.std([v for _, v in self.per_seed], ddof=1)) if len(self.per_seed) > 1 else None


@dataclass(frozen=True)
class Undefined:
    """A quantity that was measured and has no number, with the reason its rows give."""

    reason: str


Reading = Estimate | Undefined | None
"""An estimate, an undefined value with its reason, or None: not measured."""


def pool(rows: Sequence[Entry], top: float = math.inf) -> Reading:
    r"""Reduce the rows of one quantity, one row a seed, to one reading.

    One seed keeps its own interval, which is over test tasks. Where a row without a seed was made over all of them,
    by drawing tasks and seeds together, that is the reading. Otherwise several seeds, which share their test tasks,
    keep both kinds of chance: with m the mean over S seeds and sd their standard deviation,

        half-width² = (t_{S-1, 0.975} · sd / √S)² + (mean half-width over tasks)²

    Args:
        rows: rows that differ in their seed only.
        top: the largest value the measure can take; an interval over seeds is cut there.

    Returns:
        The estimate; `Undefined` when a row has no number; None when there are no rows.

    Raises:
        MetaprobeError: two rows belong to the same seed, so that one of them would be dropped in silence. Rows that say
            the same of the same checkpoint count once: every run of a seed tests the same untrained network.
    """
    if not rows:
        return None
    whole = [row for row in rows if row.seed is None]
    single = [row for row in rows if row.seed is not None]
    if whole and single:
        return _over_all(whole, single)
    rows = _without_repeats(rows)
    seeds = [row.seed or 0 for row in rows]
    bad = [row for row in rows if row.status not in ("", "ok") or row.value is None]
    if bad:
        reasons = dict.fromkeys(row.reason or "no reason given" for row in bad)
        share = "" if len(rows) == 1 else f"{len(bad)} of {len(rows)} seeds: "
        return Undefined(share + "; ".join(reasons))
    values = [row.value for row in rows if row.value is not None]
    low, high = _interval(rows, np.array(values), top)
    counts = [row.n for row in rows if row.n is not None]
    return Estimate(
        value=sum(values) / len(values),
        low=low,
        high=high,
        n=min(counts, default=None),
        per_seed=tuple(sorted(zip(seeds, values, strict=True))),
    )


def _over_all(whole: Sequence[Entry], single: Sequence[Entry]) -> Reading:
    """Return the reading of a row over all seeds, with the values of each."""
    found, each = pool(whole), pool(single)
    if not isinstance(found, Estimate):
        return found
    return dataclasses.replace(found, per_seed=each.per_seed if isinstance(each, Estimate) else ())


def minus(left: Reading, right: Reading) -> Reading:
    """Return left - right for readings of two learners: half-widths are added in quadrature, as if independent.

    Both learners meet the same tasks, and what is hard for one is mostly hard for the other, so that their paired
    difference would vary less: the interval errs towards the wide.
    """
    for reading in (left, right):
        if not isinstance(reading, Estimate):
            return reading
    assert isinstance(left, Estimate)
    assert isinstance(right, Estimate)
    value = left.value - right.value
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return Estimate(value)
    down = math.hypot(left.value - left.low, right.high - right.value)
    up = math.hypot(left.high - left.value, right.value - right.low)
    return Estimate(value, value - down, value + up)


def _interval(rows: Sequence[Entry], values: np.ndarray, top: float) -> tuple[float | None, float | None]:
    bounds = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    known, count, mean = len(bounds) == len(rows), len(rows), float(values.mean())
    if count == 1:
        return bounds[0] if known else (None, None)
    spread = float(stdtrit(count - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    lows, highs = np.array(bounds).T if known else (values, values)
    down = math.hypot(spread, float((values - lows).mean()))
    up = math.hypot(spread, float((highs - values).mean()))
    return mean - down, min(mean + up, max(top, mean))


def _without_repeats(rows: Sequence[Entry]) -> list[Entry]:
    """Return one row a seed; an error where two of a seed differ in what they say or in their checkpoint."""
    first: dict[int, Entry] = {}
    for row in rows:
        kept = first.setdefault(row.seed or 0, row)
        if kept is row or (row.checkpoint and dataclasses.replace(row, place=kept.place, source=kept.source) == kept):
            continue
        one, other = (r.checkpoint or "unnamed" for r in (kept, row))
        raise MetaprobeError(
            f"two rows of {row.measure} ({_identity(row)}) where one was expected: rows {kept.place} and {row.place} "
            f"of the study's table, of checkpoints {one} and {other}. Leave one checkpoint per algorithm, seed and "
            "iteration in the table."
        )
    return list(first.values())


def _identity(row: Entry) -> str:
    names = ("algorithm", "seed", "iteration", "layer", "phase", "step", "frozen", "head", "inner_steps", "samples")
    return ", ".join(f"{name} {getattr(row, name)}" for name in names if getattr(row, name) not in ("", None))
