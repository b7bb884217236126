"""A paper as a declaration: what to train, what to measure, what it claims, and the page that says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reports.blocks.declared import Block
from reports.claims import Claim
from reports.evidence import Evidence
from reports.page import parts
from reports.study.options import Options
from reports.verdicts import Judgement
from reports.works import Work
from trainers.errors import unknown_name

if TYPE_CHECKING:
    from analyses.table import Table
    from reports.made import Differs, Made

__all__ = ["Answer", "Cite", "Learner", "Measurement", "Section", "Study"]

Section = parts.Section[Block]

# from the name of a measure or a method to the numbers of its works in the references, "[2]"; "" if there are none
Cite = Callable[[str], str]


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
    answer: Callable[[Evidence, Mapping[str, Judgement]], Answer]  # from the verdicts by claim, too, what it says first
    # from the table of all that was measured and its `Made`, rows that follow from several of its rows
    derive: Callable[[Table, Made], Table] | None = None
    unlike: tuple[Differs, ...] = ()  # what is other than in the paper whatever is asked for

    def preset(self, name: str) -> Options:
        """Return a preset by its name."""
        if name not in self.presets:
            raise unknown_name("preset", name, self.presets)
        return replace(self.presets[name], preset=name)

    @property
    def citation(self) -> str:
        """The paper in a line."""
        return self.works[0].line
