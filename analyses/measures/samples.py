"""The samples of a pair themselves, for measures that their moments do not tell."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["Samples", "balanced", "exponent"]

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Samples:
    """Two representations of the same samples, as they were given.

    Attributes:
        x: the first.
        y: the second.
        live: which features of x and of y are not constant within rounding.
    """

    x: Float[np.ndarray, "sample feature"]
    y: Float[np.ndarray, "sample other"]
    live: tuple[Bool[np.ndarray, " feature"], Bool[np.ndarray, " other"]]

    @functools.cached_property
    def _made(self) -> dict[Callable[[np.ndarray], Any], tuple[Any, Any]]:
        return {}

    def each(self, made: Callable[[np.ndarray], Made]) -> tuple[Made, Made]:
        """Return what a function makes of x and of y, which is made once for all measures and orders."""
        if made not in self._made:
            self._made[made] = made(self.x), made(self.y)
        return self._made[made]

    @functools.cached_property
    def distances(self) -> tuple[Float[np.ndarray, "sample sample"], Float[np.ndarray, "sample sample"]]:
        """Euclidean distances between samples of x and between those of y, each side up to a power of two.

        From differences, not from products: of samples that lie together these would keep half of the digits.
        """
        from scipy.spatial.distance import pdist, squareform  # a tenth of a second to import

        sides = zip((self.x, self.y), self.live, strict=True)
        x, y = (squareform(pdist(balanced(side[:, live]))) for side, live in sides)
        return x, y


def balanced(array: np.ndarray) -> np.ndarray:
    """Return the array in float64, scaled by a power of two to at most 1: exact, and squares cannot overflow."""
    values = array.astype(np.float64)
    return np.ldexp(values, -exponent(values))


def exponent(values: np.ndarray) -> int:
    """Return the power of two above all magnitudes."""
    return int(np.frexp(np.abs(values).max())[1])
