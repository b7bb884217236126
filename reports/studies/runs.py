"""Which training runs can stand in one report, and what they are called there. No torch until one is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reports.studies.study import train_command
from trainers.errors import MetaprobeError
from trainers.run import RunFolder

__all__ = ["check_runs", "run_labels"]

_AGREEING = ("data", "n_way", "n_shot", "inner_steps", "inner_lr", "norm", "filters", "downsample", "iterations")
_AGREEING += ("image_size", "adapt_norm")


def check_runs(runs: Sequence[Path]) -> None:
    """Refuse runs whose numbers would not belong into one report.

    Args:
        runs: folders of runs.

    Raises:
        MetaprobeError: a run is given twice or unfinished, two are of one algorithm and seed, or their settings differ.
        UnreadableInput: a folder is no run, or its files are damaged.
    """
    seen: dict[object, Path] = {}
    for run in runs:
        config = RunFolder(run).read_config()
        if (place := run.resolve()) in seen:
            raise MetaprobeError(f"{run} is given twice; name each run once")
        if other := seen.get((config.algorithm, config.seed)):
            told = f"{other} and {run} are both {config.algorithm} with seed {config.seed}"
            raise MetaprobeError(f"{told}; leave one out, or train one with another --seed")
        seen |= {place: run, (config.algorithm, config.seed): run}
    configs = [RunFolder(run).read_config() for run in runs]
    for name in _AGREEING:
        values = [getattr(config, name) for config in configs]
        if len(set(values)) > 1:
            told = ", ".join(f"{value} in {run}" for run, value in zip(runs, values, strict=True))
            raise MetaprobeError(f"runs of one report must agree in {name}; got {told}")
    for run in runs:
        _check_finished(run)


def run_labels(runs: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of run folders, none twice and none absolute; those that share one get their parents' too."""
    places = [run.resolve() for run in runs]
    depth = 1
    while len({place.parts[-depth:] for place in places}) < len(set(places)):
        depth += 1
    return tuple("/".join(place.parts[-depth:]) for place in places)


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
