"""What is measured on the runs of the study: functions that steps call, in this process or in another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from analyses.clustering.bound import bound_terms
from analyses.clustering.clusters import agreement
from analyses.clustering.embedding import embedding
from analyses.steps import step_curves
from analyses.table import Row, Table
from analyses.testing import TestPlan, learner_of, sampler_of
from analyses.testing.accuracy import evaluated, mean_row, rows_of
from reports.studies.zhou2021.learners import GAINS
from trainers.checkpoint import Checkpoint, load_checkpoint
from trainers.errors import MetaprobeError
from trainers.tasks.imageset import ImageSet

__all__ = [
    "BOUND_TASKS",
    "FIT_TASKS",
    "STEPS",
    "TEST_QUERIES",
    "accuracies",
    "bound",
    "clusters",
    "curves",
    "embeddings",
    "gains",
    "task_accuracies",
]

TEST_QUERIES = 15
"""Query images of a class in every test, whatever the run was trained with."""

STEPS = 20
"""The last inner step that curves look at, and the last q of the bound."""

BOUND_TASKS = 20
"""Most tasks behind the distances and the bound: a task's optimum takes a hundred times the work of an adaptation."""

FIT_TASKS = 2000
"""Most training tasks that k-means sees for views of tasks; fewer where the learner saw fewer."""

Advance = Callable[[int], None]


def accuracies(checkpoint: Path, tasks: int, imageset: ImageSet, advance: Advance) -> Table:
    """Test a learner on tasks of each domain and of all together; a row a task too."""
    found, plan = _loaded(checkpoint, tasks)
    return task_accuracies(found, imageset, plan, advance)


def curves(checkpoint: Path, tasks: int, imageset: ImageSet, advance: Advance) -> Table:
    """Follow a learner over the steps of the inner loop."""
    found, plan = _loaded(checkpoint, tasks)
    return step_curves(found, imageset, plan, STEPS, advance=advance)


def clusters(checkpoint: Path, tasks: int, fit_tasks: int, imageset: ImageSet, advance: Advance) -> Table:
    """Compare clusters with domains, and count which initialisation is used where."""
    found, plan = _loaded(checkpoint, tasks)
    return agreement(found, imageset, plan, fit_tasks=fit_tasks, with_usage=True, advance=advance)


def embeddings(checkpoint: Path, tasks: int, imageset: ImageSet, advance: Advance) -> Table:
    """Embed tasks in the plane."""
    found, plan = _loaded(checkpoint, tasks)
    return embedding(found, imageset, plan, advance=advance)


def bound(checkpoint: Path, base: Path, tasks: int, imageset: ImageSet, advance: Advance) -> Table:
    """Estimate the terms of the bound, the common optimum being found from the base."""
    found, plan = _loaded(checkpoint, tasks)
    return bound_terms(found, imageset, plan, common=load_checkpoint(base), steps=STEPS, advance=advance)


def task_accuracies(
    checkpoint: Checkpoint, imageset: ImageSet, plan: TestPlan, advance: Advance | None = None
) -> Table:
    """Test a checkpoint on tasks of each domain, and of all together, and keep what each task gave.

    Returns:
        Rows "accuracy" (percent) and "loss" (nats) with `group` the domain, or None for tasks of all together: one row
        a test, and for the accuracy one a task, by its index.
    """
    rows = []
    for group in (*imageset.domain_names, None):
        one = dataclasses.replace(plan, group=group)
        learner, sampler = learner_of(checkpoint, one), sampler_of(checkpoint, imageset, one)
        steps = checkpoint.adaptation.steps
        found = evaluated(learner, sampler, one, (), steps, "own", advance)
        means = rows_of(learner, (), steps, "own", found, None)
        rows += means
        first = next(row for row in means if row.measure == "accuracy")
        single = dataclasses.replace(first, low=None, high=None, n=None)
        rows += [dataclasses.replace(single, task=i, value=float(value)) for i, value in enumerate(found.accuracy)]
    return Table.of(rows)


def gains(tables: Mapping[str, Table], main: str) -> Table:
    """Return paired differences in accuracy (points) between learners on the same tasks.

    Args:
        tables: of each learner by its key, as `task_accuracies` gives them.
        main: key of the learner that "first" stands for.

    Returns:
        Rows of the measures in `GAINS`, by domain and of all together: value, 95 % interval, n tasks.

    Raises:
        MetaprobeError: two learners were not tested on the same tasks.
    """
    rows = []
    for over, measure in GAINS.items():
        other = tables.get(main if over == "first" else over)
        if other is None:
            continue
        for table in tables.values():
            if table is not other:
                rows += _paired(table, other, measure)
    return Table.of(rows)


def _paired(table: Table, other: Table, measure: str) -> list[Row]:
    ours, theirs = _by_group(table), _by_group(other)
    rows = []
    for group, tasks in ours.items():
        if set(tasks) != set(theirs.get(group, {})):
            counts = f"{len(tasks)} and {len(theirs.get(group, {}))} tasks of {group or 'all domains'}"
            raise MetaprobeError(
                f"learners {_name(table)} and {_name(other)} were tested on {counts}, which are not the same; a paired "
                "difference needs the same ones: give both the same number of --tasks"
            )
        identity = next(row for row in table.rows if row.task is None and row.group == group)
        differences = np.array([tasks[task] - theirs[group][task] for task in sorted(tasks)])
        rows.append(mean_row(identity, measure, differences))
    return rows


def _by_group(table: Table) -> dict[str | None, dict[int, float]]:
    found: dict[str | None, dict[int, float]] = {}
    for row in table.rows:
        if row.task is not None and row.value is not None and row.measure == "accuracy":
            found.setdefault(row.group, {})[row.task] = row.value
    return found


def _name(table: Table) -> str:
    return str(next((row.checkpoint for row in table.rows), "without rows"))


def _loaded(checkpoint: Path, tasks: int) -> tuple[Checkpoint, TestPlan]:
    found = load_checkpoint(checkpoint)
    return found, TestPlan(tasks=tasks, n_query=TEST_QUERIES, device=found.config.device)
