"""The declaration of the study: which learners to train, what to measure, and what needs what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from analyses.table import Table
from reports.studies.steps import Effort, Results, Step
from reports.studies.study import Preset
from reports.studies.works import Advance, Measurement, Training
from reports.studies.zhou2021 import measurements as made
from reports.studies.zhou2021.learners import BASE, CONTINUED
from trainers.config import TrainConfig
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["gathered", "steps_of_seed"]

Make = Callable[[ImageSet, Advance], Table]


def steps_of_seed(
    runs: Mapping[str, tuple[Path, TrainConfig]], main: str, domains: int, amount: Preset
) -> tuple[Step, ...]:
    """Return the steps that train and measure the learners of one seed.

    Args:
        runs: folders and configs by the learners' keys.
        main: key of the TSA-MAML that clusters, embeddings, curves and bound are measured on.
        domains: how many there are.
        amount: how much.
    """
    trainings = []
    for folder, config in runs.values():
        needs = (f"train {runs[BASE][0].name}",) if config.base else ()
        trainings.append(Step(f"train {folder.name}", Training(folder, config), needs))
    return (*trainings, *_measuring(runs, main, domains, amount))


def _measuring(runs: Mapping[str, tuple[Path, TrainConfig]], main: str, domains: int, amount: Preset) -> Iterable[Step]:
    assert amount.group_tasks and amount.cluster_tasks
    last = {key: RunFolder(folder).checkpoint("last") for key, (folder, _) in runs.items()}

    def step(name: str, key: str, make: Make, total: int, *also: str, **choices: object) -> Step:
        places = tuple(dict.fromkeys((key, *also)))
        label = f"{name} of {runs[key][0].name}"
        inputs = tuple(last[place] for place in places)
        needs = tuple(f"train {runs[place][0].name}" for place in places)
        told = {"test_queries": made.TEST_QUERIES, **choices}
        effort = Effort({("test", runs[key][1].algorithm): total})
        return Step(label, Measurement(label, runs[key][0], name, inputs, make, told, total, effort), needs)

    count = amount.capture_tasks
    for key in runs:
        make = functools.partial(made.accuracies, last[key], amount.tasks)
        yield step("accuracy", key, make, (domains + 1) * amount.tasks, tasks=amount.tasks)
    for key in dict.fromkeys((BASE, CONTINUED, main)):
        if key in runs:
            make = functools.partial(made.curves, last[key], count)
            yield step("steps", key, make, count, tasks=count, steps=made.STEPS)
    fit = min(amount.cluster_tasks, made.FIT_TASKS)
    make = functools.partial(made.clusters, last[main], amount.group_tasks, fit)
    yield step("clusters", main, make, domains * amount.group_tasks + fit, tasks=amount.group_tasks, fit_tasks=fit)
    make = functools.partial(made.embeddings, last[main], count)
    yield step("embedding", main, make, 3 * domains * count, tasks=count)
    few = min(count, made.BOUND_TASKS)
    for key in (CONTINUED if CONTINUED in runs else BASE, main):
        make = functools.partial(made.bound, last[key], last[BASE], few)
        yield step("bound", key, make, few, BASE, tasks=few, steps=made.STEPS)


def gathered(results: Results, seeds: Iterable[Mapping[str, Path]], main: str, imageset: ImageSet) -> Table:
    """Return what was measured: accuracies without their single tasks, and the paired gains in their place.

    Args:
        results: how the steps ended.
        seeds: the run folders of each seed by the learners' keys.
        main: key of the learner that the others are compared with.
        imageset: the data.
    """
    works = [work for work in results.works() if isinstance(work, Measurement)]
    table = Table()
    for folders in seeds:
        single = {
            key: work.table(imageset)
            for key, folder in folders.items()
            for work in works
            if (work.place, work.name) == (folder, "accuracy")
        }
        for found in single.values():
            table += Table.of(row for row in found.rows if row.task is None)
        table += made.gains(single, main)
        for work in works:
            if work.place in folders.values() and work.name != "accuracy":
                table += work.table(imageset)
    return table
