"""Tensor bytes as float64, sums that neither overflow nor underflow, and the statistics made of them. No torch.

The narrow formats: bfloat16 is the upper half of a float32; the 8-bit floats are those of arXiv:2209.05433 (E4M3,
E5M2), of arXiv:2206.02915 (their FNUZ forms) and of the OCP MX specification (E8M0).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["INTEGERS", "Accumulator", "ScaledSum", "Statistics", "decode", "scaled", "times_power"]

INTEGERS = {
    "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
}  # fmt: skip
"""The numpy dtype of every whole-number dtype."""

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<f4", "C128": "<f8", "BOOL": "<u1"}
_BYTE_FLOATS = {  # (exponent bits, bias, whether infinity exists, how NaN is written)
    "F8_E5M2": (5, 15, True, "ieee"),
    "F8_E4M3": (4, 7, False, "all ones"),
    "F8_E5M2FNUZ": (5, 16, False, "minus zero"),
    "F8_E4M3FNUZ": (4, 8, False, "minus zero"),
}


def decode(piece: memoryview | bytes, dtype: str) -> Float64[np.ndarray, " number"] | None:
    """Return little-endian bytes of a safetensors dtype as float64; a complex number is two of them, real part first.

    Every dtype but the 64-bit integers (beyond 2^53) is exact. None for a dtype without a decoder here (4 and 6 bits).
    """
    with np.errstate(invalid="ignore"):  # a signalling NaN may be in any file; it arrives as a NaN
        if known := _FLOATS.get(dtype) or INTEGERS.get(dtype):
            return np.frombuffer(piece, known).astype(np.float64)
        if dtype == "BF16":
            return (np.frombuffer(piece, "<u2").astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if dtype in _BYTE_FLOATS or dtype == "F8_E8M0":
        return _byte_values(dtype)[np.frombuffer(piece, np.uint8)]
    return None


@functools.cache
def _byte_values(dtype: str) -> Float64[np.ndarray, " 256"]:
    """Return the number that each of the 256 bytes means."""
    if dtype == "F8_E8M0":
        return np.array([2.0 ** (byte - 127) for byte in range(255)] + [math.nan])
    exponent_bits, bias, infinite, nan = _BYTE_FLOATS[dtype]
    mantissa_bits = 7 - exponent_bits
    values = np.empty(256)
    for byte in range(256):
        exponent, mantissa = (byte & 127) >> mantissa_bits, byte & ((1 << mantissa_bits) - 1)
        size = math.ldexp(mantissa + ((exponent > 0) << mantissa_bits), max(exponent, 1) - bias - mantissa_bits)
        if infinite and exponent == (1 << exponent_bits) - 1:
            size = math.nan if mantissa else math.inf
        if (nan == "all ones" and byte & 127 == 127) or (nan == "minus zero" and byte == 128):
            size = math.nan
        values[byte] = -size if byte & 128 else size
    return values


class ScaledSum:
    """A sum kept as mantissa · 2^exponent, so that squares of 1e-200 or 1e200 neither vanish nor overflow."""

    def __init__(self) -> None:
        self._mantissa, self._exponent = 0.0, 0

    def add(self, mantissa: float, exponent: int = 0) -> None:
        """Add mantissa · 2^exponent."""
        if mantissa == 0.0:
            return
        if self._mantissa == 0.0 or exponent > self._exponent:
            mantissa, self._mantissa = self._mantissa, mantissa
            exponent, self._exponent = self._exponent, exponent
        self._mantissa += math.ldexp(mantissa, exponent - self._exponent)

    def add_sum(self, other: ScaledSum) -> None:
        """Add another sum."""
        self.add(other._mantissa, other._exponent)

    def value(self, divisor: int = 1) -> float:
        """Return the sum over `divisor`; infinity where that is beyond float64."""
        return times_power(self._mantissa / divisor, self._exponent)

    def root(self) -> float:
        """Return the square root of a sum of squares."""
        odd = self._exponent % 2
        return times_power(math.sqrt(math.ldexp(self._mantissa, odd)), (self._exponent - odd) // 2)

    def root_ratio(self, other: ScaledSum) -> float:
        """Return sqrt(self / other), where both are sums of squares and `other` is not zero."""
        exponent = self._exponent - other._exponent
        odd = exponent % 2
        return times_power(math.sqrt(math.ldexp(self._mantissa / other._mantissa, odd)), (exponent - odd) // 2)

    def cosine(self, a: ScaledSum, b: ScaledSum) -> float:
        """Return self / sqrt(a · b), within [-1, 1], where `a` and `b` are sums of squares and not zero."""
        size = math.sqrt(a._mantissa) * math.sqrt(b._mantissa)
        exponent = 2 * self._exponent - a._exponent - b._exponent
        ratio = self._mantissa / size * math.sqrt(2.0 ** (exponent % 2))
        return min(1.0, max(-1.0, times_power(ratio, exponent // 2)))

    def __bool__(self) -> bool:
        return self._mantissa != 0.0


def scaled(values: Float64[np.ndarray, " number"]) -> tuple[Float64[np.ndarray, " number"], int]:
    """Return finite values as (mantissas, exponent), values = mantissas · 2^exponent, whose squares are safe to sum."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest == 0.0 or 1e-100 < largest < 1e100:
        return values, 0
    exponent = math.frexp(largest)[1]
    return np.ldexp(values, -exponent), exponent


def times_power(mantissa: float, exponent: int) -> float:
    """Return mantissa · 2^exponent, infinity where that is beyond float64."""
    try:
        return math.ldexp(mantissa, exponent)
    except OverflowError:
        return math.copysign(math.inf, mantissa)


@dataclass(frozen=True)
class Statistics:
    """What the values of a tensor are like; `norm`, `minimum`, `maximum` and `mean` are over its finite values.

    Attributes:
        norm: L2. minimum, maximum, mean: None when there is nothing to take them of (no finite value, complex numbers).
        nan, inf: how many values are NaN, and infinite. all_zero: whether there are values and each is 0.
        reason: why nothing was computed; "" where it was.
    """

    norm: float | None
    minimum: float | int | None
    maximum: float | int | None
    mean: float | None
    nan: int
    inf: int
    all_zero: bool
    reason: str = ""

    @property
    def computed(self) -> bool:
        """Whether the values could be read at all."""
        return not self.reason.startswith("not computed")


class Accumulator:
    """Takes a tensor piece by piece, in float64 (whole numbers keep an exact minimum and maximum)."""

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._count = self._finite = self._nan = self._inf = 0
        self._lowest: list[float | int] = []
        self._highest: list[float | int] = []
        self._sum, self.squares = ScaledSum(), ScaledSum()
        self._reason = ""

    def add(self, piece: memoryview | bytes) -> None:
        """Take the next bytes, a whole number of elements."""
        values = decode(piece, self._dtype)
        if values is None:
            self._reason = f"not computed: no decoder for {self._dtype}"
            return
        finite = np.isfinite(values)
        if not finite.all():
            pairs = values.reshape(-1, 2 if self._dtype.startswith("C") else 1)
            nan = np.isnan(pairs).any(axis=1)
            self._nan += int(nan.sum())
            self._inf += int((np.isinf(pairs).any(axis=1) & ~nan).sum())
            values = values[finite]
        self._count += finite.size
        self._finite += values.size
        if not values.size:
            return
        exact = np.frombuffer(piece, INTEGERS[self._dtype]) if self._dtype in INTEGERS else values
        self._lowest = [min([exact.min().item(), *self._lowest])]
        self._highest = [max([exact.max().item(), *self._highest])]
        mantissas, exponent = scaled(values)
        self._sum.add(float(mantissas.sum()), exponent)
        self.squares.add(float(mantissas @ mantissas), 2 * exponent)

    def result(self) -> Statistics:
        """Return the statistics of all pieces so far."""
        if self._reason:
            return Statistics(None, None, None, None, 0, 0, False, self._reason)
        ordered = bool(self._finite) and not self._dtype.startswith("C")
        return Statistics(
            norm=self.squares.root() if self._finite else None,
            minimum=self._lowest[0] if ordered else None,
            maximum=self._highest[0] if ordered else None,
            mean=self._sum.value(self._finite) if ordered else None,
            nan=self._nan,
            inf=self._inf,
            all_zero=bool(self._count) and self._finite == self._count and not self.squares,
            reason="" if self._count else "no values",
        )
