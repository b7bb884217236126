"""The declaration of the study: which learners to train, what to capture, what to measure, and what needs what."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.studies.raghu2020 import measurements as made
from reports.studies.raghu2020.measurements import Plan
from reports.studies.raghu2020.pairs.rows import StoreOf
from reports.studies.runs import HEADLESS, LEARNERS, NEW_HEAD
from reports.studies.steps import Effort, Step
from reports.studies.works import Capture, Measurement, Training
from trainers.config import TrainConfig
from trainers.run import RunFolder

__all__ = ["measuring", "store_of", "training"]

_STAGES = {"third": 1 / 3, "two-thirds": 2 / 3, "last": 1.0}  # of training (claim R3)
_PER_LAYER = 8.0  # seconds of one core for a layer and step of a store: bootstrap and null


def training(runs: Mapping[Path, TrainConfig]) -> tuple[Step, ...]:
    """Return the steps that train the runs; a head needs its body."""
    names = {RunFolder(run).checkpoint("last"): _train(run) for run in runs}
    return tuple(
        Step(_train(run), Training(run, config), (names[Path(config.base)],) if config.base else ())
        for run, config in runs.items()
    )


def measuring(runs: Mapping[Path, TrainConfig], plan: Plan, trained: bool = False) -> tuple[Step, ...]:
    """Return the steps that measure the runs.

    Args:
        runs: their configs by their folders.
        plan: how much.
        trained: whether the runs have ended, so that no step trains them.
    """
    steps: list[Step] = []
    for run, config in runs.items():
        needs = () if trained else (_train(run),)
        steps += _of_run(run, config, plan, needs)
    return (*steps, *_over_seeds(runs, plan), *_between(runs, plan), *_timing(runs, plan, trained))


def store_of(run: Path, stage: str = "last") -> Path:
    """Return where the store of a run's checkpoint lies."""
    return run / "captures" / f"{stage}.h5"


def _train(run: Path) -> str:
    return f"train {run.name}"


def _of_run(run: Path, config: TrainConfig, plan: Plan, needs: tuple[str, ...]) -> Iterable[Step]:
    folder, algorithm = RunFolder(run), config.algorithm
    last = folder.checkpoint("last")
    make = functools.partial(made.accuracies, last, plan)
    yield _measure("accuracy", run, (last,), make, plan, needs, algorithm, 3 * plan.tasks)
    stages = _stages(config) if algorithm in ("maml", "fomaml") else ("last",)
    if algorithm not in HEADLESS:
        for stage in stages:
            path = folder.checkpoint(stage)
            make = functools.partial(made.freezing, path, plan, stage == "last")
            tests = _tests(config, plan, stage == "last")
            yield _measure(f"freezing-{stage}", run, (path,), make, plan, needs, algorithm, tests)
    if algorithm in LEARNERS:
        paths = tuple(folder.checkpoint(stage) for stage in ("start", *_stages(config)))
        make = functools.partial(made.distances, paths, plan)
        yield _measure("distance", run, paths, make, plan, needs, algorithm, len(paths) * plan.capture_tasks)
    if algorithm != NEW_HEAD:
        yield from (_capture(run, config, stage, plan, needs) for stage in stages)


def _tests(config: TrainConfig, plan: Plan, last: bool) -> int:
    """Return how many tasks a freezing ablation adapts to, in units of the trained number of steps."""
    full = config.algorithm in ("maml", "fomaml")
    more = sum(plan.head_steps) / config.inner_steps if last else 0.0
    learners = 2 if last and config.algorithm == "maml" else 1
    return math.ceil((plan.tasks if full else plan.capture_tasks) * learners * (4 + more))


def _capture(run: Path, config: TrainConfig, stage: str, plan: Plan, needs: tuple[str, ...]) -> Step:
    checkpoint = RunFolder(run).checkpoint(stage)
    every = stage == "last" and config.algorithm in LEARNERS
    work = Capture(
        checkpoint,
        store_of(run, stage),
        config.algorithm,
        plan.capture_tasks,
        "all" if every else "last",
        made.TEST_QUERIES,
        plan.seed,
        config.device,
    )
    return Step(_captured(run, stage), work, needs)


def _captured(run: Path, stage: str) -> str:
    return f"capture {run.name} at {stage}"


def _over_seeds(runs: Mapping[Path, TrainConfig], plan: Plan) -> Iterable[Step]:
    """Before against after adaptation, for each learner and stage, all seeds together."""
    for algorithm in LEARNERS:
        mine = sorted((config.seed, run) for run, config in runs.items() if config.algorithm == algorithm)
        if not mine:
            continue
        folders = [run for _, run in mine]
        config = runs[folders[0]]
        for stage in _stages(config) if algorithm != "anil" else ("last",):
            stores = tuple(store_of(run, stage) for run in folders)
            steps = config.inner_steps if stage == "last" else 1
            seeds = "-".join(str(seed) for seed, _ in mine)
            make = functools.partial(made.similarities, stores, plan)
            needs = tuple(_captured(run, stage) for run in folders)
            seconds = _PER_LAYER * 5 * steps * len(stores)
            yield _measure(f"similarity-{stage}-of-{seeds}", folders[0], stores, make, plan, needs, seconds=seconds)


def _between(runs: Mapping[Path, TrainConfig], plan: Plan) -> Iterable[Step]:
    """Learners and seeds against one another."""
    order = ("maml", "anil", *HEADLESS)
    of = [StoreOf(store_of(run), c.algorithm, c.seed) for run, c in runs.items() if c.algorithm in order]
    of.sort(key=lambda store: (order.index(store.algorithm), store.seed))
    if len(of) > 1:
        needs = tuple(_captured(store.path.parent.parent, "last") for store in of)
        stores = tuple(store.path for store in of)
        make = functools.partial(made.pairs, tuple(of), plan)
        home = stores[0].parent.parent
        which = hashlib.sha256("+".join(f"{s.algorithm}{s.seed}" for s in of).encode()).hexdigest()[:6]
        name = f"pairs-{which}"  # a report of some of the runs keeps its own beside that of all
        yield _measure(name, home, stores, make, plan, needs, seconds=_PER_LAYER * len(of) ** 2)


def _timing(runs: Mapping[Path, TrainConfig], plan: Plan, trained: bool) -> Iterable[Step]:
    home = next((run for run, config in runs.items() if config.algorithm == "maml"), None)
    if home is None:
        return
    last = RunFolder(home).checkpoint("last")
    make = functools.partial(made.timing, runs[home], plan.rounds)
    step = _measure("timing", home, (last,), make, plan, () if trained else (_train(home),), seconds=2.0 * plan.rounds)
    yield dataclasses.replace(step, alone=True)


def _measure(
    name: str,
    run: Path,
    inputs: Sequence[Path],
    make: Any,
    plan: Plan,
    needs: tuple[str, ...],
    algorithm: str = "",
    tasks: int = 0,
    seconds: float = 0.0,
) -> Step:
    label = f"{name.replace('-', ' at ', 1)} of {run.name}"
    choices = {"plan": dataclasses.asdict(plan), "test_queries": made.TEST_QUERIES}
    work = Effort({("test", algorithm): tasks} if tasks else {}, seconds)
    return Step(label, Measurement(label, run, name, tuple(inputs), make, choices, tasks, work), needs)


def _stages(config: TrainConfig) -> tuple[str, ...]:
    """Return the stages with one an iteration, the later: a very short run has fewer iterations than stages."""
    at = {math.ceil(share * config.iterations): name for name, share in _STAGES.items()}
    return tuple(at[iteration] for iteration in sorted(at))
