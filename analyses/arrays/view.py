"""Two arrays side by side: what their samples and features are, and their rows as one stream."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.arrays.array import Array, Samples

__all__ = ["Together", "View"]

_BLOCK = 1 << 21  # numbers of both arrays that are in memory at a time


@dataclass(frozen=True)
class View:
    """How arrays of more than two axes are read; see `analyses.arrays.similarity.similarity_of_arrays`."""

    samples: Samples
    channel_axis: int | None

    def called(self, *arrays: Array) -> Samples | None:
        """Return what a sample is called in a table: nothing of matrices, whose rows are whatever they are."""
        return None if all(len(array.shape) == 2 for array in arrays) else self.samples


@dataclass(frozen=True)
class Together:
    """Two arrays of the same samples."""

    x: Array
    y: Array
    view: View

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.x.samples

    @functools.cached_property
    def unlike(self) -> str:
        """Why rows of x and y do not belong together; "" where they do."""
        grids = [array.positions(self.view.samples, self.view.channel_axis) for array in (self.x, self.y)]
        if grids[0] == grids[1]:
            return ""
        sizes = (f"{' × '.join(map(str, grid))} positions" if grid else "one row" for grid in grids)
        told = zip((self.x, self.y), sizes, strict=True)
        both = " and ".join(f"{array.where} has {size} a sample" for array, size in told)
        return f"{both}: they do not belong together; compare whole samples (--samples images)"

    @functools.cached_property
    def columns(self) -> int:
        """Features of both together."""
        return sum(array.features(self.view.samples, self.view.channel_axis) for array in (self.x, self.y))

    @property
    def positions(self) -> int:
        """Rows of a sample."""
        return math.prod(self.x.positions(self.view.samples, self.view.channel_axis))

    @property
    def rows(self) -> int:
        """Rows in all."""
        return self.samples * self.positions

    @property
    def eps(self) -> tuple[float, float]:
        """Machine epsilons of the types in which they are stored."""
        return self.x.eps, self.y.eps

    def blocks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the first sample of each block, and the rows of its samples on both sides."""
        size = max(1, _BLOCK // (math.prod(self.x.shape[1:]) + math.prod(self.y.shape[1:])))
        first, how = 0, (self.view.samples, self.view.channel_axis)
        if self.x is self.y:  # one file, one pass
            for block in self.x.blocks(size):
                rows = self.x.rows(block, *how)
                yield first, rows, rows
                first += len(block)
            return
        for left, right in zip(self.x.blocks(size), self.y.blocks(size), strict=True):
            yield first, self.x.rows(left, *how), self.y.rows(right, *how)
            first += len(left)

    def of_samples(
        self, chosen: Int[np.ndarray, " sample"]
    ) -> tuple[Float[np.ndarray, "row feature"], Float[np.ndarray, "row other"]]:
        """Return the rows of some samples, ascending."""
        parts = []
        for first, left, right in self.blocks():
            count = len(left) // self.positions
            own = chosen[(chosen >= first) & (chosen < first + count)] - first
            rows = (own[:, None] * self.positions + np.arange(self.positions)).ravel()
            parts.append((left[rows], right[rows]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def null_samples(self, rows: int) -> tuple[Int[np.ndarray, " sample"], int]:
        """Return some samples, ascending, that have at most so many rows, drawn at random; and how many rows."""
        count = min(self.samples, rows // self.positions)
        chosen = np.sort(np.random.default_rng([self.samples, count]).permutation(self.samples)[:count])
        return chosen, count * self.positions
