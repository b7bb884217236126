"""Rows that follow from the accuracies of single tasks: over seeds, between learners, and the reuse index.

What the page says of several seeds, or of two learners, is a row like any other: made here, from tests on the same
tasks, by drawing tasks and seeds together (`analyses.bootstrap`). Rows of single tasks stay in the runs' `measured/`.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analyses.bootstrap import mean_of_tasks
from analyses.table import Row, Table
from analyses.testing.reuse import reuse_table
from reports.studies.runs import HEADLESS

__all__ = ["BETWEEN", "FIXED", "derived"]

BETWEEN = "accuracy_between"
"""Accuracy of a learner − that of another on the same tasks, percentage points."""

FIXED = "_of_these_seeds"
"""What a measure's name ends in where its interval is over tasks alone, of the seeds that there are."""

_REPLICATES = 2000
_BEST = ("maml", "anil")


@dataclass(frozen=True)
class _Test:
    """One way of testing one learner: all that tells rows apart but seed and task."""

    algorithm: str | None
    iteration: int | None
    phase: str | None
    frozen: str | None
    adapts: str | None
    head: str | None
    inner_steps: int | None


_Tests = dict[_Test, dict[int, dict[int, Row]]]
"""Rows of single tasks by test, seed and task."""


def derived(table: Table, body: Sequence[str], trained_steps: int) -> Table:
    """Return a study's table without rows of single tasks, and with what follows from those.

    Args:
        table: everything that was measured.
        body: the layers that freezing the whole body freezes.
        trained_steps: inner steps of the training.

    Returns:
        The rows; then with seed None, where there are several seeds: "accuracy", "accuracy_difference" (to nothing
        frozen) and "head_difference" (own or MAML head − NIL head) over seeds and tasks, each with a row of the same
        name and "_of_these_seeds"; "accuracy_between" two learners, the second in `other_algorithm`; and
        "reuse_index" (see `analyses.testing.reuse`).
    """
    tests = _tests(table)
    rows = [row for row in table.rows if row.task is None or row.measure != "accuracy"]
    rows += _over_seeds(tests, trained_steps)
    rows += _between(tests, ",".join(body), trained_steps)
    rows += _reuse(table, body, trained_steps)
    return Table.of(rows)


def _tests(table: Table) -> _Tests:
    found: _Tests = defaultdict(lambda: defaultdict(dict))
    for row in table.rows:
        if row.task is not None and row.measure == "accuracy" and row.seed is not None:
            test = _Test(row.algorithm, row.iteration, row.phase, row.frozen, row.adapts, row.head, row.inner_steps)
            found[test][row.seed][row.task] = row
    return {test: dict(seeds) for test, seeds in found.items()}


def _over_seeds(tests: _Tests, steps: int) -> Iterator[Row]:
    for test, seeds in tests.items():
        if len(seeds) < 2:
            continue
        yield from _row_of("accuracy", seeds)
        nothing = tests.get(dataclasses.replace(test, frozen=""))
        if test.frozen and nothing:
            yield from _row_of("accuracy_difference", seeds, nothing)
        head = "maml" if test.algorithm in HEADLESS else "own"  # of the untrained network, too, there are both
        if (test.frozen, test.adapts, test.inner_steps, test.head) == ("", None, steps, head):
            nil = _nil(tests, test)
            if nil and _is_last(test, tests):
                yield from _row_of("head_difference", seeds, nil, frozen="", head=None)


def _nil(tests: _Tests, test: _Test) -> Mapping[int, dict[int, Row]] | None:
    """Return the test of the same body with the NIL head."""
    return next(
        (
            seeds
            for other, seeds in tests.items()
            if (other.algorithm, other.iteration, other.head) == (test.algorithm, test.iteration, "nil")
        ),
        None,
    )


def _is_last(test: _Test, tests: _Tests) -> bool:
    return test.iteration == max(other.iteration or 0 for other in tests if other.algorithm == test.algorithm)


def _between(tests: _Tests, full: str, steps: int) -> Iterator[Row]:
    """ANIL − MAML, MAML − the untrained network for each frozen block, MAML's and ANIL's bodies − other regimes'."""
    own = {
        (test.algorithm, test.frozen): seeds
        for test, seeds in tests.items()
        if (test.head, test.adapts, test.inner_steps, test.phase) == ("own", None, steps, "post")
        and _is_last(test, tests)
    }
    if ("anil", "") in own and ("maml", "") in own:
        yield from _row_of(BETWEEN, own["anil", ""], own["maml", ""], between=True)
    for algorithm, frozen in own:
        if algorithm == "maml" and ("random", frozen) in own:
            yield from _row_of(BETWEEN, own["maml", frozen], own["random", frozen], between=True)
    nil = {test.algorithm: seeds for test, seeds in tests.items() if test.head == "nil" and _is_last(test, tests)}
    for best in _BEST:
        for other in HEADLESS:
            if best in nil and other in nil:
                yield from _row_of(BETWEEN, nil[best], nil[other], between=True)


def _row_of(
    measure: str,
    left: Mapping[int, dict[int, Row]],
    right: Mapping[int, dict[int, Row]] | None = None,
    *,
    between: bool = False,
    **columns: str | None,
) -> Iterator[Row]:
    """Yield the row over the seeds and tasks that both sides have, and with several seeds that of these seeds alone."""
    sides = [left] if right is None else [left, right]
    seeds = [seed for seed in left if all(seed in side for side in sides)]
    if not seeds:
        return
    tasks = sorted(set.intersection(*(set(side[seed]) for side in sides for seed in seeds)))
    if not tasks:
        return
    used = [side[seed][tasks[0]] for side in sides for seed in seeds]
    ids = dict.fromkeys(row.checkpoint or "unnamed" for row in used)
    first, other = used[0], used[-1]
    row = dataclasses.replace(first, task=None, seed=None, checkpoint=None, source="+".join(ids), **columns)
    if between:
        row = dataclasses.replace(row, other_algorithm=other.algorithm, other_iteration=other.iteration)
    tables = [[[side[seed][task].value for task in tasks] for seed in seeds] for side in sides]
    values = np.array(tables, dtype=np.float64)  # (side, seed, task); None becomes NaN
    lost = int(np.isnan(values).any(axis=(0, 1)).sum())
    if lost:  # what the rest would say is of other tasks than the ones asked for
        reason = f"{lost} of {len(tasks)} tasks have no accuracy in one of the tests: their inner loop diverged"
        yield dataclasses.replace(row, measure=measure, value=None, n=len(tasks), status="undefined", reason=reason)
        return
    per_task = values[0] if right is None else values[0] - values[1]
    limits = (0.0, 100.0) if right is None else (-100.0, 100.0)
    yield _filled(row, measure, per_task, limits)
    if len(seeds) > 1:
        yield _filled(row, measure + FIXED, per_task.mean(axis=0, keepdims=True), limits)


def _filled(row: Row, measure: str, per_task: np.ndarray, limits: tuple[float, float]) -> Row:
    found = mean_of_tasks(per_task, _REPLICATES, limits)
    return dataclasses.replace(row, measure=measure, value=found.value, low=found.low, high=found.high, n=found.tasks)


def _reuse(table: Table, body: Sequence[str], steps: int) -> Iterable[Row]:
    """Return the reuse index of every learner, each on the tasks that it and the untrained network were tested on."""
    single = [row for row in table.rows if row.task is not None and row.measure == "accuracy"]
    control = [row for row in single if row.algorithm == "random"]
    for algorithm in dict.fromkeys(row.algorithm for row in single):
        mine = [row for row in single if row.algorithm == algorithm and algorithm != "random"]
        adapting = [row for row in mine if row.adapts == "all"] or mine
        tasks = {row.task for row in adapting}
        if mine:
            some = [row for row in (*mine, *control) if row.task in tasks]
            yield from reuse_table(Table.of(some), body, steps).rows
