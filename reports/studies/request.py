"""A study as its user asks for it."""

from __future__ import annotations

import dataclasses
import math
import shlex
from typing import Annotated, Any

import tyro.conf

from reports.studies.study import PRESETS, Preset, Study
from trainers.config import Colour, Norm, TrainConfig
from trainers.errors import MetaprobeError, unknown_name

__all__ = ["StudyRequest", "numbers_of", "train_command"]

_Count = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the preset's)")]
_Clusters = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(zhou2021; default: the preset's)")]
_Own = tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the study's own)")


@dataclasses.dataclass(frozen=True)
class StudyRequest:
    """A study as asked for on the command line; options left out come from the study and its preset."""

    data: Annotated[str | None, tyro.conf.arg(metavar="SET", help_behavior_hint="(default: the study's own)")] = None
    """glyphs, omniglot, cifar_fs, class_folder:PATH, mixture:NAME,NAME… (raghu2020: glyphs; zhou2021: a mixture)."""
    preset: str = "quick"
    """quick (minutes) or full (the paper's scale: hours)."""
    iterations: _Count = None
    """Outer steps of each run."""
    seeds: _Count = None
    """Runs of each algorithm, with seeds 0, 1, …"""
    tasks: _Count = None
    """Test tasks behind an accuracy."""
    capture_tasks: _Count = None
    """Test tasks behind similarities, distances, curves and embeddings."""
    val_tasks: _Count = None
    """Validation tasks behind a point of a learning curve."""
    more_iterations: _Count = None
    """Outer steps of each run that starts from the checkpoint of another."""
    group_tasks: _Clusters = None
    """Test tasks of each domain whose clusters are counted."""
    cluster_tasks: _Clusters = None
    """Training tasks that clusters are found in."""
    sweep: Annotated[
        str | None, tyro.conf.arg(metavar="M,M,…", help_behavior_hint="(zhou2021; default: the preset's)")
    ] = None
    """Numbers of clusters to train with; all else is measured on the first."""
    head_steps: Annotated[
        str | None, tyro.conf.arg(metavar="N,N,…", help_behavior_hint="(raghu2020; default: the preset's)")
    ] = None
    """Numbers of inner steps at test, beside the trained one, that freezing is tested with."""
    rounds: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(raghu2020; default: the preset's)")
    ] = None
    """How often each learner is timed, in turn with the others."""
    replicates: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(raghu2020; default: the preset's)")
    ] = None
    """Resamples of tasks behind the interval of a similarity."""
    permutations: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(raghu2020; default: the preset's)")
    ] = None
    """Permutations of images behind the null of a similarity."""
    subsets: Annotated[
        bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="(raghu2020; default: False)")
    ] = None
    """Whether to freeze every set of MAML's layers, not only blocks from the first layer on."""
    large: Annotated[
        bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="(zhou2021; default: True)")
    ] = None
    """Whether to train a larger network too, the control of Z8, which takes longest."""
    n_way: int = 5
    """Classes in a task."""
    n_shot: Annotated[int | None, _Own] = None
    """Support images of a class."""
    n_query: int = 5
    """Query images of a class in training (tests use 15)."""
    inner_steps: int = 5
    """Gradient steps on a support set, in training."""
    inner_lr: Annotated[
        float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="(default: the study's own)")
    ] = None
    """Step size of the inner loop."""
    meta_batch: Annotated[int | None, _Own] = None
    """Tasks in an outer step."""
    norm: Norm = "transductive"
    """Whose statistics normalise a query: its batch's own, or the support set's."""
    filters: Annotated[
        int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: 64 on grey images, 32 on RGB)")
    ] = None
    """Channels of a convolution."""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="(default: the set's own)")] = (
        None
    )
    """Resize images to this many pixels."""
    colour: Annotated[
        Colour | None, tyro.conf.arg(metavar="{grey,rgb}", help_behavior_hint="(default: as the images are)")
    ] = None
    """Turn images grey, or into RGB."""
    chunk: int = 4
    """Tasks that one core adapts at once in training."""
    device: str = "cpu"
    """cpu, cuda …"""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        least = {"n_way": 2, "val_tasks": 2, "replicates": 39}  # an interval needs two tasks, and that many replicates
        counts = ("iterations", "seeds", "tasks", "capture_tasks", "n_shot", "n_query", "inner_steps", "meta_batch")
        counts += (
            "more_iterations",
            "group_tasks",
            "cluster_tasks",
            "image_size",
            "rounds",
            "permutations",
            "filters",
            "chunk",
        )
        least |= {name: 1 for name in counts}
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value < 2**31:
                raise MetaprobeError(f"--{name.replace('_', '-')} must be at least {low} and below 2³¹; got {value}")
        if self.inner_lr is not None and not 0 < self.inner_lr < math.inf:
            raise MetaprobeError(f"--inner-lr must be above 0 and finite; got {self.inner_lr}")
        for flag, text in (("--sweep", self.sweep), ("--head-steps", self.head_steps)):
            if text is not None:
                numbers_of(flag, text)

    def amount(self, study: Study) -> Preset:
        """Return a study's preset with what was asked for in its place.

        Raises:
            MetaprobeError: something was asked for that the study does not do.
        """
        preset = study.presets[self.preset]
        asked = {field.name: getattr(self, field.name) for field in dataclasses.fields(Preset)}
        asked = {name: value for name, value in asked.items() if value is not None}
        for name in asked:
            if not getattr(preset, name) and getattr(preset, name) is not False:
                raise MetaprobeError(f"--{name.replace('_', '-')}: study {study.name} has no such thing")
        for name in ("sweep", "head_steps"):
            if name in asked:
                asked[name] = numbers_of(f"--{name.replace('_', '-')}", asked[name])
        return dataclasses.replace(preset, **asked)

    def of(self, study: Study) -> StudyRequest:
        """Return the request with the study's own settings where none were given."""
        missing = {name: value for name, value in study.defaults.items() if getattr(self, name) is None}
        return dataclasses.replace(self, **missing)

    def run_config(self, amount: Preset, algorithm: str, seed: int, **other: Any) -> TrainConfig:
        """Return the config of one of a study's runs.

        Args:
            amount: how much.
            algorithm: that trains.
            seed: of the run.
            other: settings of this run alone.
        """
        assert self.data is not None and self.n_shot and self.inner_lr and self.meta_batch  # `of` has seen to it
        config = TrainConfig(
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
            filters=self.filters,
            image_size=self.image_size,
            colour=self.colour,
            val_tasks=amount.val_tasks,
            chunk=self.chunk,
            gradient="unrolled",  # not what the memory decides: a study comes out the same twice
            device=self.device,
        )
        config = dataclasses.replace(config, **other)
        return dataclasses.replace(config, val_every=max(1, config.iterations // 20))

    def command(self, study: str) -> str:
        """Return the command line that asks for this, without where it reads and writes."""
        return shlex.join(["metaprobe", "study", study, *_options(self, always=("data", "preset"))])


def numbers_of(flag: str, text: str) -> tuple[int, ...]:
    """Return the numbers in "3,1,5".

    Raises:
        MetaprobeError: it is no list of different whole numbers from 1.
    """
    words = [word.strip() for word in text.split(",")]
    numbers = tuple(int(word) for word in words if word.isascii() and word.isdigit())
    if len(numbers) != len(words) or len(set(numbers)) != len(numbers) or min(numbers, default=0) < 1:
        raise MetaprobeError(f"{flag} must be different whole numbers from 1, such as 3,1,5; got {text!r}")
    return numbers


def train_command(config: TrainConfig, out: str) -> str:
    """Return the command line that trains a run in the folder `out`; options left at their defaults are left out."""
    return shlex.join(["metaprobe", "train", config.algorithm, *_options(config, without="algorithm"), "--out", out])


def _options(config: StudyRequest | TrainConfig, always: tuple[str, ...] = (), without: str = "") -> list[str]:
    words = []
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), field.name.replace("_", "-")
        if field.name == without or value is None or (value == field.default and field.name not in always):
            continue
        plain = isinstance(value, bool) and field.default is not None  # a switch
        words += [f"--{flag}" if value else f"--no-{flag}"] if plain else [f"--{flag}", str(value)]
    return words
