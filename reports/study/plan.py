"""From a study and its options to its runs, and to the steps that train, capture and measure them."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaprobe.analyses.measurements import KINDS, Input, Kind
from metaprobe.reports.study.cache import Measuring, Training
from metaprobe.reports.study.engine import Step
from metaprobe.reports.study.study import Learner, Measurement, Options, Study
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import entry_named
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Planned", "Run", "runs_of", "steps_of"]

_SHARES = {"start": 0.0, "third": 1 / 3, "two-thirds": 2 / 3, "last": 1.0}  # checkpoints, by how far training is


@dataclass(frozen=True)
class Run:
    """A run of a study."""

    learner: Learner  # what is trained
    seed: int  # of the run; of a head, that of its body
    folder: Path  # where
    config: TrainConfig  # how
    label: str  # what it is called in the names of steps, and on the page
    base: str = ""  # label of the run that it begins with; "" for none
    imported: bool = False  # whether it was trained elsewhere: nothing of its training can be measured

    def checkpoint(self, name: str = "last") -> Path:
        """Return where a checkpoint lies."""
        return RunFolder(self.folder).checkpoint(name)

    def names(self, at: Iterable[str]) -> tuple[str, ...]:
        """Return names of checkpoints without those of an iteration that a later name has, as in a very short run."""
        iterations = {name: math.ceil(share * self.config.iterations) for name, share in _SHARES.items()}
        latest = {iteration: name for name, iteration in iterations.items()}
        return tuple(name for name in at if name not in iterations or latest[iterations[name]] == name)


_Taken = Sequence[tuple[Run, str]]  # checkpoints that a step reads, or whose stores: the run of each and its name


@dataclass(frozen=True)
class Planned:
    """A study made ready for its data: its runs, and the steps that train and measure them."""

    study: Study
    options: Options
    images: ImageSet
    runs: tuple[Run, ...]
    steps: tuple[Step, ...]
    out: Path
    data_root: Path | None = None  # folder of the data sets, as it was given


def runs_of(study: Study, options: Options, out: Path, images: ImageSet) -> tuple[Run, ...]:
    """Return what a study trains, in the folder `out`: seed by seed, its learners in their order."""
    runs: dict[tuple[str, int], Run] = {}
    for seed in range(options.seeds):
        for learner in (one for one in study.learners(options) if not one.extra):
            label = f"{learner.folder or learner.algorithm}-seed{seed}"
            if learner.base and (learner.base, seed) not in runs:
                raise ValueError(f"learner {learner.key!r} begins with {learner.base!r}, which must be before it")
            base = runs[learner.base, seed] if learner.base else None
            fixed = {name: value for name, value in learner.settings.items() if not callable(value)}
            config = options.config(learner.algorithm, seed, base=base and str(base.checkpoint()), **fixed)
            made = {name: value(config, images) for name, value in learner.settings.items() if callable(value)}
            config = dataclasses.replace(config, **made)
            runs[learner.key, seed] = Run(learner, seed, out / label, config, label, base.label if base else "")
    return tuple(runs.values())


def steps_of(study: Study, options: Options, runs: Sequence[Run], trained: bool = False) -> tuple[Step, ...]:
    """Return the steps that train runs of a study, unless they are `trained`, and those that measure them."""
    steps = [
        Step(f"train {run.label}", Training(run.folder, run.config), (f"train {run.base}",) if run.base else ())
        for run in (() if trained else runs)
    ]
    for measurement in study.measurements(options):
        kind = entry_named("kind of measurement", measurement.kind, KINDS)
        for taken in _taken(measurement, kind, runs):
            if kind.stores:
                needs = tuple(_name("capture", KINDS["capture"], [one]) for one in taken)
            else:
                needs = () if trained else tuple(f"train {run.label}" for run, _ in taken)
            name = _name(measurement.kind, kind, taken)
            steps.append(Step(name, _work(name, measurement, kind, taken), needs, kind.alone))
    return tuple(steps)


def _taken(measurement: Measurement, kind: Kind, runs: Sequence[Run]) -> Iterator[_Taken]:
    mine = [run for key in measurement.on for run in runs if run.learner.key == key]
    mine = [run for run in mine if not (kind.training and run.imported)]
    if kind.per == "study":
        if len(mine) > 1:
            yield [(run, measurement.at[0]) for run in mine]
    elif kind.per == "seeds":
        for key in dict.fromkeys(run.learner.key for run in mine):
            own = [run for run in mine if run.learner.key == key]
            yield from ([(run, at) for run in own] for at in own[0].names(measurement.at))
    else:
        for run in mine if kind.per == "checkpoint" else mine[:1]:
            also = [(one, "last") for one in runs if (one.learner.key, one.seed) == (kind.common, run.seed)]
            if also or not kind.common:
                yield from ([(run, at), *also] for at in run.names(measurement.at))


def _name(what: str, kind: Kind, taken: _Taken) -> str:
    """Return what a step is called: "freezing of maml-seed0 at third"."""
    run, at = taken[0]
    keys = ", ".join(dict.fromkeys(run.learner.key for run, _ in taken))
    where = run.label if kind.per in ("checkpoint", "first") else keys
    return f"{what} of {where}" + (f" at {at}" if at != "last" else "")


def _work(label: str, measurement: Measurement, kind: Kind, taken: _Taken) -> Measuring:
    run, at = taken[0]
    inputs = tuple(Input(run.checkpoint(at), run.learner.key, run.seed, run.config.algorithm) for run, at in taken)
    name = measurement.kind + (f"-{at}" if at != "last" or measurement.kind == "capture" else "")
    if kind.per == "seeds":
        name += "-of-" + "-".join(str(one.seed) for one in inputs)
    if kind.per == "study":  # a report of some of the runs keeps its own beside that of all
        which = "+".join(f"{one.learner}{one.seed}" for one in inputs)
        name += f"-{hashlib.sha256(which.encode()).hexdigest()[:6]}"
    return Measuring(label, run.folder, name, measurement, inputs)
