"""One representation, reduced to the little that similarity measures read."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

__all__ = ["Side"]

EPS = float(np.finfo(np.float64).eps)


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
    """

    samples: int
    columns: int
    eps: float
    unit: Float[np.ndarray, "row live"]
    norms: Float[np.ndarray, " live"]
    noise: Float[np.ndarray, " live"]

    @property
    def live(self) -> int:
        """Number of columns that are not constant within rounding."""
        return self.unit.shape[1]

    @functools.cached_property
    def raw(self) -> Float[np.ndarray, "row live"]:
        """The live columns, centred, on their own scale up to one power of two for the whole side."""
        return self.unit * self.norms

    @functools.cached_property
    def gram(self) -> Float[np.ndarray, "row row"]:
        """X̃X̃ᵀ on the changed sample axis, scale as `raw`."""
        return self.raw @ self.raw.T

    @functools.cached_property
    def basis(self) -> Float[np.ndarray, "row rank"]:
        """Orthonormal basis of the live columns: principal directions of their correlations that are not rounding.

        A direction with correlation eigenvalue λ is kept when λ/λ₁ > max(d·eps, eps_store²), and when λ exceeds what
        rounding of its columns in storage can have caused (under an offset of 1e4, float32 makes spreads of 1e-3 that
        eps_store² alone would take for real). At most n−1 are kept: centred samples have no more.
        """
        u, s, vt = np.linalg.svd(self.unit, full_matrices=False)
        spread = s**2
        floor = spread[0] * max(max(self.unit.shape) * EPS, self.eps**2)
        real = (spread > floor) & (spread > vt**2 @ self.noise)
        real[self.samples - 1 :] = False
        return u[:, real]

    @property
    def rank(self) -> int:
        """Number of directions that are not rounding; 0 when every column is dead."""
        return self.basis.shape[1] if self.live else 0

    def leading(self, share: float) -> Float[np.ndarray, "row kept"]:
        """Return the fewest raw-scale principal directions that hold `share` of the variance, orthonormal."""
        u, s, _ = np.linalg.svd(self.raw, full_matrices=False)
        held = np.cumsum(s**2) / np.sum(s**2)
        return u[:, : min(int(np.searchsorted(held, share)) + 1, self.rank)]
