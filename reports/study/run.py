"""Running a study, or a report of one's own runs: steps, then the page."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from metaprobe.analyses.measurements import KINDS, TEST_QUERIES
from metaprobe.probe.importing.runs import as_run, import_command
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.compose import page_of
from metaprobe.reports.page.files import write_report
from metaprobe.reports.study.cache import Measuring, Training, read_note, write_note
from metaprobe.reports.study.engine import Results, run_steps
from metaprobe.reports.study.gather import gathered, made_of, shown_config
from metaprobe.reports.study.given import finished_runs, runs_as
from metaprobe.reports.study.plan import Planned, Run, runs_of, steps_of
from metaprobe.reports.study.study import Options, Study
from metaprobe.reports.verdicts import Judgement
from metaprobe.trainers.algorithms import algorithm_named, check_options
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.command import option_words, train_command
from metaprobe.trainers.device import device_named
from metaprobe.trainers.disk import told_when_full
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput, flag_of
from metaprobe.trainers.execution.schedulers import workers_at
from metaprobe.trainers.execution.sent import Source
from metaprobe.trainers.execution.workers import Workers, check_jobs
from metaprobe.trainers.files import write_text
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.task_kinds import CLASSIFICATION
from metaprobe.trainers.tasks import load_for
from metaprobe.trainers.tasks.data import task_sampler
from metaprobe.trainers.user_code import USER_CODE

__all__ = ["Finished", "Planned", "plan_study", "report_runs", "run_study", "workers_for"]

_NOTE = "options"  # beside the tables of a run: what it was measured with


@dataclass(frozen=True)
class Finished:
    """A study that was run: its page, the verdicts by claim, and how the steps ended."""

    page: Path
    judgements: Mapping[str, Judgement]
    results: Results


def plan_study(
    study: Study, options: Options, out: Path, data_root: Path | None = None, download: bool = False
) -> Planned:
    """Return a study made ready in the folder `out`; nothing is done or written."""
    device_named(options.device)  # what cannot work is told before data are read
    images = load_for(options.config("maml", 0), data_root=data_root, download=download)
    runs = runs_of(study, options, out, images)
    return _checked(Planned(study, options, images, runs, steps_of(study, options, runs), out, data_root))


def _checked(planned: Planned) -> Planned:
    """Refuse what no run can be trained with or in, or no measurement be made on, before anything is done for it."""
    tasks = set[tuple[str, int, int, int]]()  # of which split, way, shot and queries there must be
    for work in (step.work for step in planned.steps):
        if isinstance(work, Training):
            config = work.config
            check_options(algorithm_named(config.algorithm), config)
            queries = {"train": config.n_query, "val": config.val_query, "test": TEST_QUERIES}
            tasks |= {(split, config.n_way, config.n_shot, count) for split, count in queries.items()}
            with contextlib.suppress(UnreadableInput):  # of a damaged run: its step fails, and the others go on
                work.refuse_another()
        if isinstance(work, Measuring):
            KINDS[work.measurement.kind].check(planned.images, work.measurement.amount)
    for split, *sizes in sorted(tasks):
        task_sampler(planned.images, split, *sizes, seed=0)
    return planned


def run_study(planned: Planned, jobs: int = 1, scheduler: str | None = None, slurm: Sequence[str] = ()) -> Finished:
    """Train, capture, measure and write the page of a study; what was done before is not done again.

    Steps are done in `jobs` processes side by side, or where a `scheduler` puts them (`trainers.execution.schedulers`).
    """
    with told_when_full(f"the study {planned.out}"):
        results = run_steps(planned.steps, planned.images, jobs, workers_for(planned, jobs, scheduler, slurm))
        ended = {work.folder for work in results.works() if isinstance(work, Training)}
        planned = replace(planned, runs=tuple(run for run in planned.runs if run.folder in ended))
        command = planned.options.command(planned.study.name, planned.study.preset(planned.options.preset))
        return _finished(planned, results, [command], planned.out / "report.html")


def workers_for(planned: Planned, jobs: int, scheduler: str | None, slurm: Sequence[str]) -> Workers | None:
    """Return what does the steps of a study elsewhere, or None: here; nothing is begun, what cannot be is an error."""
    if scheduler is None:
        if slurm:
            raise MetaprobeError("--slurm is of --scheduler slurm; got no --scheduler")
        return None
    source = Source.here(planned.options.config("maml", 0), planned.data_root, planned.images)
    return workers_at(scheduler, source, planned.out / "slurm", jobs, slurm)


def report_runs(
    studies: Sequence[Study],
    folders: Sequence[Path],
    out: Path,
    data_root: Path | None = None,
    tasks: int | None = None,
    capture_tasks: int | None = None,
    jobs: int = 1,
    data: str | None = None,
    scheduler: str | None = None,
    slurm: Sequence[str] = (),
) -> Finished:
    """Write the report of training runs, of the one study whose learners they are; measures what is not measured yet.

    Imported checkpoints are taken as runs, trained on `data` where they do not say (`probe.importing.runs`). Where
    `tasks` (behind an accuracy) or `capture_tasks` is None, it is what all runs were measured with before, else the
    full preset's.

    Raises:
        MetaprobeError: the runs are of regressions, fit no study, or several; they are unfinished or do not belong
            together.
    """
    check_jobs(jobs)
    last = finished_runs([as_run(folder, data) for folder in folders])
    study, full, runs = _fitting(studies, last)
    images = load_for(runs[0].config, data_root=data_root)
    before = [read_note(run.folder, _NOTE) for run in runs]
    options = (full.with_amounts(before[0]) if all(note == before[0] for note in before) else None) or full
    wanted = {name: n for name, n in (("tasks", tasks), ("capture_tasks", capture_tasks)) if n is not None}
    for name in wanted:
        if not hasattr(options, name):
            raise MetaprobeError(f"{flag_of(name)}: study {study.name} has no such thing")
    options = replace(options, **wanted)
    steps = steps_of(study, options, runs, trained=True)
    planned = _checked(Planned(study, options, images, runs, steps, out.parent, data_root))
    results = run_steps(planned.steps, images, jobs, workers_for(planned, jobs, scheduler, slurm))
    amounts = {name: value for name, value in options.amounts().items() if value != full.amounts()[name]}
    given = (f"{run.label.removesuffix('.run')}.safetensors" if run.imported else run.label for run in runs)
    commands = [
        import_command(last[run.folder], run.label) if run.imported else train_command(shown_config(run), run.label)
        for run in runs
    ]
    command = ["metaprobe", "report", *given, "--out", out.name]
    command += ["--network", code] if (code := USER_CODE.get()) else []
    command += ["--study", study.name] if len(studies) == 1 else []
    command += option_words({name: value for name, value in amounts.items() if name in ("tasks", "capture_tasks")})
    commands.append(shlex.join(command))
    if rest := [f"{n.replace('_', ' ')} {v}" for n, v in amounts.items() if n not in ("tasks", "capture_tasks")]:
        commands.append(f"# with what the runs were measured with before: {', '.join(rest)}")
    with told_when_full(f"the report {out}"):
        return _finished(planned, results, commands, out)


def _fitting(studies: Sequence[Study], last: Mapping[Path, Checkpoint]) -> tuple[Study, Options, tuple[Run, ...]]:
    configs = [found.config for found in last.values()]
    for folder, config in zip(last, configs, strict=True):
        if config.loss != CLASSIFICATION.loss:
            raise MetaprobeError(f"a report is of runs on tasks with classes; {folder}, on {config.data}, has none")
    fitting, reasons = [], dict[str, MetaprobeError]()
    for study in studies:
        try:
            options = study.preset("full").of_runs(configs)
            fitting.append((study, options, runs_as(study, options, last)))
        except UnreadableInput:
            raise
        except MetaprobeError as error:
            reasons[study.name] = error
    if len(fitting) > 1:
        told = ", ".join(f"{study.name} ({study.summary})" for study, *_ in fitting)
        raise MetaprobeError(
            f"these runs fit more than one study, which ask and measure different things: {told}; say which with "
            "--study NAME"
        )
    if not fitting:
        told = [f"{name}: {error}" for name, error in reasons.items()]
        raise MetaprobeError("; ".join(["these runs fit no study", *told])) if len(told) > 1 else reasons.popitem()[1]
    return fitting[0]


def _finished(planned: Planned, results: Results, commands: Sequence[str], out: Path) -> Finished:
    study, runs, amounts = planned.study, planned.runs, planned.options.amounts()
    for name, outcome in results.missing():
        sys.stderr.write(f"{outcome.ending}: {name}: {visible(outcome.reason)}\n")
        if outcome.trace:
            path = out.parent / "failures" / f"{name.replace(os.sep, '-').replace(' ', '-')}.txt"
            write_text(path, outcome.trace)
            sys.stderr.write(f"  where it came from: {path}\n")
    if not runs:
        first = next((outcome.reason for _, outcome in results.missing()), "it has no learners")
        raise MetaprobeError(f"no run of the study was trained, so there is nothing to report: {first}")
    for run in runs:
        if read_note(run.folder, _NOTE) != amounts:
            write_note(run.folder, _NOTE, amounts)
    table, made = gathered(runs, results), made_of(planned, results, commands)
    if study.derive:
        table += study.derive(table, made)
    page = page_of(study, Evidence(table, made))
    return Finished(write_report(page, out.parent, out.name), page.judgements, results)
