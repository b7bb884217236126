"""How the weights of each layer are distributed: histograms, in two passes over a file of any size. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from metaprobe.probe.inspection.inspect import Inspection, TensorReport
from metaprobe.probe.inspection.numbers import decode
from metaprobe.probe.inspection.tensor_files import open_tensors

__all__ = ["Distribution", "distributions"]

_BINS = (8, 60)  # of a histogram, fewest and most; between them as many as Rice's rule says, 2 ∛n
_SPREAD = 4.0  # standard deviations to either side of the mean that it reaches

_FARTHEST = 1e300  # so that the width of all bins is a number


@dataclass(frozen=True)
class Distribution:
    """The histogram of the weights of a layer.

    Attributes:
        layer: its name.
        tensors: those that it is of: with two axes or more; of a layer without such, all of its parameters.
        edges: of the bins, ascending.
        counts: how many weights in each. beyond: how many finite ones in none of them.
    """

    layer: str
    tensors: tuple[str, ...]
    edges: Float64[np.ndarray, " bin+1"]
    counts: Int64[np.ndarray, " bin"]
    beyond: int

    @property
    def density(self) -> Float64[np.ndarray, " bin"]:
        """The share of the weights in each bin, over its width."""
        return self.counts / ((self.counts.sum() + self.beyond) * np.diff(self.edges))


def distributions(inspection: Inspection, key: str | None = None) -> tuple[Distribution, ...]:
    """Return the histogram of the weights of each layer, from its least to its largest, at most 4 deviations each way.

    Args:
        inspection: with statistics; its tensors are what is taken.
        key: as `inspect_file` was given.

    Raises:
        UnreadableInput: the file cannot be read again.
    """
    layers: dict[str, list[TensorReport]] = {}
    for report in inspection.tensors:
        found = report.statistics
        if report.info.parameters and found is not None and found.minimum is not None:  # real, and some of it finite
            layers.setdefault(report.info.layer, []).append(report)
    chosen = {layer: [one for one in own if len(one.info.shape) > 1] or own for layer, own in layers.items()}
    edges = {layer: _edges(own) for layer, own in chosen.items()}
    counts = {layer: np.zeros(len(own) - 1, np.int64) for layer, own in edges.items()}
    finite = dict.fromkeys(chosen, 0)
    with open_tensors(inspection.path, key) as file:
        for layer, own in chosen.items():
            for dtype, piece in ((one.info.dtype, piece) for one in own for piece in file.pieces(one.info)):
                values = decode(piece, dtype)
                assert values is not None  # there are statistics
                values = values[np.isfinite(values)]
                finite[layer] += values.size
                counts[layer] += np.histogram(values, edges[layer])[0]
    return tuple(
        Distribution(layer, tuple(one.info.name for one in own), edges[layer], counts[layer],
                     finite[layer] - int(counts[layer].sum()))
        for layer, own in chosen.items()
    )  # fmt: skip


def _edges(reports: Sequence[TensorReport]) -> Float64[np.ndarray, " bin+1"]:
    known = [(one.statistics, one.info.parameters) for one in reports if one.statistics is not None]
    counts = [size - found.nan - found.inf for found, size in known]
    total = sum(counts)
    mean = sum((found.mean or 0.0) * (n / total) for (found, _), n in zip(known, counts, strict=True))
    size = math.hypot(*((found.norm or 0.0) / math.sqrt(total) for found, _ in known))
    reach = _SPREAD * math.sqrt(max(0.0, size - abs(mean))) * math.sqrt(size + abs(mean))  # whose squares may overflow
    low = max(min(float(found.minimum or 0.0) for found, _ in known), mean - reach, -_FARTHEST)
    high = min(max(float(found.maximum or 0.0) for found, _ in known), mean + reach, _FARTHEST)
    if not high - low > 1e-12 * max(abs(low), abs(high)):  # all are one number
        low, high = low - 0.5 * (abs(low) or 1.0), low + 0.5 * (abs(low) or 1.0)
    return np.linspace(low, high, int(np.clip(2 * np.cbrt(total), *_BINS)) + 1)
