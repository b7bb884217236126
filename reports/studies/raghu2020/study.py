"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": R1–R13 on MAML, ANIL and four other training regimes."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.request import StudyRequest, train_command
from reports.studies.runs import HEADLESS, NEW_HEAD, bodies_of, check_runs, run_labels
from reports.studies.study import Preset, Study
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

if TYPE_CHECKING:
    from reports.studies.raghu2020.measurements import Plan
    from reports.studies.steps import Results, Step
    from trainers.config import TrainConfig
    from trainers.tasks import ImageSet

__all__ = ["RAGHU2020", "runs_of"]

_PRESETS = {
    "quick": Preset(
        iterations=140,
        seeds=1,
        tasks=80,
        capture_tasks=24,
        val_tasks=50,
        more_iterations=50,
        head_steps=(30,),
        rounds=6,
        replicates=40,
        permutations=6,
        subsets=False,
    ),
    "full": Preset(
        iterations=30_000,
        seeds=3,
        tasks=600,
        capture_tasks=100,
        val_tasks=200,
        more_iterations=30_000,
        head_steps=(10, 30),
        rounds=30,
        replicates=200,
        permutations=40,
        subsets=False,
    ),
}
_DEFAULTS = {"data": "glyphs", "n_shot": 1, "inner_lr": 0.1, "meta_batch": 16}


def _declare(request: StudyRequest, amount: Preset, out: Path, imageset: ImageSet) -> tuple[Step, ...]:
    from reports.studies.raghu2020.work import measuring, training

    runs = dict(run for seed in range(amount.seeds) for run in runs_of(request, amount, seed, out))
    return (*training(runs), *measuring(runs, _plan(amount)))


def _plan(amount: Preset) -> Plan:
    from reports.studies.raghu2020.measurements import Plan

    return Plan(
        tasks=amount.tasks,
        capture_tasks=amount.capture_tasks,
        head_steps=amount.head_steps,
        rounds=amount.rounds,
        replicates=amount.replicates,
        permutations=amount.permutations,
        subsets=bool(amount.subsets),
    )


def runs_of(request: StudyRequest, amount: Preset, seed: int, out: Path) -> list[tuple[Path, TrainConfig]]:
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


def _write(request: StudyRequest, amount: Preset, out: Path, imageset: ImageSet, results: Results) -> Path:
    from reports.studies.works import Training

    usual = {name: None for name, value in _DEFAULTS.items() if name != "data" and getattr(request, name) == value}
    commands = (dataclasses.replace(request, **usual).command("raghu2020"),)
    runs = [work.folder for work in results.works() if isinstance(work, Training)]
    return _page(runs, imageset, results, out / "report.html", commands)


def _report(
    runs: list[Path],
    out: Path,
    data_root: Path | None,
    tasks: int | None = None,
    capture_tasks: int | None = None,
    jobs: int = 1,
) -> tuple[Path, Results]:
    from reports.studies.raghu2020.work import measuring
    from reports.studies.running import report_failures
    from reports.studies.steps import run_steps
    from trainers.tasks import load_for

    if not runs:
        raise MetaprobeError("a report needs at least one run; `metaprobe train maml --data glyphs` makes one")
    for flag, count in (("--tasks", tasks), ("--capture-tasks", capture_tasks)):
        if count is not None and count < 1:
            raise MetaprobeError(f"{flag} must be at least 1; got {count}")
    check_runs(runs)
    runs = sorted(runs, key=lambda run: RunFolder(run).read_config().algorithm == NEW_HEAD)  # in order of training
    configs = {run: RunFolder(run).read_config() for run in runs}
    imageset = load_for(configs[runs[0]], data_root=data_root)
    plan = _measured_plan(runs)
    plan = dataclasses.replace(
        plan,
        tasks=plan.tasks if tasks is None else tasks,
        capture_tasks=plan.capture_tasks if capture_tasks is None else capture_tasks,
    )
    labels = run_labels(runs)
    trainings = [train_command(config, label) for label, config in _configs(runs).items()]
    command = ["metaprobe", "report", *labels, "--out", out.name]
    full = _plan(_PRESETS["full"])
    if plan.tasks != full.tasks:
        command += ["--tasks", str(plan.tasks)]
    if plan.capture_tasks != full.capture_tasks:
        command += ["--capture-tasks", str(plan.capture_tasks)]
    remark = ()
    if dataclasses.replace(plan, tasks=full.tasks, capture_tasks=full.capture_tasks) != full:
        told = f"head steps {', '.join(map(str, plan.head_steps))}, {plan.rounds} rounds, {plan.replicates} replicates"
        remark = (f"# with what the runs were measured with before: {told}, {plan.permutations} permutations",)
    results = run_steps(measuring(configs, plan, trained=True), imageset, jobs)
    report_failures(results, out.parent)
    return _page(runs, imageset, results, out, (*trainings, shlex.join(command), *remark)), results


def _measured_plan(runs: Sequence[Path]) -> Plan:
    """Return the plan that all runs were measured with before; where there is none, the full preset's."""
    from reports.studies.kept import read_note
    from reports.studies.raghu2020.measurements import Plan

    notes = [read_note(run, "accuracy") for run in runs]
    plans = [note.get("plan") if note else None for note in notes]
    full = _plan(_PRESETS["full"])
    if not isinstance(plans[0], dict) or any(plan != plans[0] for plan in plans):
        return full
    try:
        found = Plan(**plans[0])
    except TypeError:  # of another version
        return full
    return dataclasses.replace(found, head_steps=tuple(found.head_steps))


def _page(runs: list[Path], imageset: ImageSet, results: Results, out: Path, commands: tuple[str, ...]) -> Path:
    from reports.page import write_report
    from reports.studies.raghu2020.gathering import gathered, how_study_was_made
    from reports.studies.raghu2020.page import build_page

    table = gathered(runs, imageset, results)
    made = how_study_was_made(runs, _configs(runs), imageset, results, table, commands)
    return write_report(build_page(table.frame(), made), out.parent, out.name)


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
    declare=_declare,
    write=_write,
    report=_report,
)
