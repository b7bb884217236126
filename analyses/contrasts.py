"""A − B on the same tasks, and means over seeds: one row from the rows of single tasks, with one kind of interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Row
from metaprobe.trainers.intervals import mean_interval, too_few

__all__ = ["DIFFERENCE", "FIXED", "contrast", "filled", "minus_of", "range_of"]

DIFFERENCE = "_difference"
"""What the name of a measure ends in where something was taken off; the column `minus` says what."""

FIXED = "_of_these_seeds"
"""What a measure's name ends in where its interval is over tasks alone, of the seeds that there are."""

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("accuracy", "val_accuracy", "query_accuracy", "val_mean", "val_falls"), (0.0, 100.0)),
    **dict.fromkeys(("euclidean_distance", "relative_distance", "loss", "query_loss", "val_loss"), (0.0, math.inf)),
    **dict.fromkeys(("usage_frequency", "unchanged_by_label_order"), (0.0, 1.0)),
}
_Side = Mapping[int, Mapping[int, Row]]  # by seed and task


def minus_of(columns: Mapping[str, object]) -> str:
    """Return what `Row.minus` says of the columns in which the side that is taken off differs: "frozen=none"."""
    return ", ".join(f"{name}={'none' if value in (None, '') else value}" for name, value in columns.items())


def range_of(measure: str) -> tuple[float, float]:
    """Return the smallest and largest value that a measure can take, where an interval over seeds is cut."""
    name = measure.removesuffix(FIXED).removesuffix("_null")
    if name in MEASURES:
        return (-math.inf, MEASURES[name].range[1])
    return _RANGES.get(name, (-math.inf, math.inf))  # a difference has no bounds


def contrast(
    left: Sequence[Row], right: Sequence[Row] | None, minus: str | None, limits: tuple[float, float]
) -> list[Row]:
    """Return the mean over seeds and tasks of one test, or of left − right, paired by seed and task.

    The interval is over seeds and tasks (`trainers.intervals`); of one seed it is over tasks. Only seeds and tasks that
    both sides have count.

    Args:
        left: rows of single tasks, of one or more seeds, that differ in seed, task and checkpoint alone.
        right: what is taken off, likewise; None for nothing.
        minus: what the column `minus` is to say.
        limits: smallest and largest value of the measure.

    Returns:
        A row without a seed; with several seeds a second one whose measure ends in "_of_these_seeds". None where the
        sides share no task. Undefined, with the reason, where a task has no number.
    """
    sides = [_by_seed(side) for side in ([left] if right is None else [left, right])]
    seeds = [seed for seed in sides[0] if all(seed in side for side in sides)]
    if not seeds:
        return []
    tasks = sorted(set.intersection(*(set(side[seed]) for side in sides for seed in seeds)))
    return list(_rows(sides, seeds, tasks, minus, limits)) if tasks else []


def _by_seed(rows: Iterable[Row]) -> _Side:
    found: dict[int, dict[int, Row]] = {}
    for row in rows:
        if row.seed is not None and row.task is not None:
            found.setdefault(row.seed, {})[row.task] = row
    return found


def _rows(
    sides: Sequence[_Side], seeds: Sequence[int], tasks: Sequence[int], minus: str | None, limits: tuple[float, float]
) -> Iterator[Row]:
    used = [side[seed][tasks[0]] for side in sides for seed in seeds]
    ids = dict.fromkeys(row.checkpoint or "unnamed" for row in used)
    measure = used[0].measure + DIFFERENCE * (minus is not None)
    row = dataclasses.replace(
        used[0], task=None, seed=None, checkpoint=None, measure=measure, minus=minus, n=len(tasks), source="+".join(ids)
    )
    values = np.array(
        [[[side[seed][task].value for task in tasks] for seed in seeds] for side in sides], dtype=np.float64
    )  # (side, seed, task); None becomes NaN
    if lost := int(np.isnan(values).any(axis=(0, 1)).sum()):  # the rest would be of other tasks than those asked for
        rows = (side[seed][task] for side in sides for seed in seeds for task in tasks)
        why = next((row.reason for row in rows if row.value is None and row.reason), "their inner loop diverged")
        reason = f"{lost} of {len(tasks)} tasks have no {used[0].measure} in one of the tests: {why}"
        yield dataclasses.replace(row, value=None, low=None, high=None, status="undefined", reason=reason)
        return
    per_task = values[0] if len(sides) == 1 else values[0] - values[1]
    if len(sides) == 2:
        span = limits[1] - limits[0]
        limits = (-span, span) if math.isfinite(span) else (-math.inf, math.inf)
    yield filled(row, per_task, limits)
    if len(seeds) > 1:
        yield filled(dataclasses.replace(row, measure=measure + FIXED), per_task.mean(axis=0, keepdims=True), limits)


def filled(row: Row, per_task: Float[np.ndarray, "seed task"], limits: tuple[float, float]) -> Row:
    """Return a row with the mean of numbers by seed and task and its interval; over few tasks `reason` says so.

    Args:
        row: says what they are.
        per_task: the numbers, all finite.
        limits: smallest and largest value.
    """
    share = row.minus is None and math.isfinite(limits[0] + limits[1])  # that no task differs shows no certainty then
    found, tasks = mean_interval(per_task, limits, 1 if share else None), per_task.shape[1]
    said = (row.reason or "").split("; ")  # of the test that it is of; perhaps also that its tasks are few
    reason = "; ".join(dict.fromkeys(filter(None, (*said, too_few(tasks))))) or None
    return dataclasses.replace(row, value=found.value, low=found.low, high=found.high, n=tasks, reason=reason)
