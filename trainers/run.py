"""A run's folder: config.toml, engine.toml, metrics.jsonl, checkpoints/. No torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w

from metaprobe.trainers.config import TrainConfig, from_mapping, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import TEMPORARY, remove_abandoned, write_text
from metaprobe.trainers.formats.safetensors_header import read_regular
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.strict_toml import read_toml
from metaprobe.trainers.task_kinds import CLASSIFICATION, KINDS, TaskKind

__all__ = ["CHECKPOINT_NAMES", "TASK_ACCURACY", "TASK_LOSS", "RunFolder", "task_metric"]

CHECKPOINT_NAMES = ("start", "third", "two-thirds", "best", "last")
"""Checkpoints of a run: untrained, at 1/3 and 2/3, of the best validation accuracy, and of the latest iteration."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run, and the only place that knows their names."""

    path: Path
    tensorboard: bool = False  # whether metrics are written as events, too, by who trains

    @property
    def config_file(self) -> Path:
        """The run's `TrainConfig` as TOML."""
        return self.path / "config.toml"

    @property
    def engine_file(self) -> Path:
        """How the run computes, chosen before its first iteration; see `trainers.engine`."""
        return self.path / "engine.toml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line: an iteration and the numbers known there."""
        return self.path / "metrics.jsonl"

    @property
    def events_folder(self) -> Path:
        """What TensorBoard reads, where that was asked for; see `trainers.events`."""
        return self.path / "tensorboard"

    @property
    def resume_file(self) -> Path:
        """Weights and optimiser state of the last save, in one file, so that one rename moves both."""
        return self.path / "checkpoints" / "last.resume.safetensors"

    def checkpoint(self, name: str) -> Path:
        """Return the path of the checkpoint with that name, one of `CHECKPOINT_NAMES`."""
        return self.path / "checkpoints" / f"{name}.safetensors"

    def claim(self, config: TrainConfig) -> None:
        """Write the config into a new folder, or check that a folder of an earlier run holds the same.

        Raises:
            MetaprobeError: the folder holds another run, or files that are no run's.
            UnreadableInput: its config is damaged.
        """
        if not self.config_file.exists():
            if self.path.is_dir() and any(not TEMPORARY.fullmatch(file.name) for file in self.path.iterdir()):
                raise MetaprobeError(
                    f"{self.path} has files in it but no config.toml, so it is no run; choose another --out"
                )
            self._write_config(config)
        for folder in (self.path, *filter(Path.is_dir, self.path.iterdir())):
            remove_abandoned(folder.iterdir())
        found = to_mapping(self.read_config())
        wanted = to_mapping(config)
        if "base" in found and "base" in wanted:  # a file may move: what it holds is compared, in `Saver.load`
            wanted["base"] = found["base"]
        differing = [name for name in sorted(found | wanted) if found.get(name) != wanted.get(name)]
        if differing and all(file == self.config_file for file in self.path.iterdir()):
            self._write_config(config)  # the run was refused before it began
        elif differing:
            told = "; ".join(f"{name}: {found.get(name)!r} there, {wanted.get(name)!r} asked" for name in differing)
            raise MetaprobeError(
                f"{self.path} holds a run with another config ({told}); ask for the same to resume it, "
                "or choose another --out"
            )

    def read_config(self) -> TrainConfig:
        """Read the run's config.

        Raises:
            UnreadableInput: it is missing or damaged.
        """
        if not self.config_file.exists():
            raise UnreadableInput(f"{self.path} is no run: {self.config_file} does not exist")
        config = from_mapping(TrainConfig, read_toml(self.config_file), str(self.config_file))
        return config if config.base is None else replace(config, base=os.path.normpath(self.path / config.base))

    def validation_queries(self) -> int | None:
        """Return with how many queries a class the run validates that is in the folder; None where none is.

        Raises:
            UnreadableInput: its config is damaged.
        """
        return self.read_config().val_query if self.config_file.exists() else None

    def _write_config(self, config: TrainConfig) -> None:
        # its base is named from here: a folder of runs may be moved, and looks the same wherever it was made
        base = {} if config.base is None else {"base": os.path.relpath(config.base, self.path)}
        write_text(self.config_file, tomli_w.dumps(to_mapping(config) | base))

    def append_metrics(self, record: Mapping[str, float | list[float]]) -> None:
        """Add one line to metrics.jsonl."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, allow_nan=False) + "\n")

    def keep_metrics(self) -> None:
        """Wait until the lines so far are on the disk: what is saved after them must not outlive them."""
        with self.metrics_file.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, float]]:
        """Read the numbers of metrics.jsonl; a last line without its end, which a killed run may leave, is not a line.

        Raises:
            UnreadableInput: a whole line is not a JSON object with its iteration, the first line's being 1.
        """
        return [numbers for _, numbers, _ in self._lines()]

    def read_records(self) -> list[dict[str, float | list[float]]]:
        """Read the lines of metrics.jsonl whole, as they were appended (errors as `read_metrics`)."""
        return [{**numbers, **tasks} for _, numbers, tasks in self._lines()]

    def read_tasks(self, name: str) -> dict[int, list[float]]:
        """Read a number of each validation task, by iteration; older runs kept means alone, or no losses.

        Args:
            name: `TASK_ACCURACY` (percent), `TASK_LOSS` (nats), or `task_metric` of a kind of tasks.

        Raises:
            UnreadableInput: as `read_metrics`.
        """
        return {int(numbers["iteration"]): tasks[name] for _, numbers, tasks in self._lines() if name in tasks}

    def metrics_digest(self) -> str:
        """Return the SHA-256 of what metrics.jsonl says, but for times and memory, which no two runs share."""
        kept = []
        for _, numbers, tasks in self._lines():
            known = {name: value for name, value in numbers.items() if name not in _TIMES}
            metric = next((values for name, values in tasks.items() if name != TASK_LOSS), [])
            kept.append([known, metric, *tasks.get(TASK_LOSS, [])])  # older runs have no losses
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def rewind_metrics(self, iteration: int) -> list[dict[str, float]]:
        """Drop the lines after an iteration, which a resumed run will write again; return the numbers of those kept."""
        kept = [(line, numbers) for line, numbers, _ in self._lines() if numbers["iteration"] <= iteration]
        write_text(self.metrics_file, "".join(f"{line.decode()}\n" for line, _ in kept))
        return [numbers for _, numbers in kept]

    def _lines(self) -> list[tuple[bytes, dict[str, float], dict[str, list[float]]]]:
        """Return each line, its numbers, and those of single validation tasks by their names."""
        if not self.metrics_file.exists():
            return []
        content = read_regular(self.metrics_file, _MOST_BYTES)
        lines = content[: content.rfind(b"\n") + 1].splitlines()
        found = [(line, *_record(line, f"{self.metrics_file}:{number}")) for number, line in enumerate(lines, 1)]
        for number, (_, numbers, _) in enumerate(found, 1):
            if numbers["iteration"] != number:
                told = f"iteration {numbers['iteration']:g}, expected {number}"
                raise UnreadableInput(f"{self.metrics_file}:{number}: {told}; lines were lost, doubled or moved")
        return found


def task_metric(kind: TaskKind) -> str:
    """Return what metrics.jsonl calls the metric of single validation tasks."""
    return f"val_task_{kind.metric}"


_ALWAYS = ("iteration", "train_loss", "train_{metric}", "seconds")
_VALIDATION = ("val_iteration", "val_loss", "val_{metric}", "val_loss_half_width", "val_{metric}_half_width")
TASK_ACCURACY, TASK_LOSS = task_metric(CLASSIFICATION), "val_task_loss"
"""Of each validation task: tasks are the same in every run, so that runs are compared task by task."""
_OPTIONAL = {"peak_memory_mb"}
_MOST_BYTES = 512 << 20  # a million iterations have half of it
_TIMES = {"seconds", "peak_memory_mb"}


def _record(line: bytes, where: str) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the numbers of one line of metrics.jsonl, and those of single tasks, checked: all there and finite."""
    try:
        record = parse_json(line.decode(), depth=2)
        kind = next((kind for kind in KINDS.values() if f"train_{kind.metric}" in record), CLASSIFICATION)
        validated = "val_iteration" in record
        names = (task_metric(kind), TASK_LOSS)
        tasks = {name: record.pop(name) for name in names if validated and name in record}
        wanted = tuple(name.format(metric=kind.metric) for name in _ALWAYS + (_VALIDATION if validated else ()))
        if set(record) - _OPTIONAL != set(wanted):
            raise ValueError(f"expected the names {', '.join(wanted)}")
        single = ((name, value) for name, values in tasks.items() for value in values)
        for name, value in (*record.items(), *single):
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} is {value!r}, expected a number")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:  # the last of a number of 400 digits
        raise UnreadableInput(f"{where}: not a metrics record: {error}") from error
    return record, {name: list(values) for name, values in tasks.items()}
