"""Which learners of a study training runs are, for a report of one's own runs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from metaprobe.probe.importing.runs import is_imported
from metaprobe.reports.study.plan import Run
from metaprobe.reports.study.study import Learner, Options, Study
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.command import train_command
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.run import RunFolder

__all__ = ["finished_runs", "run_labels", "runs_as"]

_AGREEING = ("data", "n_way", "n_shot", "inner_steps", "inner_lr", "norm", "filters", "downsample", "iterations")
_AGREEING += ("image_size", "adapt_norm", "colour", "blocks", "like", "norm_affine", "norm_epsilon", "head_start")
_AGREEING += ("head_input", "update_rule", "step_statistics")
# say how much and how fast, not which learner a run is
_AMOUNTS = ("iterations", "val_every", "val_tasks", "cluster_tasks", "schedule")


def finished_runs(folders: Sequence[Path]) -> dict[Path, Checkpoint]:
    """Return the last checkpoint of each run; one that is given twice or is unfinished is refused."""
    places, found = [os.path.realpath(folder) for folder in folders], {}
    for folder, place in zip(folders, places, strict=True):
        config, last = RunFolder(folder).read_config(), RunFolder(folder).checkpoint("last")
        if places.count(place) > 1:
            raise MetaprobeError(f"{folder} is given twice; name each run once")
        reached = load_checkpoint(last).iteration if last.exists() else 0
        if reached < config.iterations:
            told = f"{folder} is unfinished, at iteration {reached} of {config.iterations}"
            raise MetaprobeError(f"{told}; `{train_command(config, str(folder))}` goes on with it")
        found[folder] = load_checkpoint(last)
    return found


def run_labels(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of run folders, none twice and none absolute; those that share one get their parents' too."""
    places = [Path(os.path.realpath(folder)) for folder in folders]
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(set(places)):
        depth += 1
    return tuple("/".join(place.parts[-depth:]) for place in places)


def runs_as(study: Study, options: Options, last: Mapping[Path, Checkpoint]) -> tuple[Run, ...]:
    """Return runs, given by their last checkpoints, as those of a study, in the order of its learners.

    Raises:
        MetaprobeError: a run is of no learner of the study, two are of one with one seed, their settings differ, or the
            run that one begins with is not among them.
    """
    learners = study.learners(options)
    labels = dict(zip(last, run_labels(list(last)), strict=True))
    ends = {found.fingerprint: folder for folder, found in last.items()}
    runs: dict[tuple[str, int], Run] = {}
    for folder in sorted(last, key=lambda folder: last[folder].config.base is not None):  # bodies before their heads
        config = last[folder].config
        if not (fitting := _fitting(learners, last[folder], options)):
            told = f"a report is of runs of {', '.join(dict.fromkeys(learner.algorithm for learner in learners))}"
            raise MetaprobeError(f"{told}; {folder} was trained by {_told(config)}: leave it out")
        learner, seed, base = fitting[0], config.seed, ""
        if learner.base:
            body = _base_of(folder, last[folder], fitting, ends, tuple(runs.values()))
            learner, base = next(one for one in fitting if one.base == body.learner.key), body.label
            seed = body.seed if learner.head_of else seed
        if other := runs.get((learner.key, seed)):
            told = f"both {_told(config)} with seed {seed}; leave one out, or train one with another --seed"
            told = f"both heads on the body of {other.base}; leave one out" if learner.head_of else told
            raise MetaprobeError(f"{other.folder} and {folder} are {told}")
        imported = is_imported(last[folder])
        runs[learner.key, seed] = Run(learner, seed, folder, config, labels[folder], base, imported)
    for name in _AGREEING:
        _check_agreement(name, tuple(runs.values()), last)
    order = [learner.key for learner in learners]
    return tuple(sorted(runs.values(), key=lambda run: (order.index(run.learner.key), run.seed)))


def _fitting(learners: Sequence[Learner], last: Checkpoint, options: Options) -> list[Learner]:
    # the learners that a run may be, by algorithm and by the settings that one of those has as its own, told or not
    config = last.config
    found = [learner for learner in learners if learner.algorithm == config.algorithm]
    own = [(n, v) for learner in found for n, v in learner.settings.items() if n not in _AMOUNTS and not callable(v)]
    usual = options.config(config.algorithm, config.seed)
    for name in dict(own):
        values = (getattr(config, name), _setting(last, name))
        found = [one for one in found if one.settings.get(name, getattr(usual, name)) in values]
    return found


def _setting(last: Checkpoint, name: str) -> object:
    """Return a setting of a run as it is; one that was not told is as its network has it."""
    value = getattr(last.config, name)
    return getattr(last.network_config, name, None) if value is None else value


def _base_of(
    folder: Path, last: Checkpoint, fitting: Sequence[Learner], ends: Mapping[str, Path], runs: Sequence[Run]
) -> Run:
    base, bodies = str(last.provenance.get("base")), [learner.base for learner in fitting]
    for run in runs:
        if run.folder == ends.get(base) and run.learner.key in bodies:
            return run
    what = "is a head on the body of" if fitting[0].head_of else "begins with"
    kind = f"that trains a body alone ({', '.join(bodies)})" if fitting[0].head_of else f"of {', '.join(bodies)}"
    raise MetaprobeError(
        f"{folder} {what} checkpoint {base[:12]} ({last.config.base}), which is the last of no run given here {kind}; "
        f"give that run too, or leave {folder} out"
    )


def _told(config: TrainConfig) -> str:
    return config.algorithm + (f" with {config.clusters} clusters" if config.clusters else "")


def _check_agreement(name: str, runs: Sequence[Run], last: Mapping[Path, Checkpoint]) -> None:
    """Refuse runs that differ in a setting; where it is a learner's own, those of its algorithm must agree."""
    values: dict[str, dict[Path, object]] = defaultdict(dict)
    for run in runs:
        owner = run.config.algorithm if name in run.learner.settings else ""
        values[owner][run.folder] = _setting(last[run.folder], name)
    for found in values.values():
        if len(set(found.values())) > 1:
            told = ", ".join(f"{value} in {folder}" for folder, value in found.items())
            raise MetaprobeError(f"runs of one report must agree in {name}; got {told}")
