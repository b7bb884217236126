"""What is measured on the runs of one seed, kept in each run's `measured/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from analyses.accuracy import evaluated, mean_row, rows_of
from analyses.clustering.bound import bound_terms
from analyses.clustering.clusters import agreement
from analyses.clustering.embedding import embedding
from analyses.steps import step_curves
from analyses.table import Row, Table
from analyses.testing import TestPlan, learner_of, sampler_of
from reports.studies.kept import kept_key, measured
from reports.studies.study import Preset
from reports.studies.zhou2021.learners import BASE, CONTINUED, GAINS
from trainers.checkpoint import Checkpoint, load_checkpoint
from trainers.errors import MetaprobeError
from trainers.progress import ProgressLine
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["BOUND_TASKS", "TEST_QUERIES", "gains", "measure_seed", "task_accuracies"]

TEST_QUERIES = 15
"""Query images of a class in every test, whatever the run was trained with."""

STEPS = 20
"""The last inner step that curves look at, and the last q of the bound."""

BOUND_TASKS = 20
"""Most tasks behind the distances and the bound: a task's optimum takes a hundred times the work of an adaptation."""

_FIT_TASKS = 2000  # training tasks that k-means sees for views of tasks; fewer where the learner saw fewer

Advance = Callable[[int], None]


def measure_seed(runs: Mapping[str, RunFolder], main: str, imageset: ImageSet, amount: Preset) -> Table:
    """Measure all learners of one seed.

    Tables measured before on the same checkpoints, data and numbers of tasks, by the same versions, are read, not
    measured again.

    Args:
        runs: the seed's runs, that have ended, by their learners' keys.
        main: key of the TSA-MAML that clusters, embeddings, curves and bound are measured on.
        imageset: a mixture of domains.
        amount: how much.

    Returns:
        The rows of the analyses, accuracies without their single tasks, and the paired gains in their place.
    """
    single: dict[str, Table] = {key: _accuracies(folder, imageset, amount) for key, folder in runs.items()}
    tables = [Table.of(row for row in table.rows if row.task is None) for table in single.values()]
    tables.append(gains(single, main))
    curved = [key for key in dict.fromkeys((BASE, CONTINUED, main)) if key in runs]
    tables += [_curves(runs[key], imageset, amount) for key in curved]
    tables += [_clusters(runs[main], imageset, amount), _embedding(runs[main], imageset, amount)]
    plain = CONTINUED if CONTINUED in runs else BASE
    tables += [_bound(runs[key], runs[BASE], imageset, amount) for key in (plain, main)]
    return sum(tables, Table())


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


def _kept(
    folder: RunFolder, name: str, imageset: ImageSet, total: int, measure: Callable[[Advance], Table], **choices: object
) -> Table:
    """Return a table of a run's last checkpoint, measured with a line of progress where it is not kept."""

    def measure_now() -> Table:
        with ProgressLine(f"{name} of {folder.path.name}", total, unit="tasks") as bar:
            return measure(lambda done: bar.advance(steps=done))

    key = kept_key(folder, imageset, ("last",), test_queries=TEST_QUERIES, **choices)
    return measured(folder, name, key, measure_now)


def _loaded(folder: RunFolder, tasks: int) -> tuple[Checkpoint, TestPlan]:
    checkpoint = load_checkpoint(folder.checkpoint("last"))
    return checkpoint, TestPlan(tasks=tasks, n_query=TEST_QUERIES, device=checkpoint.config.device)


def _accuracies(folder: RunFolder, imageset: ImageSet, amount: Preset) -> Table:
    def measure(advance: Advance) -> Table:
        checkpoint, plan = _loaded(folder, amount.tasks)
        return task_accuracies(checkpoint, imageset, plan, advance)

    total = (len(imageset.domain_names) + 1) * amount.tasks
    return _kept(folder, "accuracy", imageset, total, measure, tasks=amount.tasks)


def _curves(folder: RunFolder, imageset: ImageSet, amount: Preset) -> Table:
    def measure(advance: Advance) -> Table:
        checkpoint, plan = _loaded(folder, amount.capture_tasks)
        return step_curves(checkpoint, imageset, plan, STEPS, advance=advance)

    count = amount.capture_tasks
    return _kept(folder, "steps", imageset, count, measure, tasks=count, steps=STEPS)


def _clusters(folder: RunFolder, imageset: ImageSet, amount: Preset) -> Table:
    fit = min(amount.cluster_tasks, _FIT_TASKS)

    def measure(advance: Advance) -> Table:
        checkpoint, plan = _loaded(folder, amount.group_tasks)
        return agreement(checkpoint, imageset, plan, fit_tasks=fit, with_usage=True, advance=advance)

    total = len(imageset.domain_names) * amount.group_tasks + fit
    return _kept(folder, "clusters", imageset, total, measure, tasks=amount.group_tasks, fit_tasks=fit)


def _embedding(folder: RunFolder, imageset: ImageSet, amount: Preset) -> Table:
    def measure(advance: Advance) -> Table:
        checkpoint, plan = _loaded(folder, amount.capture_tasks)
        return embedding(checkpoint, imageset, plan, advance=advance)

    total = 3 * len(imageset.domain_names) * amount.capture_tasks
    return _kept(folder, "embedding", imageset, total, measure, tasks=amount.capture_tasks)


def _bound(folder: RunFolder, base: RunFolder, imageset: ImageSet, amount: Preset) -> Table:
    common = load_checkpoint(base.checkpoint("last"))
    count = min(amount.capture_tasks, BOUND_TASKS)

    def measure(advance: Advance) -> Table:
        checkpoint, plan = _loaded(folder, count)
        return bound_terms(checkpoint, imageset, plan, common=common, steps=STEPS, advance=advance)

    return _kept(folder, "bound", imageset, count, measure, tasks=count, steps=STEPS, common=common.fingerprint)
