"""What a similarity measure declares about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.work import Work
from metaprobe.probe.moments import JointMoments

__all__ = ["INVARIANCES", "Measure"]

INVARIANCES = {
    "translation": "a constant added to each feature changes nothing",
    "isotropic_scaling": "a common positive factor on all features changes nothing",
    "orthogonal": "a rotation or reflection of the feature space changes nothing",
    "invertible_linear": "any invertible linear map of the feature space changes nothing",
    "permutation_of_features": "the order of the features changes nothing",
    "permutation_of_samples": "the order of the samples, the same on both sides, changes nothing",
    "symmetric": "measure(x, y) = measure(y, x)",
}


@dataclasses.dataclass(frozen=True)
class Measure:
    """A similarity measure and the facts that tests, captions and tables need about it.

    Attributes:
        name: as it stands in tables.
        compute: the measure, on a pair with live columns on both sides and enough samples.
        citation: its source; several, where it has several.
        range: smallest and largest value.
        invariances: names out of `INVARIANCES`; each is tested.
        minimum_samples: fewer make the measure undefined, or the same for all data.
        minimum_features: of either side, likewise.
        maximum_samples: more would take too much memory; None for any number.
        needs: "moments" where the moments of samples, of any kind, are enough; "images" where it is computed from the
            samples themselves, and these are whole images.
        higher_is_more_similar: False of a distance.
        summary: what it is, in one line.
        misleads: when it says something else than it seems to; its page in the documentation has it.
    """

    name: str
    compute: Callable[[Pair], Similarity]
    citation: Work | tuple[Work, ...]
    range: tuple[float, float]
    invariances: frozenset[str]
    minimum_samples: int
    minimum_features: int = 1
    maximum_samples: int | None = None
    needs: Literal["moments", "images"] = "moments"
    higher_is_more_similar: bool = True
    summary: str = ""
    misleads: str = ""

    def __post_init__(self) -> None:
        if unknown := self.invariances - INVARIANCES.keys():
            raise ValueError(
                f"measure {self.name}: unknown invariances {sorted(unknown)}; known: {', '.join(INVARIANCES)}"
            )

    @property
    def most_alike(self) -> float:
        """The value of what is wholly alike: the largest of a similarity, the smallest of a distance."""
        return self.range[self.higher_is_more_similar]

    @property
    def works(self) -> tuple[Work, ...]:
        """Its sources, as a tuple."""
        return (self.citation,) if isinstance(self.citation, Work) else self.citation

    def function(self, x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
        """Return the similarity of two arrays whose rows are the same samples.

        Raises:
            ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
        """
        return self.apply(Pair.of_arrays(x, y))

    def from_moments(self, moments: JointMoments) -> Similarity:
        """Return the similarity of two representations from their joint moments.

        Raises:
            ValueError: moments of fewer than two samples.
        """
        return self.apply(Pair.of_moments(moments))

    def apply(self, pair: Pair) -> Similarity:
        """Return the similarity of a prepared pair, or why there is none; lets several measures share one pair."""
        return dataclasses.replace(self._result(pair), measure=self.name)

    def _result(self, pair: Pair) -> Similarity:
        for name, side in (("x", pair.x), ("y", pair.y)):
            if not side.live:
                return pair.undefined(f"dead layer: all {side.columns} features of {name} are constant within rounding")
            if side.columns < self.minimum_features:
                needed = f"{self.name} needs at least {self.minimum_features}"
                return pair.undefined(f"{side.columns} features of {name} are too few, {needed}")
        if pair.n < self.minimum_samples:
            return pair.undefined(f"{pair.n} samples are too few, {self.name} needs at least {self.minimum_samples}")
        if self.maximum_samples and pair.n > self.maximum_samples:
            told = f"{pair.n:,} samples have {pair.n * (pair.n - 1) // 2:.1e} pairs"
            return pair.undefined(f"{told}, {self.name} takes at most {self.maximum_samples:,} samples")
        if self.needs == "images" and pair.samples is None:
            return pair.undefined(f"{self.name} is of the samples themselves, their moments do not tell it")
        return self.compute(pair)
