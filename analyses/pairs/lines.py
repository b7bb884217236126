"""Means, differences and lines of best fit of compared layers, each with the replicates of its parts put together."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.bootstrap import over_seeds
from metaprobe.analyses.compared import CALIBRATED, CALIBRATED_RANGE, Compared, null_row
from metaprobe.analyses.measures.measure import Null
from metaprobe.analyses.table import Row

__all__ = ["LINE", "difference", "line", "mean_of", "pooled_rows"]

LINE: dict[str, tuple[float, float]] = {
    "slope": (-np.inf, np.inf),
    "intercept": (-np.inf, np.inf),
    "r2": (0.0, 1.0),
    "r2_to_identity": (-np.inf, 1.0),
}
"""What a line of best fit is told by, and the range of each."""


def mean_of(parts: Mapping[str, Compared]) -> Compared:
    """Return the mean of several values, draw by draw; undefined where one of them is, with its name and reason.

    Args:
        parts: by what they are of.
    """
    found = list(parts.values())
    if lacking := _lacking(parts):
        return Compared(None, min(part.n for part in found), lacking, np.full_like(found[0].replicates, np.nan))
    shares = {name: part.calibrated for name, part in parts.items() if part.calibrated is not None}
    return Compared(
        statistics.fmean(part.value for part in found if part.value is not None),
        min(part.n for part in found),
        next((f"{name}: {part.reason}" for name, part in parts.items() if part.reason), ""),
        np.mean([part.replicates for part in found], axis=0),
        _mean_null([part.null for part in found]),
        min((part.null_n for part in found if part.null_n is not None), default=None),
        mean_of(shares) if len(shares) == len(parts) else None,
    )


def difference(left: Compared, right: Compared) -> Compared:
    """Return left − right, draw by draw."""
    if lacking := _lacking({"the first": left, "the second": right}):
        return Compared(None, min(left.n, right.n), lacking, np.full_like(left.replicates, np.nan))
    assert left.value is not None and right.value is not None
    return Compared(left.value - right.value, min(left.n, right.n), "", left.replicates - right.replicates)


def line(x: Mapping[str, Compared], y: Mapping[str, Compared]) -> dict[str, Compared]:
    """Return the least-squares line y = slope·x + intercept, and how well it and y = x fit, draw by draw.

    R² of the line is the squared correlation; that about y = x is 1 − Σ(y−x)²/Σ(y−ȳ)², which is negative where y = x
    fits worse than a constant.

    Args:
        x: values by the points' names.
        y: values of the same points.
    """
    n = min(part.n for part in (*x.values(), *y.values()))
    empty = np.full_like(next(iter(x.values())).replicates, np.nan)
    if lacking := _lacking(x) or _lacking(y):
        return {name: Compared(None, n, lacking, empty) for name in LINE}
    values, resampled = (
        _line(np.array([getattr(x[p], kind) for p in x]), np.array([getattr(y[p], kind) for p in x]))
        for kind in ("value", "replicates")
    )
    if not np.isfinite(list(values.values())).all():
        reason = f"{len(x)} points do not determine a line" if len(x) < 2 else "the points do not differ"
        return {name: Compared(None, n, reason, empty) for name in LINE}
    return {name: Compared(float(values[name]), n, "", np.asarray(resampled[name])) for name in LINE}


def pooled_rows(
    identity: Row, units: Sequence[Compared], *, seeds: int, tasks: int, range: tuple[float, float]
) -> list[Row]:
    """Return the row of a mean over pairs of seeds, and those of its null and calibrated value where all have one.

    Args:
        identity: a row with the measure's name, without what was measured.
        units: one value for each two seeds.
        seeds: how many seeds the pairs are of.
        tasks: how many were resampled.
        range: smallest and largest value.
    """
    mean = mean_of({f"pair {place}": unit for place, unit in enumerate(units, 1)})
    row = dataclasses.replace(identity, n=mean.n, reason=mean.reason or None)
    if mean.value is None:
        return [dataclasses.replace(row, status="undefined")]
    within = 1 < len(units) == seeds * (seeds - 1) // 2  # of every two seeds; where some are missing, as if apart
    interval = over_seeds(
        np.array([unit.value for unit in units]),
        np.stack([unit.replicates for unit in units]),
        tasks=tasks,
        seeds=seeds if within else min(seeds, len(units)),
        within=within,
        range=range,
    )
    rows = [dataclasses.replace(row, value=interval.value, low=interval.low, high=interval.high)]
    if mean.null is not None and mean.null.mean is not None:
        n = mean.n if mean.null_n is None else mean.null_n
        rows.append(null_row(dataclasses.replace(row, n=n), mean.null))
    shares = [unit.calibrated for unit in units if unit.calibrated is not None]
    if len(shares) == len(units):
        named = dataclasses.replace(identity, measure=identity.measure + CALIBRATED)
        rows += pooled_rows(named, shares, seeds=seeds, tasks=tasks, range=CALIBRATED_RANGE)
    return rows


def _line(x: Float[np.ndarray, "point ..."], y: Float[np.ndarray, "point ..."]) -> dict[str, Float[np.ndarray, ...]]:
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    xx, xy, yy = (dx * dx).sum(axis=0), (dx * dy).sum(axis=0), (dy * dy).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):  # points that do not differ: told as undefined
        slope = xy / xx
        return {
            "slope": slope,
            "intercept": y.mean(axis=0) - slope * x.mean(axis=0),
            "r2": xy**2 / (xx * yy),
            "r2_to_identity": 1 - ((y - x) ** 2).sum(axis=0) / yy,
        }


def _lacking(parts: Mapping[str, Compared]) -> str:
    return next((f"{name}: {part.reason}" for name, part in parts.items() if part.value is None), "")


def _mean_null(nulls: Sequence[Null | None]) -> Null | None:
    known = [null for null in nulls if null is not None and null.mean is not None]
    if not known or len(known) < len(nulls):
        return None
    reason = next((null.reason for null in known if null.reason), "")
    spread = [null.values for null in known if null.values]
    values = np.mean(spread, axis=0).tolist() if len(spread) == len(known) else []
    return Null(statistics.fmean(null.mean for null in known if null.mean is not None), None, tuple(values), reason)
