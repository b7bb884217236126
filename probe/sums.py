"""Sums of the products of paired samples, a block of rows at a time: what `probe.moments` spends its time on.

Rows come in float32 as a rule, sums are in float64. Each block is converted, centred and summed while it lies in a
core's cache, so that the activations are read once; no float64 copy of all is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from metaprobe.probe.paired import refuse_unfinite

__all__ = ["LARGEST_MAGNITUDE", "Sums", "centred_sums"]

LARGEST_MAGNITUDE = 1e70  # its fourth power, summed, still fits a float64; every float32 is far below
_FOLD = 16  # rows that passes over short rows take as one
_BLOCK = 1 << 17  # numbers of [x|y] that a block of rows holds, about
_LEAST_ROWS = 240  # of a block, however wide
_UNPACKED = 1_000_000  # multiplications up to which OpenBLAS multiplies at once, without a copy of its operands
_SPREAD = 256  # most rows whose mean is the centre


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over samples z = [x | y] about a centre near their mean, with α = ‖x−c‖² and β = ‖y−d‖², [c | d] the centre.

    Attributes:
        centre: (p+q,), in the units of the features.
        total: Σ(z−centre), (p+q,).
        scatter: Σ(z−centre)(z−centre)ᵀ, (p+q, p+q).
        cubic: Σα(z−centre) and Σβ(z−centre), (2, p+q).
        quartic: Σα², Σαβ, Σβ², (3,).
        largest: largest |z| of each column, uncentred, (p+q,).
    """

    centre: Float[np.ndarray, " column"]
    total: Float[np.ndarray, " column"]
    scatter: Float[np.ndarray, "column column"]
    cubic: Float[np.ndarray, "2 column"]
    quartic: Float[np.ndarray, " 3"]
    largest: Float[np.ndarray, " column"]


def centred_sums(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Sums:
    """Return the sums of at least one sample; the memory that it takes does not grow with their number.

    Args:
        x: samples by features, as `matched_pair` returns them.
        y: the same samples by other features.

    Raises:
        ValueError: NaN or infinite entries, or magnitudes above 1e70.
    """
    from scipy.linalg.blas import get_blas_funcs  # slow to import, and those who only read a store do without

    gemm: Any = get_blas_funcs("gemm", dtype=np.float64)
    rows, part = _block_rows(x.shape[1], y.shape[1])
    sides = _Centred(x, "x", rows), _Centred(y, "y", rows)
    p, q = x.shape[1], y.shape[1]
    products = [np.zeros(shape, order="F") for shape in ((p, p), (p, q), (q, q))]  # X̃ᵀX̃, X̃ᵀỸ, ỸᵀỸ
    weighted = [np.zeros((3, p)), np.zeros((3, q))]  # of either side: its rows' sum, weighed by 1, α and β
    quartic = np.zeros((2, 2))
    weights = np.ones((3, min(rows, len(x))))
    for start in range(0, len(x), rows):
        a, b = (side.block(start, start + rows) for side in sides)
        w = weights[:, : len(a)]
        np.einsum("ij,ij->i", a, a, out=w[1])
        np.einsum("ij,ij->i", b, b, out=w[2])
        for first in range(0, len(a), part):
            at, bt = a[first : first + part].T, b[first : first + part].T
            for product, left, right in zip(products, (at, at, bt), (at, bt, bt), strict=True):
                gemm(1.0, left, right, beta=1.0, c=product, trans_b=True, overwrite_c=True)
        weighted[0] += w @ a
        weighted[1] += w @ b
        quartic += w[1:] @ w[1:].T
    xx, xy, yy = products
    total, *cubic = np.concatenate(weighted, axis=1)
    return Sums(
        centre=np.concatenate([side.centre for side in sides]),
        total=total,
        scatter=np.block([[(xx + xx.T) / 2, xy], [xy.T, (yy + yy.T) / 2]]),
        cubic=np.stack(cubic),
        quartic=quartic[[0, 0, 1], [0, 1, 1]],
        largest=np.concatenate([side.largest for side in sides]),
    )


def _block_rows(p: int, q: int) -> tuple[int, int]:
    """Return the rows of a block, and those of a product: a part of the block where products so small are faster."""
    rows = max(_LEAST_ROWS, _BLOCK // (p + q) // _FOLD * _FOLD)
    part = _UNPACKED // max(p, q) ** 2 // _FOLD * _FOLD
    return (rows // part * part, part) if _LEAST_ROWS <= part <= rows else (rows, rows)


class _Centred:
    """One side of the samples in float64, a block of rows at a time, less the mean of a spread of its rows."""

    def __init__(self, array: np.ndarray, name: str, rows: int) -> None:
        self._array, self._name = array, name
        spread = array[:: -(-len(array) // _SPREAD)].astype(np.float64)
        with np.errstate(all="ignore"):  # what is not finite is refused when its block comes
            self.centre = spread[0] + (spread - spread[0]).mean(axis=0)  # of a constant column exactly that constant
        self.largest = np.zeros(array.shape[1])
        self._centres = np.tile(self.centre, (_FOLD, 1))
        self._buffer = np.empty((min(rows, len(array)), array.shape[1]))

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return these rows, centred, in a buffer that the next call overwrites, and note their largest magnitudes."""
        taken = self._array[start:stop]
        block = self._buffer[: len(taken)]
        np.copyto(block, taken)
        whole = len(taken) // _FOLD * _FOLD
        # numpy starts a loop for each row, which costs more than a few dozen numbers do: 16 rows are made one.
        for rows, fold in ((slice(0, whole), _FOLD), (slice(whole, None), 1)):
            if len(block[rows]):
                self._note(taken[rows], fold)
                folded = block[rows].reshape(-1, fold * block.shape[1])
                folded -= self._centres[:fold].ravel()
        return block

    def _note(self, taken: np.ndarray, fold: int) -> None:
        folded = taken.reshape(-1, fold * taken.shape[1])
        largest = np.maximum(folded.max(axis=0), -folded.min(axis=0)).reshape(fold, -1).max(axis=0)
        np.maximum(self.largest, largest, out=self.largest)
        if float(self.largest.max()) <= LARGEST_MAGNITUDE:  # not so for NaN
            return
        refuse_unfinite(self._array, self._name)
        raise ValueError(
            f"column {int(self.largest.argmax())} of {self._name} reaches {self.largest.max():.3g}, above "
            f"{LARGEST_MAGNITUDE:.0e}: its fourth moment would overflow; divide the activations by a constant first"
        )
