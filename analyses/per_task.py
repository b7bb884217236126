"""Similarity of each task by itself, averaged over tasks (Raghu et al. 2020, §3.2.2), with its null and its interval.

Every task adapts to parameters of its own and names its classes in an order of its own. One map fitted to all tasks
together asks whether a single linear map takes "before" to "after" in all of them; a task by itself asks how far that
task changed the layer. So the value is the mean over tasks of each one's own, and the interval draws tasks.

A task has few samples, so a value by itself says little: a null exchanges whole images within each task, and the
*calibrated* value (v̄ − n̄)/(max − n̄) is the share of the way from the mean null n̄ to the largest value, of a distance
to the smallest (after Gröger et al. 2026, arXiv 2602.14486). Null and calibrated value are of the sketch's rows, v̄ too,
so that both see the same number of samples.

Where a measure is undefined in at most 5 % of the tasks, these are left out, and the reason says how many; with more
the mean is undefined: what is left out is no random part of the tasks.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.bootstrap import task_draws
from metaprobe.analyses.compared import Compared
from metaprobe.analyses.measures.measure import MEASURES, Measure, Null
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.task_pairs import TaskPair

__all__ = ["MeanOverTasks", "mean_over_tasks"]

_LACKING = 0.05  # of the tasks, at most, may be undefined
_LEAST_ORDERS = 2  # of a task: their spread within tasks is what the spread of the mean follows from
_ORDERS = 5  # times the permutations asked for: orders of all tasks together, at least
_WIDE = 64  # dimensions; in more an order costs much and moves a value little, the permutations asked for do
_DRAWS = 400  # of one order a task: how the mean over tasks spreads
_FEWEST = 39  # different orders of all tasks together: fewer have no quantile 1/40
_ROOM = 0.05  # between a null and the largest value, at least, for a calibrated value
_HELD = 1 << 18  # numbers of draws that are worked on at once: of many tasks a draw has many


@dataclass(frozen=True, eq=False)
class MeanOverTasks:
    """What measures say in the mean over tasks.

    Attributes:
        found: by the measure's name.
        forced: canonical correlations that are 1 for want of samples, in the mean over tasks.
    """

    found: Mapping[str, Compared]
    forced: Compared


@dataclass(eq=False)
class _Values:
    """A number a task; NaN with a reason where it is undefined, a remark where it is not to be read alone."""

    n: array[int] = field(default_factory=lambda: array("q"))  # a list's numbers take four times as much
    values: array[float] = field(default_factory=lambda: array("d"))
    reasons: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, n: int, value: float | None, reason: str, remark: str = "") -> None:
        self.n.append(n)
        self.values.append(math.nan if value is None else value)
        self.reasons.append(reason)
        self.remarks.append(remark)

    def mean(self, draws: np.ndarray) -> Compared:
        """Return the mean over tasks and over each draw of them."""
        values, tasks = np.array(self.values), len(self.values)
        known = np.isfinite(values)
        if tasks - known.sum() > _LACKING * tasks:
            n = min(self.n)
            return Compared(None, n, _in_tasks(self.reasons), np.full(len(draws), np.nan))
        told = [] if known.all() else [f"left out {_in_tasks(self.reasons)}"]
        told += [_in_tasks(self.remarks)] if any(self.remarks) else []
        n = min(n for n, there in zip(self.n, known, strict=True) if there)
        return Compared(float(values[known].mean()), n, "; ".join(told), _drawn(values, known, draws))


def mean_over_tasks(
    pairs: Iterable[TaskPair],
    measures: Sequence[Measure],
    *,
    tasks: int,
    replicates: int,
    permutations: int,
    seed: Sequence[int],
) -> MeanOverTasks:
    """Return each measure's mean over tasks, its null, and its calibrated value (top of this file).

    Args:
        pairs: the two layers on each task.
        measures: which.
        tasks: how many there are.
        replicates: resamples of tasks, rows of `task_draws`; 0 for none, and of one task none.
        permutations: behind a null; 0 for none. All tasks together take five times as many orders (of layers of more
            than 64 dimensions as many), each at least two; the null's ends are of means in which each task has one of
            its own.
        seed: of the orders, with each task's place.
    """
    draws = task_draws(tasks, replicates) if replicates and tasks > 1 else np.empty((0, tasks), dtype=np.int64)
    orders = 0
    values, beside = ({measure.name: _Values() for measure in measures} for _ in range(2))
    # the orders of one task, then those of the next
    nulls: dict[str, array[float]] = {measure.name: array("d") for measure in measures}
    forced, amounts = _Values(), dict.fromkeys(dict.fromkeys(measure.needs for measure in measures), 0.0)
    for place, pair in enumerate(pairs):
        if permutations and not place:
            orders = _orders(pair, permutations, tasks)
        results = {measure.name: _value(pair, measure) for measure in measures}
        for name, result in results.items():
            values[name].add(result.n, result.value, result.reason, result.remark)
        cca = results["mean_cca"] if "mean_cca" in results else _value(pair, MEASURES["mean_cca"])
        forced.add(cca.n, None if cca.forced is None else float(cca.forced), cca.reason)
        if orders:
            for kind in amounts:
                chosen = [measure for measure in measures if measure.needs == kind]
                amounts[kind] += _exchange(pair, chosen, kind, orders, [*seed, place], beside, nulls)
    found = {}
    for measure in measures:
        mean = values[measure.name].mean(draws)
        if orders:
            few = math.exp(min(amounts[measure.needs], 99.0)) < _FEWEST
            exchanged = np.array(nulls[measure.name]).reshape(tasks, orders)
            mean = _with_null(mean, measure, beside[measure.name], exchanged, few, draws, seed)
        found[measure.name] = mean
    return MeanOverTasks(found, forced.mean(draws[:0]))


def _orders(pair: TaskPair, permutations: int, tasks: int) -> int:
    """Return how many orders of its images a task takes, from what the first of them shows."""
    width = max(min(side.rows.shape) for side in (pair.x, pair.y))
    return max(_LEAST_ORDERS, math.ceil((1 if width > _WIDE else _ORDERS) * permutations / tasks))


def _value(pair: TaskPair, measure: Measure) -> Similarity:
    """Return a measure of one task, undefined where there is nothing that it could be of."""
    of = pair.whole if measure.needs == "moments" else pair.image_pair
    return _nothing(of) if isinstance(of, str) else measure.apply(of)


def _nothing(reason: str) -> Similarity:
    return Similarity(None, "undefined", reason, 0, (0, 0))


def _exchange(
    pair: TaskPair,
    measures: Sequence[Measure],
    kind: str,
    orders: int,
    seed: Sequence[int],
    beside: Mapping[str, _Values],
    nulls: Mapping[str, array[float]],
) -> float:
    """Add to `beside` and `nulls` what measures give of the task's images, in place and exchanged, a number an order.

    Returns:
        The natural logarithm of how many different orders there are.
    """
    found = pair.exchangeable(kind, np.random.default_rng(seed), orders)
    results = [_nothing(found) if isinstance(found, str) else measure.apply(found[0]) for measure in measures]
    live = [measure for measure, result in zip(measures, results, strict=True) if result.value is not None]
    table: dict[str, list[Similarity]] = {measure.name: [] for measure in live}
    amount = 0.0
    if live and not isinstance(found, str):
        own, ways, amount = found
        for other in map(own.exchanged, ways):
            for measure in live:
                table[measure.name].append(measure.apply(other))
    for measure, result in zip(measures, results, strict=True):
        exchanged = table.get(measure.name, [])
        reason = result.reason or next((one.reason for one in exchanged if one.value is None), "")
        beside[measure.name].add(result.n, None if reason else result.value, reason)
        given = [math.nan if one.value is None else one.value for one in exchanged]
        nulls[measure.name].extend(given if given else [math.nan] * orders)
    return amount


def _with_null(
    mean: Compared,
    measure: Measure,
    beside: _Values,
    exchanged: Float[np.ndarray, "task order"],
    few: bool,
    draws: np.ndarray,
    seed: Sequence[int],
) -> Compared:
    """Return the mean over tasks with its null and its calibrated value."""
    value, known, most = beside.mean(draws), np.isfinite(beside.values), measure.most_alike
    if value.value is None:
        nothing = Null(None, None, (), value.reason)
        return dataclasses.replace(mean, null=nothing, null_n=value.n, calibrated=value)
    null = _null(exchanged[known], measure.range, few, value.reason, np.random.default_rng(seed))
    assert null.mean is not None
    if abs(most - null.mean) < _ROOM:
        which = "below the largest" if measure.higher_is_more_similar else "above the smallest"
        reason = f"the null, {null.mean:.3f}, leaves no room {which} value, {most:g}"
        shares = Compared(None, value.n, reason, np.full_like(value.replicates, np.nan))
        return dataclasses.replace(mean, null=null, null_n=value.n, calibrated=shares)
    lows = _drawn(exchanged.mean(axis=1), known, draws)
    replicates = (value.replicates - lows) / (most - lows)
    share = (value.value - null.mean) / (most - null.mean)
    shares = Compared(share, value.n, value.reason, replicates)
    return dataclasses.replace(mean, null=null, null_n=value.n, calibrated=shares)


def _null(
    exchanged: Float[np.ndarray, "task order"],
    range: tuple[float, float],
    few: bool,
    told: str,
    generator: np.random.Generator,
) -> Null:
    """Return the mean null, and how it spreads where each task takes one order.

    Orders of a task are made independently of those of another, so a mean over tasks takes any order of each. What m
    orders of a task miss their own mean by is short of what they miss the expectation by, by √((m−1)/m).
    """
    tasks, orders = exchanged.shape
    each = exchanged.mean(axis=1, keepdims=True)
    mean = float(each.mean())
    if few:
        least = f"the images can be exchanged in fewer than {_FEWEST} ways: how the null spreads is not known"
        return Null(mean, None, (), f"{told}; {least}" if told else least)
    apart, drawn, task = (exchanged - each) * math.sqrt(orders / (orders - 1)), np.empty(_DRAWS), np.arange(tasks)
    for some in _parts(_DRAWS, tasks):
        chosen = generator.integers(orders, size=(some.stop - some.start, tasks))
        drawn[some] = apart[task, chosen].mean(axis=1)
    values = np.clip(mean + drawn - drawn.mean(), *range)
    return Null(mean, float(values.std(ddof=1)), tuple(values.tolist()), told)


def _drawn(values: Float[np.ndarray, " task"], known: np.ndarray, draws: np.ndarray) -> Float[np.ndarray, " replicate"]:
    """Return the mean of the known values on each draw of tasks; NaN where it has none of them."""
    mean, drawn = values[known].mean(), np.empty(len(draws))
    apart = values[known] - mean  # so that what all tasks share leaves no rounding
    for some in _parts(*draws.shape):
        chosen = draws[some, known]
        total = chosen.sum(axis=1)
        drawn[some] = np.where(total > 0, mean + chosen @ apart / np.maximum(total, 1), np.nan)
    return drawn


def _parts(draws: int, tasks: int) -> Iterator[slice]:
    """Yield so many draws at a time that what is made of them takes no more memory where there are more tasks."""
    several = max(1, _HELD // tasks)
    return (slice(first, min(first + several, draws)) for first in range(0, draws, several))


def _in_tasks(reasons: Sequence[str]) -> str:
    """Say in how many tasks there is a reason, and which."""
    told = dict.fromkeys(reason for reason in reasons if reason)
    first, count = next(iter(told)), sum(map(bool, reasons))
    if len(reasons) == 1:
        return first
    where = f"in all {count} tasks" if count == len(reasons) else f"in {count} of {len(reasons)} tasks"
    return f"{where}: {first}" if len(told) == 1 else f"{where}, the first: {first}"
