"""Which trainings of a study are compared with each other, and which of their layers."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyses.compare import Compared
from probe.store import Store
from reports.studies.raghu2020.pairs.claims import LEARNER_PAIRS, PAIRINGS
from trainers.errors import MetaprobeError, unknown_name

__all__ = [
    "ANIL",
    "GROUPS",
    "MAML",
    "MAPS",
    "REGIMES",
    "Layers",
    "Learners",
    "StoreOf",
    "Two",
    "check",
    "pairs_of",
    "wanted",
]

Learners = tuple[str, str]
Layers = tuple[str, str]

MAML: Learners = ("maml", "maml")
ANIL: Learners = ("anil", "anil")
MAPS: tuple[Learners, ...] = (MAML, ("anil", "maml"))
REGIMES: tuple[Learners, ...] = tuple((regime, "maml") for regime in ("multiclass", "nil", "random", "multitask"))
GROUPS = (*LEARNER_PAIRS, *REGIMES)


@dataclass(frozen=True)
class StoreOf:
    """An activation store of one training: where it is, what trained it, and with which seed."""

    path: Path
    algorithm: str
    seed: int


@dataclass(frozen=True, eq=False)
class Two:
    """Two trainings, their open stores, and what was compared so far, by layers and phase."""

    trainings: tuple[StoreOf, StoreOf]
    stores: tuple[Store, Store]
    found: dict[tuple[Layers, str], dict[str, Compared]] = dataclasses.field(default_factory=dict)

    @property
    def seeds(self) -> frozenset[int]:
        """Seeds of both."""
        return frozenset(training.seed for training in self.trainings)

    @property
    def told(self) -> str:
        """Both seeds in words, those of the first first."""
        return " and ".join(str(training.seed) for training in self.trainings)


def check(stores: Sequence[StoreOf]) -> None:
    """Refuse stores that no pair is made of.

    Raises:
        MetaprobeError: there are none, no claim is about an algorithm, or a training has two stores.
    """
    if not stores:
        raise MetaprobeError("pairs: expected the stores of at least one training, got none")
    known = {name for learners in GROUPS for name in learners}
    trainings = [(store.algorithm, store.seed) for store in stores]
    for algorithm, seed in trainings:
        if algorithm not in known:
            raise unknown_name("algorithm among the pairs of a study", algorithm, sorted(known))
        if trainings.count((algorithm, seed)) > 1:
            raise MetaprobeError(f"{algorithm} with seed {seed} has two stores; give one of each training")


def pairs_of(opened: dict[StoreOf, Store], learners: Learners) -> list[Two]:
    """Return each two trainings of the learners with different seeds, else those of their one common seed."""
    firsts, seconds = ([store for store in opened if store.algorithm == name] for name in learners)
    every = list(
        itertools.combinations(firsts, 2) if learners[0] == learners[1] else itertools.product(firsts, seconds)
    )
    chosen = [pair for pair in every if pair[0].seed != pair[1].seed] or every
    return [Two(pair, (opened[pair[0]], opened[pair[1]])) for pair in chosen]


def wanted(learners: Learners, layers: Sequence[str]) -> Iterator[tuple[Layers, str]]:
    """Yield what is compared of two trainings: layers of the first and the second, and the phase."""
    body = [layer for layer in layers if layer != "head"]
    if learners in MAPS:
        yield from ((both, "pre-pre") for both in itertools.product(layers, layers))
    else:
        yield from (((layer, layer), "pre-pre") for layer in (body if learners == ANIL else body[:3]))
    if learners == MAML:
        yield from (((layer, layer), phase) for layer in layers for phase in PAIRINGS)
