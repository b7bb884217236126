"""From what the steps left to the study's one table, and to what its page says of how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from analyses.table import Row, Table
from probe.store import open_store
from reports.studies.made import HowMade
from reports.studies.making import how_made
from reports.studies.raghu2020.derived import derived
from reports.studies.raghu2020.measurements import TEST_QUERIES, learning_curves
from reports.studies.raghu2020.regimes.readings import of_regime
from reports.studies.raghu2020.study_table import BODY
from reports.studies.runs import HEADLESS, NEW_HEAD, bodies_of
from reports.studies.steps import Results
from reports.studies.works import Capture, Measurement
from trainers.checkpoint import load_checkpoint
from trainers.config import TrainConfig
from trainers.run import CHECKPOINT_NAMES, RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["gathered", "how_study_was_made"]


def gathered(runs: Sequence[Path], imageset: ImageSet, results: Results) -> Table:
    """Return everything that was measured, as one table; rows of a headless body or a new head are of its regime.

    Args:
        runs: the runs that have ended.
        imageset: the data.
        results: how the steps ended.
    """
    bodies, configs = bodies_of(runs), {run: RunFolder(run).read_config() for run in runs}
    table = Table()
    for run in runs:
        if configs[run].algorithm not in (*HEADLESS, NEW_HEAD):
            last = load_checkpoint(RunFolder(run).checkpoint("last")).fingerprint[:12]
            curves = learning_curves(RunFolder(run))  # of the run that led there
            table += Table.of(dataclasses.replace(row, checkpoint=last) for row in curves.rows)
    for work in results.works():
        if not isinstance(work, Measurement):
            continue
        found, config = work.table(imageset), configs[work.place]
        if work.name.startswith("pairs-"):
            pass  # between learners: its rows say whose they are
        elif work.place in bodies:
            found = of_regime(found, configs[bodies[work.place]], head=config)
        elif config.algorithm in HEADLESS:
            found = of_regime(found, config)
        table += found
    steps = next(iter(configs.values())).inner_steps
    return derived(Table.of(map(_of_untrained, table.rows)), BODY, steps)


def _of_untrained(row: Row) -> Row:
    """A network that is never trained has taken no steps, whatever its run counts."""
    row = dataclasses.replace(row, iteration=0) if row.algorithm == "random" and row.iteration else row
    return dataclasses.replace(row, other_iteration=0) if row.other_algorithm == "random" else row


def how_study_was_made(
    runs: Sequence[Path],
    configs: Mapping[str, TrainConfig],
    imageset: ImageSet,
    results: Results,
    table: Table,
    commands: tuple[str, ...],
) -> HowMade:
    """Return what made the study.

    Args:
        runs: the runs that have ended.
        configs: theirs by label, in the same order, as they are shown.
        imageset: the data.
        results: how the steps ended.
        table: everything measured.
        commands: that make it again.
    """
    labels = dict(zip(runs, configs, strict=True))
    tested = max((row.n or 0 for row in table.rows if row.measure == "accuracy"), default=0)
    captured = max((work.tasks for work in results.works() if isinstance(work, Capture)), default=0)
    return how_made(
        {label: RunFolder(run) for run, label in labels.items()},
        configs,
        imageset,
        commands=commands,
        test_queries=TEST_QUERIES,
        facts=(("test tasks", f"{tested}"), ("captured tasks", f"{captured}")),
        checkpoints={
            label: ("last",) if config.algorithm in (*HEADLESS, NEW_HEAD) else CHECKPOINT_NAMES
            for label, config in configs.items()
        },
        stores=_stores(results, labels),
        missing=tuple((name, outcome.ending, outcome.reason) for name, outcome in results.missing()),
    )


def _stores(results: Results, labels: Mapping[Path, str]) -> tuple[tuple[str, str, str], ...]:
    stores = []
    for work in results.works():
        if isinstance(work, Capture):
            with open_store(work.store) as store:
                label = f"{labels[work.store.parent.parent]}/{work.store.stem}"
                stores.append((label, store.sha256, load_checkpoint(work.checkpoint).fingerprint[:12]))
    return tuple(stores)
