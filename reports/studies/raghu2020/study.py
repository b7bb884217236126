"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": claims R1, R2, R3, R4, R5 and R9 with MAML and ANIL."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.runs import check_runs, run_labels
from reports.studies.study import PRESETS, Study, StudyRequest, train_command
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

if TYPE_CHECKING:
    from analyses.table import Table
    from reports.studies.measurements import Plan
    from reports.studies.raghu2020.page import HowMade
    from trainers.tasks import ImageSet

__all__ = ["RAGHU2020"]

_ALGORITHMS = ("maml", "anil")


def _run(request: StudyRequest, out: Path, data_root: Path | None, download: bool) -> Path:
    from reports.studies.measurements import Plan
    from trainers.device import device_named
    from trainers.outer_loop import train
    from trainers.tasks import load_imageset

    device_named(request.device)  # what cannot work is told before data are read
    imageset = load_imageset(request.data, data_root, request.image_size, download=download)
    amount = request.amount()
    runs = [
        (out / f"{algorithm}-seed{seed}", request.run_config(algorithm, seed))
        for seed in range(amount.seeds)
        for algorithm in _ALGORITHMS
    ]
    for folder, config in runs:
        train(config, imageset, folder)
    plan = Plan(tasks=amount.tasks, capture_tasks=amount.capture_tasks)
    commands = (request.command("raghu2020"),)
    return _write([folder for folder, _ in runs], imageset, plan, out / "report.html", commands)


def _report(
    runs: list[Path], out: Path, data_root: Path | None, tasks: int | None = None, capture_tasks: int | None = None
) -> Path:
    from reports.studies.measurements import Plan, measured_plan
    from trainers.tasks import load_imageset

    if not runs:
        raise MetaprobeError("a report needs at least one run; `metaprobe train maml --data glyphs` makes one")
    for flag, count in (("--tasks", tasks), ("--capture-tasks", capture_tasks)):
        if count is not None and count < 1:
            raise MetaprobeError(f"{flag} must be at least 1; got {count}")
    configs = [RunFolder(run).read_config() for run in runs]
    check_runs(runs)
    imageset = load_imageset(configs[0].data, data_root, configs[0].image_size)
    plans = {measured_plan(RunFolder(run)) for run in runs}
    amount = (plans.pop() if len(plans) == 1 else None) or PRESETS["full"]
    plan = Plan(
        tasks=amount.tasks if tasks is None else tasks,
        capture_tasks=amount.capture_tasks if capture_tasks is None else capture_tasks,
    )
    labels = run_labels(runs)
    trainings = [train_command(config, label) for config, label in zip(configs, labels, strict=True)]
    command = ["metaprobe", "report", *labels, "--out", out.name]
    if plan.tasks != PRESETS["full"].tasks:
        command += ["--tasks", str(plan.tasks)]
    if plan.capture_tasks != PRESETS["full"].capture_tasks:
        command += ["--capture-tasks", str(plan.capture_tasks)]
    return _write(runs, imageset, plan, out, (*trainings, shlex.join(command)))


def _write(runs: Sequence[Path], imageset: ImageSet, plan: Plan, out: Path, commands: tuple[str, ...]) -> Path:
    from analyses.table import Table
    from reports.page import write_report
    from reports.studies.measurements import measure_run
    from reports.studies.raghu2020.page import build_page

    table = sum((measure_run(RunFolder(run), imageset, plan) for run in runs), Table())
    page = build_page(table.frame(), _how_made(runs, imageset, table, commands))
    return write_report(page, out.parent, out.name)


def _how_made(runs: Sequence[Path], imageset: ImageSet, table: Table, commands: tuple[str, ...]) -> HowMade:
    from reports.studies.measurements import TEST_QUERIES
    from reports.studies.raghu2020.page import HowMade
    from trainers.checkpoint import load_checkpoint
    from trainers.config import to_mapping
    from trainers.run import CHECKPOINT_NAMES

    folders = dict(zip(run_labels(runs), map(RunFolder, runs), strict=True))
    first = next(iter(folders.values()))
    config = first.read_config()
    last = load_checkpoint(first.checkpoint("last"))
    classes = ", ".join(f"{len(imageset.classes_of(split))} {split}" for split in ("train", "val", "test"))
    tested = max((row.n or 0 for row in table.rows if row.measure == "accuracy"), default=0)
    return HowMade(
        data=imageset.name,
        data_facts=(
            ("images", f"{len(imageset):,} of {imageset.image_size} × {imageset.image_size}"),
            ("classes", classes),
            ("network", f"conv4, {last.network_config.filters} filters, {last.network_config.downsample}"),
            ("normalisation", config.norm),
            ("test tasks", f"{tested}"),
            ("data fingerprint", imageset.fingerprint[:12]),
        ),
        n_way=config.n_way,
        n_shot=config.n_shot,
        n_query=config.n_query,
        test_queries=TEST_QUERIES,
        trained_steps=config.inner_steps,
        commands=commands,
        configs=tuple(
            (label, key, str(value))
            for label, folder in folders.items()
            for key, value in to_mapping(folder.read_config()).items()
        ),
        checkpoints=tuple(
            (f"{label}/{name}", load_checkpoint(folder.checkpoint(name)).fingerprint)
            for label, folder in folders.items()
            for name in CHECKPOINT_NAMES
        ),
        versions=tuple((name, str(last.provenance[name])) for name in ("metaprobe", "python", "torch", "numpy")),
        notes=(
            f"Trained on {last.provenance['device']}.",
            *_where_the_data_lie(config.data),
        ),
    )


def _where_the_data_lie(data: str) -> tuple[str, ...]:
    if data == "glyphs":  # made from fonts that come along
        return ()
    if data.startswith("class_folder:"):
        return ("The path after class_folder: is seen from the folder in which the command is given.",)
    return ("Add --data-root FOLDER, wherever the data lie, or set METAPROBE_DATA; --download fetches missing data.",)


RAGHU2020 = Study(
    name="raghu2020",
    summary="Does MAML relearn its features for each task, or reuse them? Freezing, similarity and distance by layer.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020",
    run=_run,
    report=_report,
)
