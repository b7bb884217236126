"""One representation, reduced to the little that similarity measures read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import scipy.linalg
from jaxtyping import Float

__all__ = ["CONDITION", "EPS", "Side", "singular_values", "svd"]

EPS = float(np.finfo(np.float64).eps)
CONDITION = 1e4  # κ² up to which forming products costs float64 data nothing that shows (2e-12)


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """One representation: its live columns after an orthogonal change of the sample axis.

    Attributes:
        samples: number of samples.
        columns: number of features, dead ones included.
        eps: machine epsilon of the stored type.
        unit: the live columns, centred and scaled to unit length, (row, live).
        norms: their lengths before that, up to one power of two for the whole side, (live,).
        noise: largest variance that rounding in storage can have caused, relative to each column's, (live,).
        height: rows that there were before the change of axis, where it took any away.
    """

    samples: int
    columns: int
    eps: float
    unit: Float[np.ndarray, "row live"]
    norms: Float[np.ndarray, " live"]
    noise: Float[np.ndarray, " live"]
    height: int = 0

    @property
    def live(self) -> int:
        """Number of columns that are not constant within rounding."""
        return self.unit.shape[1]

    @functools.cached_property
    def raw(self) -> Float[np.ndarray, "row live"]:
        """The live columns, centred, on their own scale up to one power of two for the whole side."""
        return self.unit * self.norms

    @functools.cached_property
    def narrow(self) -> Float[np.ndarray, "row least"]:
        """A matrix with the same X̃X̃ᵀ as `raw` and no more columns than rows: `raw` itself, or a rotation of it."""
        raw = self.raw
        return raw if raw.shape[1] <= len(raw) else np.asarray(np.linalg.qr(raw.T, mode="r")).T

    @functools.cached_property
    def scatter(self) -> Float[np.ndarray, "least least"]:
        """X̃ᵀX̃ of `narrow`."""
        return self.narrow.T @ self.narrow

    @functools.cached_property
    def basis(self) -> Float[np.ndarray, "row rank"]:
        """Orthonormal basis of the live columns: principal directions of their correlations that are not rounding.

        A direction with correlation eigenvalue λ is kept when λ/λ₁ > max(d·eps, eps_store²), and when λ exceeds what
        rounding of its columns in storage can have caused (under an offset of 1e4, float32 makes spreads of 1e-3 that
        eps_store² alone would take for real). At most n−1 are kept: centred samples have no more.
        """
        tall = len(self.unit) >= self.live
        found = None
        if tall and not _is_skewed(products := self.unit.T @ self.unit):
            found = _by_products(self.unit, products, len)
        u, spread, v = _by_rotations(self.unit) if found is None else found
        floor = spread[0] * max(max(*self.unit.shape, self.height) * EPS, self.eps**2)
        real = (spread > floor) & (spread > self.noise @ v**2)
        real[self.samples - 1 :] = False
        return u if real.all() else u[:, real]

    @property
    def rank(self) -> int:
        """Number of directions that are not rounding; 0 when every column is dead."""
        return self.basis.shape[1] if self.live else 0

    @functools.cached_property
    def loadings(self) -> Float[np.ndarray, "rank live"]:
        """Uᵀ`raw`, U being the basis: how much of each feature lies along each direction."""
        return self.basis.T @ self.raw

    @functools.cached_property
    def _led(self) -> dict[float, np.ndarray]:
        return {}

    def leading(self, share: float) -> Float[np.ndarray, "row kept"]:
        """Return the fewest raw-scale principal directions that hold `share` of the variance, orthonormal."""
        if share not in self._led:
            self._led[share] = self._leading(share)
        return self._led[share]

    def _leading(self, share: float) -> np.ndarray:
        def count(spread: np.ndarray) -> int:
            held = np.cumsum(spread) / np.sum(spread)
            return min(int(np.searchsorted(held, share)) + 1, self.rank)

        if found := _by_products(self.narrow, self.scatter, count):
            return found[0]
        u, spread, _ = _by_rotations(self.narrow)
        return u[:, : count(spread)]


_Directions = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Left singular vectors of a matrix, its squared singular values, largest first, and its right singular vectors."""


def svd(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the thin singular value decomposition (u, s, vᵀ) of a matrix.

    LAPACK's divide and conquer does not converge on every finite matrix; where it does not, its QR iteration, slower
    and as exact, decomposes it.
    """
    try:
        u, s, vt = np.linalg.svd(a, full_matrices=False)
    except np.linalg.LinAlgError:
        u, s, vt = scipy.linalg.svd(a, full_matrices=False, lapack_driver="gesvd")
    return u, s, vt


def singular_values(a: np.ndarray) -> np.ndarray:
    """Return the singular values of a matrix, largest first; see `svd`."""
    try:
        return np.linalg.svd(a, compute_uv=False)
    except np.linalg.LinAlgError:
        return svd(a)[1]


def _by_rotations(a: np.ndarray) -> _Directions:
    u, s, vt = svd(a)
    return u, s**2, vt.T


def _by_products(a: np.ndarray, products: np.ndarray, count: Callable[[np.ndarray], int]) -> _Directions | None:
    """Return the first directions of a tall A from AᵀA, at half the cost; or None where that would cost digits.

    Args:
        a: (row, column).
        products: AᵀA.
        count: how many directions are wanted, from the squared singular values.
    """
    if len(a) < a.shape[1]:
        return None
    values, vectors = np.linalg.eigh(products)
    kept = slice(0, count(values[::-1]))
    spread, v = values[::-1][kept], vectors[:, ::-1][:, kept]
    return (a @ (v / np.sqrt(spread)), spread, v) if spread[0] < CONDITION * spread[-1] else None


def _is_skewed(products: np.ndarray) -> bool:
    """Tell, for a tenth of the cost of eigenvalues, whether a matrix is surely as badly conditioned as `CONDITION`.

    Power iterations on it and on its inverse bound the largest eigenvalue from below and the smallest from above.
    """
    try:
        factor = scipy.linalg.cho_factor(products, check_finite=False)
    except np.linalg.LinAlgError:
        return True
    along = across = np.cos(np.arange(len(products)))
    for _ in range(4):
        along = products @ (along / np.linalg.norm(along))
        across = scipy.linalg.cho_solve(factor, across / np.linalg.norm(across), check_finite=False)
    return bool(np.linalg.norm(along) * np.linalg.norm(across) > CONDITION)
