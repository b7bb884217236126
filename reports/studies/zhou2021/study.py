"""Zhou et al. 2021, "Task Similarity Aware Meta Learning": claims Z1–Z4 and Z7–Z10 with MAML and TSA-MAML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.request import StudyRequest
from reports.studies.study import Preset, Study
from reports.studies.zhou2021.learners import BASE, LARGE, Learner
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

if TYPE_CHECKING:
    from reports.studies.made import HowMade
    from reports.studies.steps import Results, Step
    from trainers.config import TrainConfig
    from trainers.tasks import ImageSet

__all__ = ["ZHOU2021", "configs_of"]

_PRESETS = {
    "quick": Preset(
        iterations=240,
        seeds=1,
        tasks=100,
        capture_tasks=20,
        val_tasks=24,
        more_iterations=120,
        group_tasks=100,
        cluster_tasks=600,
        sweep=(3, 1, 5),
        large=True,
    ),
    "full": Preset(
        iterations=40_000,
        seeds=1,
        tasks=600,
        capture_tasks=300,
        val_tasks=200,
        more_iterations=40_000,
        group_tasks=1000,
        cluster_tasks=10_000,
        sweep=(3, 1, 2, 5, 8, 11, 15),
        large=True,
    ),
}
_DEFAULTS = {"data": "mixture:glyphs,patterns,shapes", "n_shot": 5, "inner_lr": 0.05, "meta_batch": 4}
_LARGE_BLOCKS, _WIDER = 6, 1.5  # of the larger network
_QUICK_FILTERS = 32  # on the embedded data, which are grey, so that quick is quick


def _declare(request: StudyRequest, amount: Preset, out: Path, imageset: ImageSet) -> tuple[Step, ...]:
    from reports.studies.zhou2021.work import steps_of_seed

    main, domains = _main_of(amount), len(imageset.domain_names)
    _check_domains(imageset, request)
    return tuple(
        step
        for seed in range(amount.seeds)
        for step in steps_of_seed(_runs(request, amount, seed, out, imageset), main, domains, amount)
    )


def _write(request: StudyRequest, amount: Preset, out: Path, imageset: ImageSet, results: Results) -> Path:
    from reports.page import write_report
    from reports.studies.works import Training
    from reports.studies.zhou2021.page import build_page
    from reports.studies.zhou2021.work import gathered

    ended = {work.folder for work in results.works() if isinstance(work, Training)}
    seeds = []
    for seed in range(amount.seeds):
        runs = {key: folder for key, (folder, _) in configs_of(request, amount, seed, out).items()}
        seeds.append({key: folder for key, folder in runs.items() if folder in ended})
    learners = [_learner(key, seed, RunFolder(run)) for seed, runs in enumerate(seeds) for key, run in runs.items()]
    assert request.inner_lr
    made = _how_made([run for runs in seeds for run in runs.values()], imageset, request, amount, results)
    table = gathered(results, seeds, _main_of(amount), imageset)
    return write_report(build_page(table.frame(), made, learners, request.inner_lr), out)


def _runs(
    request: StudyRequest, amount: Preset, seed: int, out: Path, imageset: ImageSet
) -> dict[str, tuple[Path, TrainConfig]]:
    """Return what is trained with a seed, the larger network with its filters."""
    runs = configs_of(_fitting(request), amount, seed, out)
    if LARGE in runs:
        folder, config = runs[LARGE]
        wide = round(_WIDER * _filters(runs[BASE][1], imageset))
        runs[LARGE] = (folder, dataclasses.replace(config, filters=wide))
    return runs


def configs_of(request: StudyRequest, amount: Preset, seed: int, out: Path) -> dict[str, tuple[Path, TrainConfig]]:
    """Return what is trained with a seed, in order: by the learner's key, its folder and its config.

    The larger network's filters follow from the data, and are not in its config yet.
    """
    base = out / f"maml-seed{seed}"
    runs = {BASE: (base, request.run_config(amount, "maml", seed))}
    start = str(RunFolder(base).checkpoint("last"))
    for m in amount.sweep:
        config = request.run_config(
            amount,
            "tsa_maml",
            seed,
            iterations=amount.more_iterations,
            base=start,
            clusters=m,
            cluster_tasks=amount.cluster_tasks,
        )
        runs[f"m{m}"] = (out / f"tsa_maml-m{m}-seed{seed}", config)
    if not amount.large:
        return runs
    both = amount.iterations + amount.more_iterations
    large = request.run_config(amount, "maml", seed, iterations=both, blocks=_LARGE_BLOCKS)
    return runs | {LARGE: (out / f"maml-large-seed{seed}", large)}


def _fitting(request: StudyRequest) -> StudyRequest:
    """Return a request whose meta-batches keep two cores busy, and whose quick networks are small."""
    assert request.meta_batch
    chunk = min(request.chunk, -(-request.meta_batch // 2)) if request.device == "cpu" else request.chunk
    small = request.preset == "quick" and request.data == _DEFAULTS["data"]
    return dataclasses.replace(request, chunk=chunk, filters=request.filters or (_QUICK_FILTERS if small else None))


def _main_of(amount: Preset) -> str:
    """Return the key of the learner that all but the sweep is measured on."""
    if amount.sweep[0] < 2:
        told = ",".join(map(str, amount.sweep))
        raise MetaprobeError(
            f"--sweep {told}: the first number of clusters is what all else is measured on, so it must be at least 2; "
            "m = 1, which is MAML continued, may come after it"
        )
    return f"m{amount.sweep[0]}"


def _check_domains(imageset: ImageSet, request: StudyRequest) -> None:
    if len(imageset.domain_names) < 2:
        raise MetaprobeError(
            f"study zhou2021 is about tasks from several domains; {request.data} is of one. Give --data "
            "mixture:NAME,NAME,… of two or more data sets"
        )


def _filters(config: TrainConfig, imageset: ImageSet) -> int:
    from trainers.beginning import network_config_for

    return network_config_for(config, imageset).filters


def _learner(key: str, seed: int, folder: RunFolder) -> Learner:
    from trainers.checkpoint import load_checkpoint

    last = load_checkpoint(folder.checkpoint("last"))
    size = sum(value.numel() for value in last.params.values())
    if key in (BASE, LARGE):
        return Learner("base" if key == BASE else "large", seed, last.fingerprint[:12], parameters=size)
    return Learner("tsa", seed, last.fingerprint[:12], int(key.removeprefix("m")), size)


def _how_made(
    places: list[Path], imageset: ImageSet, request: StudyRequest, amount: Preset, results: Results
) -> HowMade:
    from reports.studies.making import how_made
    from reports.studies.zhou2021.measurements import BOUND_TASKS, TEST_QUERIES

    folders = {place.name: RunFolder(place) for place in places}
    configs = {label: _shown(folder.read_config()) for label, folder in folders.items()}
    base = configs["maml-seed0"]
    filters = _filters(base, imageset)
    larger = f"{_LARGE_BLOCKS} blocks, {round(_WIDER * filters)} filters (instead of 4 and {filters})"
    return how_made(
        folders,
        configs,
        imageset,
        commands=(request.command("zhou2021"),),
        test_queries=TEST_QUERIES,
        facts=(
            ("domains", ", ".join(imageset.domain_names)),
            ("larger network", larger if amount.large else "left out"),
            ("test tasks", f"{amount.tasks} of each domain, {amount.tasks} of all"),
        ),
        checkpoints={label: ("last",) for label in folders},
        missing=tuple((name, outcome.ending, outcome.reason) for name, outcome in results.missing()),
        notes=(
            f"MAML was trained for {amount.iterations:,} outer steps of {base.meta_batch} tasks; every TSA-MAML, and "
            f"MAML continued (m = 1), for {amount.more_iterations:,} more"
            + ("; the larger network for as many together." if amount.large else "."),
            f"Clusters were found in {amount.cluster_tasks:,} training tasks. Usage and agreement: "
            f"{amount.group_tasks:,} test tasks a domain; embeddings: {amount.capture_tasks:,} a domain; curves: "
            f"{amount.capture_tasks:,} tasks of all domains together; bound: {min(amount.capture_tasks, BOUND_TASKS)}.",
        ),
    )


def _shown(config: TrainConfig) -> TrainConfig:
    """Return a config with its base as it is seen from the study's folder."""
    return dataclasses.replace(config, base=config.base and "/".join(Path(config.base).parts[-3:]))


ZHOU2021 = Study(
    name="zhou2021",
    summary="Do tasks from several domains fall into groups, and does an initialisation for each group help?",
    citation="Zhou, Zou, Yuan, Feng, Xiong, Hoi: Task Similarity Aware Meta Learning, UAI 2021",
    presets=_PRESETS,
    defaults=_DEFAULTS,
    declare=_declare,
    write=_write,
)
