"""What the steps of studies do: train a run, or measure a table, which is kept until one of its inputs changes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from metaprobe.analyses.measurements import KINDS, TEST_QUERIES, Input, Kind, Subject
from metaprobe.analyses.table import COLUMNS, Table
from metaprobe.reports.study.engine import LostEvidence
from metaprobe.reports.study.study import Measurement
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.files import sha256_of, write_text
from metaprobe.trainers.plugins import homes_of_plugins
from metaprobe.trainers.progress import ProgressLine, telling
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Measuring", "Training", "read_note", "write_note"]

_NOTE_LIMIT = 16 << 20  # bytes


@dataclass(frozen=True)
class Training:
    """Train a run to its end, from where an earlier call left it."""

    folder: Path  # the run's
    config: TrainConfig  # of the run

    def refuse_another(self) -> None:
        """Check that the folder holds no other run, nor files that are no run's, before anything is done."""
        if self.folder.is_dir() and any(self.folder.iterdir()):
            RunFolder(self.folder).claim(self.config)

    def is_done(self, data: ImageSet) -> bool:
        """Return whether the last checkpoint is of the last iteration, trained on these data and from this base."""
        self.refuse_another()
        last = RunFolder(self.folder).checkpoint("last")
        if not last.is_file():
            return False
        try:
            found = load_checkpoint(last)
        except UnreadableInput:
            if RunFolder(self.folder).resume_file.is_file():
                return False  # training writes it anew
            raise
        same = found.provenance.get("data_fingerprint") == data.fingerprint
        if self.config.base is not None:  # where it was trained anew, training says what to do
            same = same and found.provenance.get("base") == load_checkpoint(self.config.base).fingerprint
        return same and found.iteration >= self.config.iterations

    def do(self, data: ImageSet) -> None:
        """Train."""
        from metaprobe.trainers.outer_loop import train

        with telling(f"train {self.folder.name}"):
            train(self.config, data, self.folder)


@dataclass(frozen=True)
class Measuring:
    """Measure a table in a folder's `measured/`, or capture a store; a note beside it says what it was made from."""

    label: str  # what is measured on what, for the line of progress
    folder: Path  # of a run
    name: str  # of the table
    measurement: Measurement  # of which kind, on how many tasks, with which options
    inputs: tuple[Input, ...]  # the checkpoints that it is made from, directly or by their stores

    @property
    def file(self) -> Path:
        """Where the result lies."""
        return self.inputs[0].store if self.captures else _note_file(self.folder, self.name).with_suffix(".csv")

    @property
    def captures(self) -> bool:
        """Whether it leaves a store, and no table."""
        return self.measurement.kind == "capture"

    def is_done(self, data: ImageSet) -> bool:
        """Return whether the result of just these inputs is kept, as it was written; else `LostEvidence` of a store."""
        note, key = read_note(self.folder, self.name), self._key(data)
        if note is None:
            return False
        again = f"delete {_note_file(self.folder, self.name)} too, to"
        # (a store changes with the number of its tasks; that its checkpoint did not is seen to where it is captured)
        before = None if self._kind.stores else note.get("inputs")
        for name, found in key["inputs"].items():
            if isinstance(before, dict) and before.get(name, found) != found:
                raise LostEvidence(
                    f"{self.folder}: {name} has changed since {self.file.name} was made from it, and results rest on "
                    f"that. Put it back, or {again} measure again"
                )
        digest, size = note.pop("sha256", None), note.pop("bytes", None)
        if note != key:
            return False
        # the size first: a file that claims to be huge need not be read
        if self.file.is_file() and size in (None, self.file.stat().st_size) and sha256_of(self.file) == digest:
            return True
        if not self.captures:
            return False
        fate = "has changed since" if self.file.exists() else "is missing"
        raise LostEvidence(
            f"{self.file} {fate}: it was captured from {self.inputs[0].path}, and results rest on it. Put it back, or "
            f"{again} capture and measure again"
        )

    def do(self, data: ImageSet) -> None:
        """Measure it and keep it."""
        with telling(self.label), ProgressLine(self.label, 0, unit="tasks") as bar:
            subject = Subject(self.inputs, data, self.measurement.amount, bar)
            table = self._kind.function(subject, **self.measurement.options)
        if not self.captures:
            table.write_csv(self.file)
        written = {"sha256": sha256_of(self.file), "bytes": self.file.stat().st_size}
        write_note(self.folder, self.name, self._key(data) | written)

    def table(self) -> Table:
        """Return what was measured; nothing of a capture."""
        return Table() if self.captures else Table.read_csv(self.file)

    def _key(self, data: ImageSet) -> dict[str, Any]:
        """Return what the result depends on, as it comes back from JSON: inputs, data, versions, choices."""
        hashes = {"/".join(one.path.parts[-3:]): self._hash(one) for one in self.inputs}
        if self._kind.metrics:
            hashes["metrics.jsonl"] = RunFolder(self.folder).metrics_digest()
        versions = {"metaprobe": version("metaprobe"), "torch": torch.__version__, "columns": COLUMNS}
        versions |= {"plugins": homes} if (homes := homes_of_plugins()) else {}
        asked = self.measurement
        choices = {"tasks": asked.amount, "test_queries": TEST_QUERIES, "options": dict(asked.options)}
        key = {"inputs": hashes, "data": data.fingerprint, "versions": versions, **choices}
        return json.loads(json.dumps(key, default=repr))

    @property
    def _kind(self) -> Kind:
        return KINDS[self.measurement.kind]

    def _hash(self, one: Input) -> str:
        if not self._kind.stores:
            return load_checkpoint(one.path).digest
        if not one.store.is_file():
            raise UnreadableInput(f"{one.store}: this activation store is missing")
        return sha256_of(one.store)


def _note_file(folder: Path, name: str) -> Path:
    return folder / "measured" / f"{name}.json"


def read_note(folder: Path, name: str) -> dict[str, Any] | None:
    """Return what a note says; one that cannot be read vouches for nothing."""
    file = _note_file(folder, name)
    try:
        if not file.is_file() or file.stat().st_size > _NOTE_LIMIT:
            return None
        note = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def write_note(folder: Path, name: str, note: Mapping[str, Any]) -> None:
    """Write a note."""
    write_text(_note_file(folder, name), json.dumps(note, indent=1, sort_keys=True) + "\n")
