"""Means over runs that differ by their seed alone, of what each says of one layer and step."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Mapping

import numpy as np

from metaprobe.analyses.bootstrap import over_seeds
from metaprobe.analyses.compared import CALIBRATED, CALIBRATED_RANGE, Compared, null_row
from metaprobe.analyses.measures.measure import Measure, Null
from metaprobe.analyses.table import Row

__all__ = ["rows_over_runs"]


def rows_over_runs(identity: Row, measure: Measure, runs: Mapping[str, Compared], tasks: int) -> Iterator[Row]:
    """Yield the row of a measure's mean over runs, and those of its null and calibrated value, as there are.

    Tasks and seeds are drawn together. A mean is undefined where a run's value is.

    Args:
        identity: a row with all columns but the measured ones.
        measure: which.
        runs: what it says, by the store of the run.
        tasks: how many were resampled.
    """
    row = dataclasses.replace(identity, measure=measure.name)
    yield _mean_row(row, runs, tasks, measure.range)
    nulls = {source: run.null for source, run in runs.items() if run.null is not None}
    if nulls:
        one = next(iter(runs.values()))
        yield _mean_null_row(dataclasses.replace(row, n=one.n if one.null_n is None else one.null_n), nulls)
    shares = {source: run.calibrated for source, run in runs.items() if run.calibrated is not None}
    if shares:
        yield _mean_row(dataclasses.replace(row, measure=measure.name + CALIBRATED), shares, tasks, CALIBRATED_RANGE)


def _mean_row(row: Row, runs: Mapping[str, Compared], tasks: int, range: tuple[float, float]) -> Row:
    row = dataclasses.replace(row, n=min(run.n for run in runs.values()), reason=_told(runs))
    for source, run in runs.items():
        if run.value is None:
            return dataclasses.replace(row, status="undefined", reason=_in_store(source, run.reason))
    values = np.array([run.value for run in runs.values()])
    mean = over_seeds(values, np.stack([run.replicates for run in runs.values()]), tasks=tasks, range=range)
    return dataclasses.replace(row, value=mean.value, low=mean.low, high=mean.high)


def _mean_null_row(row: Row, nulls: Mapping[str, Null]) -> Row:
    for source, null in nulls.items():
        if null.mean is None:
            return null_row(row, dataclasses.replace(null, reason=_in_store(source, null.reason)))
    known = [null.values for null in nulls.values() if null.values]
    # Permutation i is the same in every run.
    values = tuple(np.mean(known, axis=0).tolist()) if len(known) == len(nulls) else ()
    mean = statistics.fmean(null.mean for null in nulls.values() if null.mean is not None)
    return null_row(row, Null(mean, None, values, _told(nulls) or ""))


def _told(runs: Mapping[str, Compared] | Mapping[str, Null]) -> str | None:
    return "; ".join(_in_store(source, run.reason) for source, run in runs.items() if run.reason) or None


def _in_store(source: str, reason: str) -> str:
    return f"in store {source}: {reason}"
