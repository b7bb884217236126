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

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.measures.factors import by_gram, factor_of, root_of, rotated
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.samples import Samples, balanced, exponent
from metaprobe.analyses.measures.side import Side, svd
from metaprobe.probe.moments import JointMoments
from metaprobe.probe.paired import checked_pair

__all__ = ["Pair"]

_DEAD = 8  # a column is dead if its spread is within so many roundings of its largest magnitude
_DEAD_SHARE = 1e-10  # of the variance, above which dead columns would show in sums that cannot leave them out
_TINY = 1e-70  # fourth powers of less underflow


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """Two representations of the same samples, as every measure reads them.

    Attributes:
        n: number of samples.
        x: the first representation.
        y: the second; `x.unit` and `y.unit` share their row axis, but where there are `frames`.
        quartic: Σ‖x̃‖⁴, Σ‖x̃‖²‖ỹ‖², Σ‖ỹ‖⁴ on the scales of `x.raw` and `y.raw`.
        quartic_flaw: why `quartic` cannot be used, or empty.
        samples: x and y themselves, for measures that no moments tell; None where the pair is of moments.
        order: the sample of y that stands beside each sample of x; None where they are in place.
        frames: orthonormal columns (sample, row) that carry the rows of each side to the samples, None where rows are
            the samples; of a pair that shares a row axis None for both.
        squares: squared length of every centred sample of x and of y; of a pair that can be exchanged.
    """

    n: int
    x: Side
    y: Side
    quartic: Float[np.ndarray, " 3"]
    quartic_flaw: str = ""
    samples: Samples | None = None
    order: Int[np.ndarray, " sample"] | None = None
    frames: tuple[Float[np.ndarray, "sample row"] | None, Float[np.ndarray, "sample row"] | None] = (None, None)
    squares: Float[np.ndarray, "2 sample"] | None = None

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
            reduced: whether the sides may share fewer rows than there are samples; if not, they can be `exchanged`.

        Raises:
            ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
        """
        x, y = checked_pair(x, y)
        n, p = x.shape
        stored = eps or (float(np.finfo(x.dtype).eps), float(np.finfo(y.dtype).eps))
        z = np.concatenate([balanced(x), balanced(y)], axis=1)
        largest = np.maximum(z.max(axis=0), -z.min(axis=0))
        for _ in range(2):  # the second pass takes away the rounding of a mean that is far from zero
            z -= z.mean(axis=0)
        norms = np.sqrt(np.einsum("ij,ij->j", z, z))
        live, noise = _alive(n, norms, largest, np.repeat(stored, (p, y.shape[1])))
        z, cut = z[:, live], int(np.count_nonzero(live[:p]))
        squares = np.stack([np.einsum("ij,ij->i", side, side) for side in (z[:, :cut], z[:, cut:])])
        z /= norms[live]
        quartic = (squares @ squares.T)[[0, 0, 1], [0, 1, 1]]
        samples = Samples(x, y, (live[:p], live[p:]))
        if reduced:
            sides = _sides(n, factor_of(z, cut, max(stored)), norms, noise, live, p, stored)
            return cls(n, *sides, quartic=quartic, samples=samples)
        one, two = (rotated(side) for side in _sides(n, z, norms, noise, live, p, stored))
        return cls(n, one[0], two[0], quartic, samples=samples, frames=(one[1], two[1]), squares=squares)

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
        factor = root_of(moments.scatter[np.ix_(live, live)] * inverse[:, None] * inverse)
        left, right = exponent(norms[:p]), exponent(norms[p:])
        norms = np.ldexp(norms, -np.repeat([left, right], (p, q)))
        quartic = np.ldexp(moments.quartic, -2 * np.array([2 * left, left + right, 2 * right]))
        flaw = _flaw("x", norms[:p], live[:p], largest[:p]) or _flaw("y", norms[p:], live[p:], largest[p:])
        return cls(n, *_sides(n, factor, norms, noise, live, p, moments.eps), quartic, flaw)

    def exchanged(self, order: Int[np.ndarray, " sample"]) -> Pair:
        """Return the pair in which sample i of x stands beside sample order[i] of y.

        Whatever is of one side alone is kept, so an order costs one product over the samples. Only of a pair of arrays
        that was made without being reduced.
        """
        assert self.squares is not None
        quartic = self.quartic.copy()
        quartic[1] = self.squares[0] @ self.squares[1][order]
        return dataclasses.replace(self, quartic=quartic, order=order)

    @functools.cached_property
    def distances(self) -> tuple[Float[np.ndarray, "sample sample"], Float[np.ndarray, "sample sample"]]:
        """Euclidean distances between samples of x and between those of y; only of a pair of arrays."""
        assert self.samples is not None
        x, y = self.samples.distances
        return x, y if self.order is None else y[np.ix_(self.order, self.order)]

    @functools.cached_property
    def joint(self) -> Float[np.ndarray, "rank other"]:
        """UᵀV, U and V the bases of x and y."""
        return self.product(self.x.basis, self.y.basis)

    @functools.cached_property
    def canonical(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Singular vectors and values of UᵀV: canonical directions and correlations."""
        if self.order is not None and (found := by_gram(self.joint)):
            return found
        return svd(self.joint)

    @functools.cached_property
    def cross(self) -> Float[np.ndarray, "left right"]:
        """X̃ᵀỸ of the sides' `narrow` matrices; its singular values are those of the features' own."""
        return self.product(self.x.narrow, self.y.narrow)

    def leading_cross(self, share: float) -> Float[np.ndarray, "left right"]:
        """Return the product of the sides' leading directions (`Side.leading`)."""
        return self.product(self.x.leading(share), self.y.leading(share))

    def product(self, left: Float[np.ndarray, "row a"], right: Float[np.ndarray, "row b"]) -> np.ndarray:
        """Return the product of what has the rows of x with what has those of y."""
        if self.frames[0] is None and self.frames[1] is None:
            return left.T @ self._ordered(right)
        return left.T @ self._between @ right

    @functools.cached_property
    def _between(self) -> Float[np.ndarray, "row other"]:
        """Return the product of the frames; it alone depends on the order, and alone is over the samples."""
        one, two = (np.eye(self.n) if frame is None else frame for frame in self.frames)
        return one.T @ self._ordered(two)

    def _ordered(self, samples: np.ndarray) -> np.ndarray:
        return samples if self.order is None else np.take(samples, self.order, axis=0, mode="clip")

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


def _flaw(name: str, norms: np.ndarray, live: np.ndarray, largest: np.ndarray) -> str:
    """Say why a side's fourth moments cannot be used: they hold dead columns, which cannot be taken out afterwards."""
    total = float(np.sum(norms**2))
    share = float(np.sum(norms[~live] ** 2)) / total if total else 0.0
    if share > _DEAD_SHARE:
        return f"rounding in dead columns makes {share:.1e} of the variance of {name}; compute it from the arrays"
    if 0 < largest.max() < _TINY:
        return f"all magnitudes of {name} are below {_TINY:.0e}, their fourth moments underflow; scale the activations"
    return ""
