"""What no machine or format can take, told in a sentence before anything is built. No torch."""

from __future__ import annotations

import itertools
import math
import os
import struct
from typing import TYPE_CHECKING

from metaprobe.trainers.errors import MetaprobeError, flag_of

if TYPE_CHECKING:
    from metaprobe.trainers.config import NetworkConfig
    from metaprobe.trainers.network_config import AnyNetwork

__all__ = ["MOST_STEPS", "MOST_TASKS", "bytes_of_tasks", "check_memory", "check_rate", "check_whole", "fits_float32"]
__all__ += ["parameters_of"]

MOST_TASKS = 1_000_000  # of a test, a capture or a search: a store's reader takes no more
MOST_STEPS = 100_000  # of an inner loop
_FLOAT = 4  # bytes of a number


def fits_float32(value: float) -> bool:
    """Return whether a number is above 0 and finite also as networks compute with it, in float32."""
    if not 0.0 < value < math.inf:
        return False
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0] > 0.0
    except OverflowError:
        return False


def check_whole(name: str, value: int | None, least: int, most: int | None = None) -> None:
    """Refuse an option that is no whole number in its limits, as a `MetaprobeError`; None is an option left out.

    Args:
        name: of the field.
        value: what was given.
        least: the smallest that it may be.
        most: the largest; below 2³¹ by default.
    """
    if value is not None and not least <= value <= (2**31 - 1 if most is None else most):
        limit = "below 2³¹" if most is None else f"at most {most:,}"
        raise MetaprobeError(f"{flag_of(name)} must be at least {least} and {limit}; got {value}")


def check_rate(name: str, value: float | None) -> None:
    """Refuse a rate that is not above 0 and finite, also in float32, as a `MetaprobeError`; None is one left out."""
    if value is not None and not fits_float32(value):
        more = " in float32" if 0 < value < math.inf else ""
        raise MetaprobeError(f"{flag_of(name)} must be above 0 and finite{more}; got {value}")


def parameters_of(shape: NetworkConfig) -> int:
    """Return how many numbers the weights of a network are, by its shape alone; what reads a map, those of a pixel."""
    filters, body = shape.filters, 0
    last = (*shape.linnet, shape.n_way)
    if shape.name == "mlp":
        last = (*[filters] * shape.blocks, *last)
    elif shape.blocks:
        affine = {"both": 2, "shift": 1, "none": 0}[shape.norm_affine]
        body = 9 * shape.channels * filters + (shape.blocks - 1) * 9 * filters**2 + affine * shape.blocks * filters
    first = filters if body else shape.channels * shape.image_size**2
    return body + sum((one + 1) * other for one, other in itertools.pairwise((first, *last)))


def bytes_of_tasks(shape: AnyNetwork, samples: int, tasks: int, at_once: int) -> int:
    """Return the memory that a batch of tasks needs at least: its images, and the maps after one convolution.

    Args:
        shape: of the network.
        samples: images of a class, support and query.
        tasks: in the batch, whose images are there together.
        at_once: of them, tasks that the network sees together.
    """
    images, pixels = shape.n_way * samples, tasks * shape.channels * shape.image_size**2
    filters, downsample = getattr(shape, "filters", 0), getattr(shape, "downsample", "")  # of a module nobody knows
    filters *= getattr(shape, "blocks", 0) > 0
    halved = shape.image_size // 2 if downsample == "stride" else shape.image_size
    return _FLOAT * images * (pixels + at_once * filters * halved**2)


def check_memory(need: int, advice: str, there: int | None = None) -> None:
    """Refuse what needs more memory than there is.

    Args:
        need: bytes.
        advice: what would need less, as the end of a sentence.
        there: bytes of the device's memory; None for this machine's.

    Raises:
        MetaprobeError: there is less.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if there is None else there
    if need > there:
        told = f"this needs at least {need / 1e9:,.1f} GB of memory, and there are {there / 1e9:,.1f} GB"
        raise MetaprobeError(f"{told}; {advice}")
