"""A paper as a declaration: what it may be asked for, trains, measures and claims, and what its page says of it."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, Self

import tyro.conf

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.table import Table
from metaprobe.reports.blocks.declared import Block
from metaprobe.reports.claims import Claim
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Differs, Made
from metaprobe.reports.page import parts
from metaprobe.reports.verdicts import Judgement
from metaprobe.trainers.command import option_words
from metaprobe.trainers.config import Colour, Like, Norm, TrainConfig, from_mapping, joined, to_mapping
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput, entry_named, flag_of
from metaprobe.trainers.limits import MOST_TASKS, check_rate, check_whole
from metaprobe.trainers.network_config import HeadInput, HeadStart

__all__ = ["Answer", "CapturingOptions", "Cite", "Judgements", "Learner", "Measurement", "Numbers", "Options"]
__all__ += ["Section", "Study", "Switch"]

Numbers = Annotated[tuple[int, ...], joined(int, "N,N,…")]
"""Different whole numbers from 1, as "10,30" on the command line."""

Switch = Annotated[tyro.conf.FlagConversionOff[bool], tyro.conf.arg(metavar="{True,False}")]
"""Whether or not, as "True" or "False" on the command line."""


def _arg(metavar: str, default: str) -> object:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every study may be asked for. A paper's own options are a subclass, its presets are instances of that."""

    # the least that whole numbers may be, where that is not 1; an interval needs two tasks
    least: ClassVar[Mapping[str, int]] = {"n_way": 2, "val_tasks": 2}

    data: Annotated[str, tyro.conf.arg(metavar="SET")]
    """glyphs, patterns, shapes, omniglot, cifar_fs, class_folder:PATH, mixture:NAME,NAME…"""
    preset: str = "quick"  # quick (minutes), full (hours) or the paper's own conditions; the defaults are its.
    iterations: int  # Outer steps of each run.
    seeds: int  # Runs of each algorithm, with seeds 0, 1, …
    tasks: int  # Test tasks behind an accuracy, of each domain where there are several.
    val_tasks: int  # Validation tasks behind a point of a learning curve.
    n_way: int = 5  # Classes in a task.
    n_shot: int = 1  # Support images of a class.
    n_query: int = 5  # Query images of a class in training (tests use 15).
    inner_steps: int = 5  # Gradient steps on a support set, in training.
    inner_lr: float = 0.1  # Step size of the inner loop.
    meta_batch: int = 16  # Tasks in an outer step.
    norm: Norm = "transductive"  # Whose statistics normalise a query: its batch's own, or the support set's.
    schedule: Literal["constant", "cosine"] = "cosine"  # How the outer rate falls over the run.
    # Network and norms as that paper's code has them.
    like: Annotated[Like | None, _arg("{finn2017,arnold2021,antoniou2019}", "none")] = None
    # What the head reads of the last feature map: all of it, or its mean over positions.
    head_input: Annotated[HeadInput | None, _arg("{flatten,mean}", "as --like or the network has it")] = None
    # How the head starts: Glorot, or N(0, 1).
    head_start: Annotated[HeadStart | None, _arg("{glorot,normal}", "glorot, or as --like has it")] = None
    filters: Annotated[int | None, _arg("INT", "64 on grey images, 32 on RGB")] = None  # Channels of a convolution.
    image_size: Annotated[int | None, _arg("INT", "the set's own")] = None  # Resize images to this many pixels.
    colour: Annotated[Colour | None, _arg("{grey,rgb}", "as the images are")] = None  # Turn images grey, or into RGB.
    chunk: int = 4  # Tasks that one core adapts at once in training.
    device: str = "cpu"  # cpu, cuda …

    def __post_init__(self) -> None:
        for name, value in ((one.name, getattr(self, one.name)) for one in fields(self)):
            low = self.least.get(name, 1)
            if isinstance(value, int) and not isinstance(value, bool):
                check_whole(name, value, low, MOST_TASKS if name.endswith("tasks") else None)
            if isinstance(value, float):
                check_rate(name, value)
            if isinstance(value, tuple) and not (len({*value}) == len(value) and all(0 < n < 2**31 for n in value)):
                raise MetaprobeError(f"{flag_of(name)} must be different whole numbers from 1; got {value}")

    def config(self, algorithm: str, seed: int, **settings: Any) -> TrainConfig:
        """Return the config of one of a study's runs, with settings of this run alone."""
        values = {name: getattr(self, name) for name in _SHARED} | {"algorithm": algorithm, "seed": seed} | settings
        values.setdefault("gradient", "unrolled")  # not what the memory decides: a study comes out the same twice
        values.setdefault("val_every", max(1, values["iterations"] // 20))
        return completed(TrainConfig(**values), settings.__contains__)

    def of_runs(self, configs: Sequence[TrainConfig]) -> Self:
        """Return these options with what runs were trained with, as the first says that begins with no other."""
        first = next((config for config in configs if config.base is None), configs[0])
        return replace(self, **{name: getattr(first, name) for name in _SHARED - {"chunk"}})

    def amounts(self) -> dict[str, Any]:
        """Return what is measured with, and says nothing of training; tuples as lists, as in JSON."""
        return {name: value for name, value in to_mapping(self).items() if name not in {*_SHARED, "preset", "seeds"}}

    def with_amounts(self, told: object) -> Self | None:
        """Return these options with what `amounts` returned once; None where it fits another version."""
        with contextlib.suppress(UnreadableInput):
            if isinstance(told, dict) and told.keys() == self.amounts().keys():
                return from_mapping(type(self), to_mapping(self) | told, "amounts")
        return None

    def command(self, study: str, preset: Options) -> str:
        """Return the command line that asks for this, but for where it reads and writes and what is as in a preset."""
        asked = {f.name: getattr(self, f.name) for f in fields(self)}
        named = {n: v for n, v in asked.items() if n in ("data", "preset") or v != getattr(preset, n)}
        return shlex.join(["metaprobe", "study", study, *option_words(named)])


_SHARED = {one.name for one in fields(Options)} & {one.name for one in fields(TrainConfig)}


@dataclass(frozen=True, kw_only=True)
class CapturingOptions(Options):
    """What a study may be asked for that captures activations, and compares them layer by layer."""

    least: ClassVar[Mapping[str, int]] = {**Options.least, "replicates": 39}  # an interval needs that many
    capture_tasks: int  # Test tasks behind similarities, and behind whatever else is looked at inside.
    replicates: int = 200  # Resamples of tasks behind the interval of a similarity, at least 39.
    permutations: int = 40  # Permutations of images behind the null of a similarity.

    @property
    def drawn(self) -> dict[str, int]:
        """What intervals and nulls of similarities are drawn with, as their measurement takes it."""
        return {"replicates": self.replicates, "permutations": self.permutations}


Section = parts.Section[Block]

# from the name of a measure or a method to the numbers of its works in the references, "[2]"; "" if there are none
Cite = Callable[[str], str]
Judgements = Mapping[str, Judgement]  # of claims, by id


@dataclass(frozen=True)
class Learner:
    """What a study trains, once a seed."""

    key: str  # what the study calls it; the same for all seeds
    label: str  # what a page calls it
    algorithm: str  # that trains it
    base: str = ""  # key of the learner whose last checkpoint it begins with; "" for none
    head_of: str = ""  # key of the learner that it is a head for: its rows are then that learner's, with head "maml"
    # fields of the run's config that are its own; a function is called with the config without it, and the images,
    # when they are known
    settings: Mapping[str, Any] = field(default_factory=dict)
    folder: str = ""  # name of its run's folder, before "-seed0"; "" for its algorithm
    extra: bool = False  # whether the study does not train it, and a report of one's own runs may have it


@dataclass(frozen=True)
class Measurement:
    """One thing to measure; a kind is an entry of `analyses.measurements.KINDS`."""

    kind: str  # what is measured
    on: tuple[str, ...]  # keys of the learners that it is measured on; those that have no runs are left out
    at: tuple[str, ...] = ("last",)  # names of the checkpoints, of each run
    amount: int = 0  # how many tasks
    options: Mapping[str, Any] = field(default_factory=dict)  # what else the kind takes


@dataclass(frozen=True)
class Answer:
    """What a page says first."""

    headline: str  # the outcome in a few words
    # the answer with its numbers, the first of which stands out, then what speaks against it or limits it
    sentences: tuple[str, ...]
    rules: str  # how the headline follows from the numbers
    figure: Block | None = None  # the one figure that shows it


@dataclass(frozen=True)
class Study:
    """A paper's questions, put to one's own learners."""

    name: str  # as on the command line
    summary: str  # one plain sentence
    works: tuple[Work, ...]  # the paper first, then what else its page cites
    title: str  # of its page, before data and task
    question: str  # in a sentence or two
    reading: str  # how to read its verdicts
    presets: Mapping[str, Options]  # how much it does, by name; instances of one frozen subclass of `Options`
    learners: Callable[[Any], tuple[Learner, ...]]  # from the options, what is trained
    measurements: Callable[[Any], tuple[Measurement, ...]]  # from the options, what is measured
    claims: Callable[[Evidence], tuple[Claim, ...]]  # what the paper claims of these layers and learners
    sections: Callable[[Evidence, Cite], tuple[Section, ...]]  # from a way to cite, too, what the page shows
    answer: Callable[[Evidence, Judgements], Answer]  # from the verdicts by claim, too, what it says first
    # from the table of all that was measured and its `Made`, rows that follow from several of its rows
    derive: Callable[[Table, Made], Table] | None = None
    unlike: tuple[Differs, ...] = ()  # what is other than in the paper whatever is asked for

    def preset(self, name: str) -> Options:
        """Return a preset by its name."""
        return replace(entry_named("preset", name, self.presets), preset=name)

    @property
    def citation(self) -> str:
        """The paper in a line."""
        return self.works[0].line
