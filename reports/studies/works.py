"""What the steps of studies do: train a run, capture a checkpoint, measure a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from analyses.table import Table
from probe.capturing import capture_checkpoint
from reports.studies.kept import kept_table, key_of, measured, note_file, read_note, write_note
from reports.studies.steps import Effort, LostEvidence
from trainers.checkpoint import load_checkpoint
from trainers.config import TrainConfig
from trainers.files import sha256_of
from trainers.outer_loop import train
from trainers.progress import ProgressLine
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["Advance", "Capture", "Measurement", "Training"]

Advance = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Training:
    """Train a run to its end, from where an earlier call left it.

    Attributes:
        folder: the run's.
        config: of the run.
    """

    folder: Path
    config: TrainConfig

    def refuse_another(self) -> None:
        """Check that the folder holds no other run, before anything is done.

        Raises:
            MetaprobeError: it does, or files that are no run's.
        """
        if self.folder.is_dir() and any(self.folder.iterdir()):
            RunFolder(self.folder).claim(self.config)

    def is_done(self, imageset: ImageSet) -> bool:
        """Return whether the last checkpoint is of the last iteration, trained on these images and from this base."""
        last = RunFolder(self.folder).checkpoint("last")
        if not last.is_file():
            return False
        found = load_checkpoint(last)
        same = found.provenance.get("data_fingerprint") == imageset.fingerprint
        if self.config.base is not None:  # where it was trained anew, training says what to do
            same = same and found.provenance.get("base") == load_checkpoint(self.config.base).fingerprint
        return same and found.iteration >= self.config.iterations

    def do(self, imageset: ImageSet) -> None:
        """Train."""
        train(self.config, imageset, self.folder)

    def effort(self) -> Effort:
        """Return the tasks of all outer steps, and those of validation."""
        config = self.config
        validated = (-(-config.iterations // config.val_every) + 1) * config.val_tasks
        return Effort(
            {
                ("train", config.algorithm): config.iterations * config.meta_batch,
                ("test", config.algorithm): validated,
            }
        )


@dataclasses.dataclass(frozen=True)
class Capture:
    """Capture a checkpoint of a run into a store; a note keeps the store's hash, by which a lost one is missed.

    Attributes:
        checkpoint: what is captured.
        store: the file.
        algorithm: that trained it.
        tasks: how many.
        steps: "last" or "all".
        n_query: query images of a class.
        seed: names the tasks.
        device: where.
    """

    checkpoint: Path
    store: Path
    algorithm: str
    tasks: int
    steps: str
    n_query: int
    seed: int
    device: str

    def is_done(self, imageset: ImageSet) -> bool:
        """Return whether the store of this checkpoint, data and plan is there.

        Raises:
            LostEvidence: it was made, and is gone or has changed since.
        """
        note, key = read_note(*self._place), self._key(imageset)
        if note is None or {name: value for name, value in note.items() if name != "sha256"} != key:
            return False
        if self.store.is_file() and sha256_of(self.store) == note.get("sha256"):
            return True
        fate = "has changed since" if self.store.exists() else "is missing"
        raise LostEvidence(
            f"{self.store} {fate}: it was captured from {self.checkpoint}, and results rest on it. Put it back, or "
            f"delete {note_file(*self._place)} too, to capture and measure again"
        )

    def do(self, imageset: ImageSet) -> None:
        """Capture, and note what was captured."""
        with ProgressLine(
            f"capture {self.store.parent.parent.name} at {self.store.stem}", self.tasks, unit="tasks"
        ) as bar:
            capture_checkpoint(
                self.checkpoint,
                imageset,
                self.store,
                tasks=self.tasks,
                steps="all" if self.steps == "all" else "last",
                seed=self.seed,
                n_query=self.n_query,
                device=self.device,
                advance=lambda done: bar.advance(steps=done),
            )
        write_note(*self._place, self._key(imageset) | {"sha256": sha256_of(self.store)})

    def effort(self) -> Effort:
        """Return the tasks; a capture takes about three times a test's time for each."""
        return Effort({("test", self.algorithm): 3 * self.tasks})

    @property
    def _place(self) -> tuple[Path, str]:
        return self.store.parent.parent, f"capture-{self.store.stem}"

    def _key(self, imageset: ImageSet) -> dict[str, Any]:
        choices = {"tasks": self.tasks, "steps": self.steps, "n_query": self.n_query, "seed": self.seed}
        return key_of([self.checkpoint], imageset, **choices)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Measure a table on checkpoints and stores, and keep it.

    Attributes:
        label: what is measured on what, for the line of progress.
        place: the folder whose `measured/` keeps it.
        name: of the table.
        inputs: the checkpoints and stores that it is made from.
        make: makes it; a `functools.partial` of a module's function, called with the images and a function that is
            called with the number of tasks just done.
        choices: what else it depends on, as JSON values.
        total: tasks in all, for the line of progress.
        work: for an estimate of the time.
    """

    label: str
    place: Path
    name: str
    inputs: tuple[Path, ...]
    make: Callable[[ImageSet, Advance], Table]
    choices: Mapping[str, Any]
    total: int = 0
    work: Effort = dataclasses.field(default_factory=Effort)

    def is_done(self, imageset: ImageSet) -> bool:
        """Return whether the table of just these inputs is kept."""
        return kept_table(self.place, self.name, self._key(imageset)) is not None

    def do(self, imageset: ImageSet) -> None:
        """Measure it and keep it."""
        self.table(imageset)

    def table(self, imageset: ImageSet) -> Table:
        """Return the table, measured now where it is not kept."""

        def measure() -> Table:
            with ProgressLine(self.label, self.total, unit="tasks") as bar:
                return self.make(imageset, lambda done: bar.advance(steps=done))

        return measured(self.place, self.name, self._key(imageset), measure)

    def effort(self) -> Effort:
        """Return how much it is."""
        return self.work

    def _key(self, imageset: ImageSet) -> dict[str, Any]:
        return key_of(self.inputs, imageset, **self.choices)
