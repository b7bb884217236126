"""How far two vectors are from each other, summed up piece by piece. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from metaprobe.probe.inspection.numbers import ScaledSum, scaled, times_power

__all__ = ["Distance", "DistanceSums", "largest_gap"]


@dataclass(frozen=True)
class Distance:
    """How far the values of B are from those of A, over the positions where both are finite.

    Attributes:
        max_abs: max |a - b|. l2: ‖a - b‖. relative: ‖a - b‖ / ‖a‖, None where A is all zero.
        cosine: a·b / (‖a‖ ‖b‖), None where either is all zero.
        left_out: positions where a value is NaN or infinite.
    """

    max_abs: float | int
    l2: float
    relative: float | None
    cosine: float | None
    left_out: int


class DistanceSums:
    """The sums that a distance is made of, for a tensor or a layer; `max_abs` may be set to an exact value."""

    def __init__(self) -> None:
        self.max_abs: float | int = 0
        self.count = self.left_out = 0
        self.difference, self.a, self.b, self.product = ScaledSum(), ScaledSum(), ScaledSum(), ScaledSum()

    def add(self, a: Float64[np.ndarray, " number"], b: Float64[np.ndarray, " number"]) -> None:
        """Add the next values of A and B."""
        finite = np.isfinite(a) & np.isfinite(b)
        self.count += a.size
        self.left_out += int(a.size - finite.sum())
        if not finite.all():
            a, b = a[finite], b[finite]
        pair, exponent = scaled(np.stack([a, b]))
        delta = pair[0] - pair[1]
        self.max_abs = max(self.max_abs, times_power(float(np.abs(delta).max(initial=0.0)), exponent))
        for total, left, right in (
            (self.difference, *[scaled(delta)] * 2),
            (self.a, *[scaled(pair[0])] * 2),
            (self.b, *[scaled(pair[1])] * 2),
            (self.product, scaled(pair[0]), scaled(pair[1])),
        ):
            total.add(float(left[0] @ right[0]), left[1] + right[1] + 2 * exponent)

    def add_sums(self, other: DistanceSums) -> None:
        """Add another tensor's sums."""
        self.max_abs = max(self.max_abs, other.max_abs)
        self.count += other.count
        self.left_out += other.left_out
        for name in ("difference", "a", "b", "product"):
            getattr(self, name).add_sum(getattr(other, name))

    def distance(self) -> Distance | None:
        """Return the distance, or None when there was no value."""
        if self.count == self.left_out:
            return None
        return Distance(
            max_abs=self.max_abs,
            l2=self.difference.root(),
            relative=self.difference.root_ratio(self.a) if self.a else None,
            cosine=self.product.cosine(self.a, self.b) if self.a and self.b else None,
            left_out=self.left_out,
        )


def largest_gap(a: memoryview, b: memoryview, dtype: str) -> int:
    """Return max |a - b| of whole numbers, exact also where float64 is not."""
    left, right = np.frombuffer(a, dtype), np.frombuffer(b, dtype)
    unsigned = dtype.replace("i", "u")  # a difference of two int64 needs 64 bits without a sign
    gaps = np.maximum(left, right).view(unsigned) - np.minimum(left, right).view(unsigned)
    return int(gaps.max(initial=0))
