"""Two representations reduced to what similarity measures read, from arrays or from joint moments alike.

Both ways end in one *factor* F = [A | B] of few rows with FᵀF = [X̃ | Ỹ]ᵀ[X̃ | Ỹ], the cross-products of the centred
data: an orthogonal change of the sample axis, which no measure here can see. Which column is dead is decided here,
which direction is real in `Side`; measures only read.

* Moments, and arrays as a rule: a root of the correlation matrix, accumulated in float64. Canonical
  correlations are then exact to about eps·κ², with κ the condition number of the columns scaled to unit length. For
  data stored as float32 that is less than their own rounding does, eps₆₄·κ² = (eps₃₂·κ)² < eps₃₂·κ.
* float64 arrays with κ² above 1e4 on a side, and arrays wider than long: the triangular factor of a QR decomposition,
  exact to about eps·κ, at three times the cost.

The matrices are small: callers that run many of these in parallel jobs should pin BLAS to one thread (threadpoolctl).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools

import numpy as np
import scipy.linalg
from jaxtyping import Float, Int

from analyses.measures.result import Similarity
from analyses.measures.side import CONDITION, EPS, Side
from probe.moments import JointMoments
from probe.paired import checked_pair

__all__ = ["Pair"]

_DEAD = 8  # a column is dead if its spread is within so many roundings of its largest magnitude
_ROWS = 1024  # rows a QR step: they stay in the cache
_DEAD_SHARE = 1e-10  # of the variance, above which dead columns would show in sums that cannot leave them out
_TINY = 1e-70  # fourth powers of less underflow


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two representations of the same samples, as every measure reads them.

    Attributes:
        n: number of samples.
        x: the first representation.
        y: the second; `x.unit` and `y.unit` share their row axis.
        quartic: Σ‖x̃‖⁴, Σ‖x̃‖²‖ỹ‖², Σ‖ỹ‖⁴ on the scales of `x.raw` and `y.raw`.
        quartic_flaw: why `quartic` cannot be used, or empty.
        rows: the arrays themselves, for measures that no moments tell; None where the pair is of moments.
    """

    n: int
    x: Side
    y: Side
    quartic: Float[np.ndarray, " 3"]
    quartic_flaw: str = ""
    rows: tuple[Float[np.ndarray, "sample feature"], Float[np.ndarray, "sample other"]] | None = None

    @classmethod
    def of_arrays(
        cls,
        x: Float[np.ndarray, "sample feature"],
        y: Float[np.ndarray, "sample other"],
        *,
        eps: tuple[float, float] | None = None,
        reduced: bool = True,
    ) -> Pair:
        """Reduce two arrays of the same samples; holds one float64 copy of both meanwhile.

        Args:
            x: samples by features.
            y: the same samples by other features.
            eps: machine epsilon of the types in which they were computed; None for that of the arrays.
            reduced: whether the sides may have fewer rows than there are samples; if not, they can be `exchanged`.

        Raises:
            ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
        """
        x, y = checked_pair(x, y)
        n, p = x.shape
        stored = eps or (float(np.finfo(x.dtype).eps), float(np.finfo(y.dtype).eps))
        z = np.concatenate([_balanced(x), _balanced(y)], axis=1)
        largest = np.maximum(z.max(axis=0), -z.min(axis=0))
        for _ in range(2):  # the second pass takes away the rounding of a mean that is far from zero
            z -= z.mean(axis=0)
        norms = np.sqrt(np.einsum("ij,ij->j", z, z))
        live, noise = _alive(n, norms, largest, np.repeat(stored, (p, y.shape[1])))
        z, cut = z[:, live], int(np.count_nonzero(live[:p]))
        squares = np.stack([np.einsum("ij,ij->i", side, side) for side in (z[:, :cut], z[:, cut:])])
        z /= norms[live]
        factor = _factor(z, cut, max(stored)) if reduced else z
        sides = _sides(n, factor, norms, noise, live, p, stored)
        return cls(n, *sides, quartic=(squares @ squares.T)[[0, 0, 1], [0, 1, 1]], rows=(x, y))

    @classmethod
    def of_moments(cls, moments: JointMoments) -> Pair:
        """Reduce joint moments, of any number of samples, chunks or tasks.

        Raises:
            ValueError: moments of fewer than two samples.
        """
        n, (p, q), largest = moments.n, moments.columns, moments.largest
        norms = np.sqrt(np.diag(moments.scatter).clip(min=0.0))
        live, noise = _alive(n, norms, largest, np.repeat(moments.eps, (p, q)))
        inverse = 1 / norms[live]
        factor = _root(moments.scatter[np.ix_(live, live)] * inverse[:, None] * inverse)
        left, right = _exponent(norms[:p]), _exponent(norms[p:])
        norms = np.ldexp(norms, -np.repeat([left, right], (p, q)))
        quartic = np.ldexp(moments.quartic, -2 * np.array([2 * left, left + right, 2 * right]))
        flaw = _flaw("x", norms[:p], live[:p], largest[:p]) or _flaw("y", norms[p:], live[p:], largest[p:])
        return cls(n, *_sides(n, factor, norms, noise, live, p, moments.eps), quartic, flaw)

    def exchanged(self, order: Int[np.ndarray, " sample"]) -> Pair:
        """Return the pair in which sample i of x stands beside sample order[i] of y.

        Whatever is of one side alone is kept. Only of a pair of arrays that was made without being reduced.
        """
        assert self.rows is not None and len(self.y.unit) == self.n
        y, quartic = self.y.reordered(order), self.quartic.copy()
        quartic[1] = self.x.squares @ y.squares
        return dataclasses.replace(self, y=y, quartic=quartic, rows=(self.rows[0], self.rows[1][order]))

    @functools.cached_property
    def canonical(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Singular vectors and values of UᵀV, U and V the bases of x and y: canonical directions and correlations."""
        left, correlations, right = np.linalg.svd(self.x.basis.T @ self.y.basis, full_matrices=False)
        return left, correlations, right

    @functools.cached_property
    def cross(self) -> Float[np.ndarray, "left right"]:
        """X̃ᵀỸ of the sides' `narrow` matrices; its singular values are those of the features' own."""
        return self.x.narrow.T @ self.y.narrow

    @functools.cached_property
    def alignments(self) -> Float[np.ndarray, " 3"]:
        """‖X̃ᵀX̃‖², ‖X̃ᵀỸ‖² and ‖ỸᵀỸ‖² in Frobenius norms, on the scales of `x.raw` and `y.raw`."""
        return np.array([np.vdot(product, product) for product in (self.x.scatter, self.cross, self.y.scatter)])

    def defined(self, value: float) -> Similarity:
        """Return `value` as this pair's similarity."""
        return Similarity(float(value), "ok", "", self.n, (self.x.rank, self.y.rank), self._dead)

    def undefined(self, reason: str) -> Similarity:
        """Return a similarity without a value, and why."""
        return Similarity(None, "undefined", reason, self.n, (self.x.rank, self.y.rank), self._dead)

    @property
    def _dead(self) -> tuple[int, int]:
        return self.x.columns - self.x.live, self.y.columns - self.y.live


def _alive(n: int, norms: np.ndarray, largest: np.ndarray, eps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which columns spread by more than rounding, and each column's rounding variance relative to its own."""
    if n < 2:
        raise ValueError(f"a similarity needs at least two samples (rows), got {n}")
    spread = norms / np.sqrt(n)
    live = spread > _DEAD * eps * largest
    noise = np.square(eps * largest / np.where(live, spread, 1.0))
    return live, noise


def _sides(
    n: int,
    factor: np.ndarray,
    norms: np.ndarray,
    noise: np.ndarray,
    live: np.ndarray,
    p: int,
    eps: tuple[float, float],
) -> tuple[Side, Side]:
    cut = int(np.count_nonzero(live[:p]))
    norms, noise = norms[live], noise[live]
    x = Side(n, p, eps[0], factor[:, :cut], norms[:cut], noise[:cut])
    return x, Side(n, len(live) - p, eps[1], factor[:, cut:], norms[cut:], noise[cut:])


def _factor(z: np.ndarray, cut: int, eps: float) -> np.ndarray:
    """Return F with FᵀF = ZᵀZ for unit columns, by the cheaper way that keeps the digits of data stored to `eps`."""
    if len(z) <= z.shape[1]:
        return z
    correlation = z.T @ z
    if eps > EPS or all(_well_conditioned(block) for block in (correlation[:cut, :cut], correlation[cut:, cut:])):
        return _root(correlation)
    r = z[:0]
    for start in range(0, len(z), _ROWS):
        r = np.asarray(np.linalg.qr(np.concatenate([r, z[start : start + _ROWS]]), mode="r"))
    return r


def _well_conditioned(correlation: np.ndarray) -> bool:
    values = np.linalg.eigvalsh(correlation)
    return not values.size or bool(values[-1] < CONDITION * values[0])


def _root(correlation: np.ndarray) -> np.ndarray:
    """Return F with FᵀF = the correlation matrix; eigenvalues that rounding made negative count as zero.

    Where Cholesky's factor exists it is as exact as the symmetric root, and costs a tenth.
    """
    if not correlation.size:
        return correlation
    with contextlib.suppress(np.linalg.LinAlgError):  # of a matrix that is singular within rounding
        return np.ascontiguousarray(np.linalg.cholesky(correlation).T)
    values, vectors = scipy.linalg.eigh(correlation, driver="evd")
    return np.sqrt(values.clip(min=0.0))[:, None] * vectors.T


def _balanced(array: np.ndarray) -> np.ndarray:
    """Return the array in float64, scaled by a power of two to at most 1: exact, and squares cannot overflow."""
    values = array.astype(np.float64)
    return np.ldexp(values, -_exponent(values))


def _exponent(values: np.ndarray) -> int:
    return int(np.frexp(np.abs(values).max())[1])


def _flaw(name: str, norms: np.ndarray, live: np.ndarray, largest: np.ndarray) -> str:
    """Say why a side's fourth moments cannot be used: they hold dead columns, which cannot be taken out afterwards."""
    total = float(np.sum(norms**2))
    share = float(np.sum(norms[~live] ** 2)) / total if total else 0.0
    if share > _DEAD_SHARE:
        return f"rounding in dead columns makes {share:.1e} of the variance of {name}; compute it from the arrays"
    if 0 < largest.max() < _TINY:
        return f"all magnitudes of {name} are below {_TINY:.0e}, their fourth moments underflow; scale the activations"
    return ""
