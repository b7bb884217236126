"""What is compared of the trainings of a study: parts of networks, means, differences, maps and lines."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metaprobe.trainers.errors import MetaprobeError, unknown_name

__all__ = ["PAIRINGS", "Comparisons", "Layers", "Learners", "StoreOf"]

PAIRINGS = ("pre-post", "post-pre", "post-post")
"""What a line of best fit sets against both networks before adaptation: the phase of the first, of the second."""

Learners = tuple[str, str]
Layers = tuple[str, str]


@dataclass(frozen=True)
class StoreOf:
    """An activation store of one training, with all layers of its network.

    Attributes:
        path: of the store.
        learner: what the study calls what was trained.
        seed: of the training.
        algorithm: that trained it.
    """

    path: Path
    learner: str
    seed: int
    algorithm: str


@dataclass(frozen=True)
class Comparisons:
    """What is compared.

    Attributes:
        parts: by name, of how many layers of the body from the first on a mean is taken; None for all of the body,
            which is all layers of the network but the last.
        means: similarity before adaptation, mean over a part's layers and pairs of seeds: (part, learners).
        differences: of two such means on the same pairs of seeds: (part, learners, those that are taken off).
        maps: learners of which every layer is compared with every layer.
        lines: lines of best fit through a part's layers of each pair of seeds, see `PAIRINGS`: (part, learners).
    """

    parts: Mapping[str, int | None]
    means: tuple[tuple[str, Learners], ...] = ()
    differences: tuple[tuple[str, Learners, Learners], ...] = ()
    maps: tuple[Learners, ...] = ()
    lines: tuple[tuple[str, Learners], ...] = ()

    def __post_init__(self) -> None:
        for part, _ in (*self.all_means, *self.lines):
            if part not in self.parts:
                raise unknown_name("part of a network", part, self.parts)

    @property
    def all_means(self) -> tuple[tuple[str, Learners], ...]:
        """The means, those that only differences need last."""
        behind = ((part, pair) for part, *both in self.differences for pair in both)
        return tuple(dict.fromkeys((*self.means, *behind)))

    @property
    def groups(self) -> tuple[Learners, ...]:
        """Each two learners that are compared."""
        return tuple(dict.fromkeys((*(pair for _, pair in (*self.all_means, *self.lines)), *self.maps)))

    def layers_of(self, part: str, layers: Sequence[str]) -> Sequence[str]:
        """Return the layers of a part."""
        return layers[:-1][: self.parts[part]]

    def of(self, learners: Learners, layers: Sequence[str]) -> dict[tuple[Layers, str], None]:
        """Return what is compared of two learners: layers of the first and the second, and the phase."""
        found: dict[tuple[Layers, str], None] = {}
        if learners in self.maps:
            found |= {(both, "pre-pre"): None for both in itertools.product(layers, layers)}
        for part, pair in self.all_means:
            if pair == learners:
                found |= {((layer, layer), "pre-pre"): None for layer in self.layers_of(part, layers)}
        if learners in [pair for _, pair in self.lines]:
            phases = itertools.product(layers, ("pre-pre", *PAIRINGS))
            found |= {((layer, layer), phase): None for layer, phase in phases}
        return found

    def check(self, stores: Sequence[StoreOf]) -> None:
        """Refuse stores that no pair is made of.

        Raises:
            MetaprobeError: there are none, nothing is asked of a learner, or a training has two stores.
        """
        if not stores:
            raise MetaprobeError("pairs: expected the stores of at least one training, got none")
        known = {name for learners in self.groups for name in learners}
        trainings = [(store.learner, store.seed) for store in stores]
        for learner, seed in trainings:
            if learner not in known:
                raise unknown_name("learner among the pairs of a study", learner, sorted(known))
            if trainings.count((learner, seed)) > 1:
                raise MetaprobeError(f"{learner} with seed {seed} has two stores; give one of each training")
