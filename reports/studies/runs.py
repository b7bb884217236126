"""Which training runs can stand in one report, and what they are called there. No torch until one is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.studies.request import train_command
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

__all__ = ["HEADLESS", "LEARNERS", "NEW_HEAD", "bodies_of", "check_runs", "run_labels"]

LEARNERS = ("maml", "fomaml", "anil")
"""Algorithms that train a body together with a head that adapts to a task."""

HEADLESS = ("nil", "multiclass", "multitask", "random")
"""Algorithms that leave a body without such a head."""

NEW_HEAD = "maml_head"
"""The algorithm that trains a head for such a body."""

_AGREEING = ("data", "n_way", "n_shot", "inner_steps", "inner_lr", "norm", "filters", "downsample", "iterations")
_AGREEING += ("image_size", "adapt_norm", "colour", "blocks")


def check_runs(runs: Sequence[Path]) -> None:
    """Refuse runs whose numbers would not belong into one report.

    Args:
        runs: folders of runs.

    Raises:
        MetaprobeError: a run is given twice or unfinished, is of an algorithm that no claim is about, two are of one
            algorithm and seed, their settings differ, or a new head comes without the run of its body.
        UnreadableInput: a folder is no run, or its files are damaged.
    """
    seen: dict[object, Path] = {}
    for run in runs:
        config = RunFolder(run).read_config()
        if config.algorithm not in (known := (*LEARNERS, *HEADLESS, NEW_HEAD)):
            told = f"a report is of runs of {', '.join(known)}; {run} was trained by {config.algorithm}"
            raise MetaprobeError(f"{told}: leave it out")
        if (place := run.resolve()) in seen:
            raise MetaprobeError(f"{run} is given twice; name each run once")
        if config.algorithm == NEW_HEAD:  # a seed has one for each body
            seen[place] = run
            continue
        if other := seen.get((config.algorithm, config.seed)):
            told = f"{other} and {run} are both {config.algorithm} with seed {config.seed}"
            raise MetaprobeError(f"{told}; leave one out, or train one with another --seed")
        seen |= {place: run, (config.algorithm, config.seed): run}
    for name in _AGREEING:
        _check_agreement(name, runs)
    for run in runs:
        _check_finished(run)
    bodies_of(runs)


def bodies_of(runs: Sequence[Path]) -> dict[Path, Path]:
    """Return for each run of a new head the run that left the body it was trained on, by its last checkpoint.

    Raises:
        MetaprobeError: that run is not among them or trained a head itself, or two heads are on one body.
    """
    from trainers.checkpoint import load_checkpoint

    last = {run: load_checkpoint(RunFolder(run).checkpoint("last")) for run in runs}
    ends = {found.fingerprint: run for run, found in last.items() if found.config.algorithm in HEADLESS}
    bodies: dict[Path, Path] = {}
    for run, found in last.items():
        if found.config.algorithm != NEW_HEAD:
            continue
        base = str(found.provenance.get("base"))
        if base not in ends:
            raise MetaprobeError(
                f"{run} is a head on the body of checkpoint {base[:12]} ({found.config.base}), which is the last of no "
                f"run given here that trains a body alone ({', '.join(HEADLESS)}); give that run too, or leave {run} "
                "out"
            )
        if other := next((head for head, body in bodies.items() if body == ends[base]), None):
            raise MetaprobeError(f"{other} and {run} are both heads on the body of {ends[base]}; leave one out")
        bodies[run] = ends[base]
    return bodies


def run_labels(runs: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of run folders, none twice and none absolute; those that share one get their parents' too."""
    places = [run.resolve() for run in runs]
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(set(places)):
        depth += 1
    return tuple("/".join(place.parts[-depth:]) for place in places)


def _check_agreement(name: str, runs: Sequence[Path]) -> None:
    configs = {run: RunFolder(run).read_config() for run in runs}
    groups: tuple[Sequence[str], ...] = ((*LEARNERS, *HEADLESS, NEW_HEAD),)
    if name == "iterations":  # a head may take fewer than its body; of a network that is never trained they say nothing
        groups = ((*LEARNERS, *(body for body in HEADLESS if body != "random")), (NEW_HEAD,))
    for group in groups:
        values = {run: getattr(config, name) for run, config in configs.items() if config.algorithm in group}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{value} in {run}" for run, value in values.items())
            raise MetaprobeError(f"runs of one report must agree in {name}; got {told}")


def _check_finished(run: Path) -> None:
    from trainers.checkpoint import load_checkpoint

    folder = RunFolder(run)
    config, last = folder.read_config(), folder.checkpoint("last")
    reached = load_checkpoint(last).iteration if last.exists() else 0
    if reached < config.iterations:
        command = train_command(config, str(run))
        raise MetaprobeError(
            f"{run} is unfinished, at iteration {reached} of {config.iterations}; `{command}` goes on with it"
        )
