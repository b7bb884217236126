"""Raghu et al. 2020, "Rapid Learning or Feature Reuse?": claims R1, R2, R3, R4, R5 and R9 with MAML and ANIL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.study import PRESETS, Study, StudyRequest
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
    from trainers.outer_loop import train
    from trainers.tasks import load_imageset

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
    command = request.command("raghu2020")
    return _write([folder for folder, _ in runs], imageset, plan, out / "report.html", command)


def _report(runs: list[Path], out: Path, data_root: Path | None) -> Path:
    from reports.studies.measurements import Plan
    from trainers.tasks import load_imageset

    configs = [RunFolder(run).read_config() for run in runs]
    if not configs:
        raise MetaprobeError("a report needs at least one run; `metaprobe train maml --data glyphs` makes one")
    for name in ("data", "n_way", "n_shot", "inner_steps"):
        if len(values := {getattr(config, name) for config in configs}) > 1:
            told = ", ".join(str(value) for value in sorted(values))
            raise MetaprobeError(f"runs of one report must agree in {name}; got {told}")
    imageset = load_imageset(configs[0].data, data_root, configs[0].image_size)
    amount = PRESETS["full"]
    plan = Plan(tasks=amount.tasks, capture_tasks=amount.capture_tasks)
    return _write(runs, imageset, plan, out, "metaprobe report RUN…")


def _write(runs: Sequence[Path], imageset: ImageSet, plan: Plan, out: Path, command: str) -> Path:
    from analyses.table import Table
    from reports.page import write_report
    from reports.studies.measurements import measure_run
    from reports.studies.raghu2020.page import build_page

    table = sum((measure_run(RunFolder(run), imageset, plan) for run in runs), Table())
    page = build_page(table.frame(), _how_made(runs, imageset, table, command))
    return write_report(page, out.parent, out.name)


def _how_made(runs: Sequence[Path], imageset: ImageSet, table: Table, command: str) -> HowMade:
    from reports.studies.raghu2020.page import HowMade
    from trainers.checkpoint import load_checkpoint
    from trainers.config import to_mapping
    from trainers.run import CHECKPOINT_NAMES

    folders = [RunFolder(run) for run in runs]
    config = folders[0].read_config()
    last = load_checkpoint(folders[0].checkpoint("last"))
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
        trained_steps=config.inner_steps,
        commands=(command,),
        configs=tuple(
            (folder.path.name, key, str(value))
            for folder in folders
            for key, value in to_mapping(folder.read_config()).items()
        ),
        checkpoints=tuple(
            (f"{folder.path.name}/{name}", load_checkpoint(folder.checkpoint(name)).fingerprint)
            for folder in folders
            for name in CHECKPOINT_NAMES
        ),
        versions=tuple((name, str(last.provenance[name])) for name in ("metaprobe", "python", "torch", "numpy")),
        notes=(f"Trained and measured on {last.provenance['device']} with {last.provenance['threads']} thread(s).",),
    )


RAGHU2020 = Study(
    name="raghu2020",
    summary="Does MAML relearn its features for each task, or reuse them? Freezing, similarity and distance by layer.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020",
    run=_run,
    report=_report,
)
