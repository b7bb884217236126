"""What a study is, and what its user may ask of it."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro.conf

from trainers.config import Norm, TrainConfig
from trainers.errors import MetaprobeError, unknown_name

__all__ = ["PRESETS", "Preset", "Study", "StudyRequest", "train_command"]

_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the preset's)")]


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much a study does.

    Attributes:
        iterations: outer steps of each run.
        seeds: runs of each algorithm.
        tasks: test tasks behind an accuracy.
        capture_tasks: test tasks behind similarities and distances.
        val_tasks: validation tasks behind a point of a learning curve.
    """

    iterations: int
    seeds: int
    tasks: int
    capture_tasks: int
    val_tasks: int


PRESETS = {
    "quick": Preset(iterations=240, seeds=1, tasks=150, capture_tasks=40, val_tasks=60),
    "full": Preset(iterations=30_000, seeds=3, tasks=600, capture_tasks=100, val_tasks=200),
}


@dataclasses.dataclass(frozen=True)
class StudyRequest:
    """A study as asked for on the command line; options left out come from the preset."""

    data: str = "glyphs"
    """glyphs, omniglot, cifar_fs or class_folder:PATH."""
    preset: str = "quick"
    """quick (minutes) or full (the paper's scale: hours)."""
    iterations: _Count = None
    """Outer steps of each run."""
    seeds: _Count = None
    """Runs of each algorithm, with seeds 0, 1, …"""
    tasks: _Count = None
    """Test tasks behind an accuracy."""
    capture_tasks: _Count = None
    """Test tasks behind similarities and distances."""
    val_tasks: _Count = None
    """Validation tasks behind a point of a learning curve."""
    n_way: int = 5
    """Classes in a task."""
    n_shot: int = 1
    """Support images of a class."""
    n_query: int = 5
    """Query images of a class in training (tests use 15)."""
    inner_steps: int = 5
    """Gradient steps on a support set, in training."""
    inner_lr: float = 0.1
    """Step size of the inner loop."""
    meta_batch: int = 16
    """Tasks in an outer step."""
    norm: Norm = "transductive"
    """Whose statistics normalise a query: its batch's own, or the support set's."""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the set's own)")] = (
        None
    )
    """Resize images to this many pixels."""
    chunk: int = 4
    """Tasks that one core adapts at once in training."""
    device: str = "cpu"
    """cpu, cuda …"""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        least = {"n_way": 2, "val_tasks": 2}  # an interval needs two tasks
        counts = ("iterations", "seeds", "tasks", "capture_tasks", "n_shot", "n_query", "inner_steps", "meta_batch")
        least |= {name: 1 for name in (*counts, "image_size", "chunk")}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < 2**31:
                raise MetaprobeError(f"--{name.replace('_', '-')} must be at least {low} and below 2³¹; got {value}")
        if not 0 < self.inner_lr < math.inf:
            raise MetaprobeError(f"--inner-lr must be above 0 and finite; got {self.inner_lr}")

    def amount(self) -> Preset:
        """Return the preset with what was asked for in its place."""
        preset = PRESETS[self.preset]
        asked = {field.name: getattr(self, field.name) for field in dataclasses.fields(Preset)}
        return dataclasses.replace(preset, **{name: value for name, value in asked.items() if value is not None})

    def run_config(self, algorithm: str, seed: int) -> TrainConfig:
        """Return the config of one of the study's runs."""
        amount = self.amount()
        return TrainConfig(
            algorithm=algorithm,
            data=self.data,
            n_way=self.n_way,
            n_shot=self.n_shot,
            n_query=self.n_query,
            seed=seed,
            iterations=amount.iterations,
            meta_batch=self.meta_batch,
            inner_lr=self.inner_lr,
            inner_steps=self.inner_steps,
            schedule="cosine",
            norm=self.norm,
            image_size=self.image_size,
            val_tasks=amount.val_tasks,
            val_every=max(1, amount.iterations // 20),
            chunk=self.chunk,
            gradient="unrolled",  # not what the memory decides: a study comes out the same twice
            device=self.device,
        )

    def command(self, study: str) -> str:
        """Return the command line that asks for this, without where it reads and writes."""
        return shlex.join(["metaprobe", "study", study, *_options(self, always=("data", "preset"))])


def train_command(config: TrainConfig, out: str) -> str:
    """Return the command line that trains a run in the folder `out`; options left at their defaults are left out."""
    return shlex.join(["metaprobe", "train", config.algorithm, *_options(config, without="algorithm"), "--out", out])


def _options(config: StudyRequest | TrainConfig, always: tuple[str, ...] = (), without: str = "") -> list[str]:
    words = []
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if field.name == without or (value == field.default and field.name not in always):
            continue
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


@dataclasses.dataclass(frozen=True)
class Study:
    """A paper's questions, put to one's own learners.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: the paper.
        run: (request, out, data_root, download) → the report's path; trains, measures and writes.
        report: (run folders, out, data_root, tasks, capture_tasks) → the report's path; measures what is not measured
            yet and writes. Numbers of tasks that are None are those already measured, or the full preset's.
    """

    name: str
    summary: str
    citation: str
    run: Callable[[StudyRequest, Path, Path | None, bool], Path]
    report: Callable[[list[Path], Path, Path | None, int | None, int | None], Path]
