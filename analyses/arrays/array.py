"""An array of activations in a file: what it is, and its samples as a stream."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from metaprobe.probe.store.metadata import EPS
from metaprobe.probe.sums import LARGEST_MAGNITUDE
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.text import visible

__all__ = ["Array", "ArrayFile", "Samples", "eps_of", "unfit"]

Samples = str  # "positions" or "images", as in a table


@dataclass(frozen=True)
class Array:
    """A layer's activations in a file.

    Attributes:
        where: file and name, as errors tell it.
        name: the layer's.
        shape: samples first.
        eps: machine epsilon of the type in which it is stored.
        blocks: (samples of a block) → the array in order, that many samples at a time, in a floating type.
    """

    where: str
    name: str
    shape: tuple[int, ...]
    eps: float
    blocks: Callable[[int], Iterator[np.ndarray]]

    @property
    def samples(self) -> int:
        """How many samples it holds."""
        return self.shape[0]

    def features(self, samples: Samples, channel_axis: int | None) -> int:
        """Return how many features a row of `rows` has."""
        if len(self.shape) == 2 or samples == "images":
            return math.prod(self.shape[1:])
        return self.shape[self._axis(channel_axis)]

    def positions(self, samples: Samples, channel_axis: int | None) -> tuple[int, ...]:
        """Return the sizes of the grid of positions in a sample, each of which is a row; none where a sample is one."""
        if len(self.shape) == 2 or samples == "images":
            return ()
        return tuple(size for axis, size in enumerate(self.shape) if axis not in (0, self._axis(channel_axis)))

    def rows(
        self, block: Float[np.ndarray, "sample ..."], samples: Samples, channel_axis: int | None
    ) -> Float[np.ndarray, "row feature"]:
        """Return samples of the array as a matrix: flattened, or row `sample·positions + position`.

        Raises:
            UnreadableInput: an entry is NaN or infinite; it is called a sample of the block.
        """
        if block.ndim == 2:
            return block
        if samples == "images":
            return block.reshape(len(block), -1)
        return np.moveaxis(block, self._axis(channel_axis), -1).reshape(-1, block.shape[self._axis(channel_axis)])

    def _axis(self, told: int | None) -> int:
        rank = len(self.shape)
        axis = (1 if rank == 4 else -1) if told is None else told  # convolutions have channels first, tokens last
        if not -rank <= axis < rank or axis % rank == 0:
            raise UnreadableInput(
                f"{self.where}: --channel-axis {told} is no axis beside the samples of an array of shape {self.shape}"
            )
        return axis % rank


@dataclass(frozen=True)
class ArrayFile:
    """An open file of arrays.

    Attributes:
        path: where it is.
        digest: the SHA-256 of its bytes.
        arrays: what it holds that can be a layer, in the order of the file.
        left_out: what it holds beside them, each with the reason.
    """

    path: Path
    digest: str
    arrays: tuple[Array, ...]
    left_out: tuple[str, ...]


def eps_of(dtype: str) -> float | None:
    """Return the machine epsilon of a type that activations may have; None for another."""
    return EPS.get(dtype)


def unfit(dtype: str, shape: tuple[int, ...]) -> str:
    """Say why an array cannot be a layer's activations; "" where it can."""
    if dtype not in EPS:
        what = f"holds {visible(dtype, 40)}, and activations are {', '.join(EPS)}"
        return f"{what}; convert it, as by array.astype(numpy.float32), if its entries are measurements"
    if len(shape) not in (2, 3, 4):
        told = "(sample, feature), (sample, token, feature) or (sample, channel, height, width)"
        return f"has shape {shape}, expected {told}"
    return f"has shape {shape}, so it holds nothing" if 0 in shape else ""


def checked(block: Any, where: str, first: int) -> np.ndarray:
    """Return a block in the machine's byte order.

    Args:
        block: samples.
        where: file and name.
        first: index of its first sample.

    Raises:
        UnreadableInput: an entry is NaN or infinite, or so large that its moments would be.
    """
    array = np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("="))
    good = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not good.all():
        raise UnreadableInput(
            f"{where}: sample {first + int(np.argmin(good))} has entries that are NaN or infinite; a similarity of "
            "such activations has no meaning, find out where they arise"
        )
    if array.dtype.itemsize > 4 and (large := max(array.max(), -array.min())) > LARGEST_MAGNITUDE:
        raise UnreadableInput(
            f"{where}: among samples {first} to {first + len(array) - 1} an entry is {large:.3g} in size, above "
            f"{LARGEST_MAGNITUDE:.0e}, and its fourth moment would overflow; divide the array by a constant first"
        )
    return array
