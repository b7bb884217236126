"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": MAML and ANIL (R1–R5, R9), training regimes (R7, R8, R12)."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.runs import HEADLESS, NEW_HEAD, bodies_of, check_runs, run_labels
from reports.studies.study import Preset, Study, StudyRequest, train_command
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

if TYPE_CHECKING:
    from analyses.table import Table
    from reports.studies.measurements import Plan
    from reports.studies.raghu2020.page import HowMade
    from trainers.config import TrainConfig
    from trainers.tasks import ImageSet

__all__ = ["RAGHU2020"]

_PRESETS = {
    "quick": Preset(iterations=160, seeds=1, tasks=120, capture_tasks=40, val_tasks=60, more_iterations=60),
    "full": Preset(iterations=30_000, seeds=3, tasks=600, capture_tasks=100, val_tasks=200, more_iterations=30_000),
}
_DEFAULTS = {"data": "glyphs", "n_shot": 1, "inner_lr": 0.1, "meta_batch": 16}


def _run(request: StudyRequest, out: Path, data_root: Path | None, download: bool) -> Path:
    from reports.studies.measurements import Plan
    from trainers.device import device_named
    from trainers.outer_loop import train
    from trainers.tasks import load_for

    device_named(request.device)  # what cannot work is told before data are read
    request = request.of(RAGHU2020)
    amount = request.amount(RAGHU2020)
    runs = [run for seed in range(amount.seeds) for run in _runs(request, amount, seed, out)]
    imageset = load_for(runs[0][1], data_root=data_root, download=download)
    for folder, config in runs:
        train(config, imageset, folder)
    plan = Plan(tasks=amount.tasks, capture_tasks=amount.capture_tasks)
    usual = {name: None for name, value in _DEFAULTS.items() if name != "data" and getattr(request, name) == value}
    commands = (dataclasses.replace(request, **usual).command("raghu2020"),)
    return _write([folder for folder, _ in runs], imageset, plan, out / "report.html", commands)


def _runs(request: StudyRequest, amount: Preset, seed: int, out: Path) -> list[tuple[Path, TrainConfig]]:
    """Return what is trained with a seed: MAML, ANIL, bodies without a task head, then a head for each of those."""
    runs = [
        (out / f"{algorithm}-seed{seed}", request.run_config(amount, algorithm, seed)) for algorithm in ("maml", "anil")
    ]
    for algorithm in HEADLESS:
        steps = 1 if algorithm == "random" else amount.iterations  # a run has at least one; here it changes nothing
        config = request.run_config(amount, algorithm, seed, iterations=steps)
        runs.append((out / f"{algorithm}-seed{seed}", _seldom_validated(config)))
    for body in HEADLESS:
        base = RunFolder(out / f"{body}-seed{seed}").checkpoint("last")
        config = request.run_config(amount, NEW_HEAD, seed, iterations=amount.more_iterations, base=str(base))
        runs.append((out / f"{NEW_HEAD}-{body}-seed{seed}", _seldom_validated(config)))
    return runs


def _seldom_validated(config: TrainConfig) -> TrainConfig:
    """Return a config that validates four times: no curve is drawn of it, and no checkpoint chosen."""
    return dataclasses.replace(config, val_every=max(1, config.iterations // 4))


def _report(
    runs: list[Path], out: Path, data_root: Path | None, tasks: int | None = None, capture_tasks: int | None = None
) -> Path:
    from reports.studies.measurements import Plan, measured_plan
    from trainers.tasks import load_for

    if not runs:
        raise MetaprobeError("a report needs at least one run; `metaprobe train maml --data glyphs` makes one")
    for flag, count in (("--tasks", tasks), ("--capture-tasks", capture_tasks)):
        if count is not None and count < 1:
            raise MetaprobeError(f"{flag} must be at least 1; got {count}")
    first = RunFolder(runs[0]).read_config()
    check_runs(runs)
    imageset = load_for(first, data_root=data_root)
    runs = sorted(runs, key=lambda run: RunFolder(run).read_config().algorithm == NEW_HEAD)  # in order of training
    plans = {measured_plan(RunFolder(run)) for run in runs}
    amount = (plans.pop() if len(plans) == 1 else None) or _PRESETS["full"]
    plan = Plan(
        tasks=amount.tasks if tasks is None else tasks,
        capture_tasks=amount.capture_tasks if capture_tasks is None else capture_tasks,
    )
    labels = run_labels(runs)
    trainings = [train_command(config, label) for label, config in _configs(runs).items()]
    command = ["metaprobe", "report", *labels, "--out", out.name]
    if plan.tasks != _PRESETS["full"].tasks:
        command += ["--tasks", str(plan.tasks)]
    if plan.capture_tasks != _PRESETS["full"].capture_tasks:
        command += ["--capture-tasks", str(plan.capture_tasks)]
    return _write(runs, imageset, plan, out, (*trainings, shlex.join(command)))


def _write(runs: Sequence[Path], imageset: ImageSet, plan: Plan, out: Path, commands: tuple[str, ...]) -> Path:
    from analyses.table import Table
    from reports.page import write_report
    from reports.studies.measurements import measure_run
    from reports.studies.raghu2020.page import build_page
    from reports.studies.raghu2020.regimes.readings import of_regime

    bodies, table = bodies_of(runs), Table()
    for run in runs:
        found, config = measure_run(RunFolder(run), imageset, plan), RunFolder(run).read_config()
        if run in bodies:
            found = of_regime(found, RunFolder(bodies[run]).read_config(), head=config)
        elif config.algorithm in HEADLESS:
            found = of_regime(found, config)
        table += found
    page = build_page(table.frame(), _how_made(runs, imageset, table, commands))
    return write_report(page, out.parent, out.name)


def _how_made(runs: Sequence[Path], imageset: ImageSet, table: Table, commands: tuple[str, ...]) -> HowMade:
    from reports.studies.making import how_made
    from reports.studies.measurements import TEST_QUERIES
    from trainers.run import CHECKPOINT_NAMES

    folders, configs = dict(zip(run_labels(runs), map(RunFolder, runs), strict=True)), _configs(runs)
    tested = max((row.n or 0 for row in table.rows if row.measure == "accuracy"), default=0)
    return how_made(
        folders,
        configs,
        imageset,
        commands=commands,
        test_queries=TEST_QUERIES,
        facts=(("test tasks", f"{tested}"),),
        checkpoints={
            label: ("last",) if config.algorithm in (*HEADLESS, NEW_HEAD) else CHECKPOINT_NAMES
            for label, config in configs.items()
        },
    )


def _configs(runs: Sequence[Path]) -> dict[str, TrainConfig]:
    """Return the configs by label, a new head's base where the labels put it."""
    labels, bodies = dict(zip(runs, run_labels(runs), strict=True)), bodies_of(runs)
    configs = {run: RunFolder(run).read_config() for run in runs}
    for head, body in bodies.items():
        base = RunFolder(Path(labels[body])).checkpoint("last").as_posix()
        configs[head] = dataclasses.replace(configs[head], base=base)
    return {labels[run]: config for run, config in configs.items()}


RAGHU2020 = Study(
    name="raghu2020",
    summary="Does MAML relearn its features for each task, or reuse them? By freezing, similarity, distance, regime.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020",
    presets=_PRESETS,
    defaults=_DEFAULTS,
    run=_run,
    report=_report,
)
