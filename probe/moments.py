"""Joint moments of two representations, accumulated while their samples stream by.

From the moments of the concatenated rows z = [x | y] every feature-space measure can be computed later, at a size that
does not grow with the number of samples. Moments of chunks and of tasks merge exactly: `a + b`, `pool([a, b, c])`.

Samples are centred *before* any product is formed, in float64, on the mean of a spread of rows that is within the cloud
of the samples; the sums are moved to the exact mean at the end, and sets of samples are merged by the update of Chan,
Golub and LeVeque (1983). No sum of squares about a far-away origin is ever taken, so an offset of 1e4 costs no digits.

What exact *debiased* CKA needs. With K = XXᵀ, L = YYᵀ of centred data, αᵢ = ‖xᵢ‖², βᵢ = ‖yᵢ‖² (the diagonals) and K̃, L̃
the matrices with their diagonals set to zero, Song et al. (2012, eq. 5) estimate HSIC without bias as

    n(n−3)·HSIC₁ = tr K̃L̃ + 1ᵀK̃1·1ᵀL̃1/((n−1)(n−2)) − 2·1ᵀK̃L̃1/(n−2).

HSIC₁ does not change under translation (a shift adds fᵢ + fⱼ to K̃ᵢⱼ, which U-centring removes), so the centred data may
be used, where K1 = L1 = 0. Hence K̃1 = −α, tr K̃L̃ = ‖XᵀY‖² − Σαᵢβᵢ and, collecting terms,

    n(n−3)·HSIC₁ = ‖XᵀY‖² − n/(n−2)·Σαᵢβᵢ + Σαᵢ·Σβᵢ/((n−1)(n−2)).

So three sums are new: Σα², Σαβ, Σβ² (`quartic`). They are closed under a change of centre together with the vectors
Σαᵢzᵢ and Σβᵢzᵢ (`cubic`): moving the data by f = [d | e] with D = ‖d‖², E = ‖e‖² makes αᵢ into αᵢ + 2d·xᵢ + D, so that

    Σα'β' = Σαβ + 2e·Σαy + 2d·Σβx + 4dᵀ(XᵀY)e + E·Σα + D·Σβ + nDE,
    Σα'z' = Σαz + 2(ZᵀX)d + f·(Σα + nD).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from metaprobe.probe.paired import matched_pair
from metaprobe.probe.sums import centred_sums

__all__ = ["JointMoments", "MomentAccumulator", "at_their_mean", "moments_of", "moved_sums", "pool"]


@dataclasses.dataclass(frozen=True, eq=False)
class JointMoments:
    """Moments of paired samples z = [x | y], x with p = `split` features and y with q, about their mean.

    Attributes:
        n: number of samples.
        split: number of features of x, 1 ≤ split < p + q.
        mean: mean of z, (p+q,), in the units of the features.
        scatter: Σ(z−mean)(z−mean)ᵀ, (p+q, p+q).
        cubic: Σ‖x̃‖²z̃ and Σ‖ỹ‖²z̃ of the centred samples, (2, p+q).
        quartic: Σ‖x̃‖⁴, Σ‖x̃‖²‖ỹ‖², Σ‖ỹ‖⁴ of the centred samples, (3,).
        largest: largest |z| of each column, uncentred, (p+q,); tells rounding noise from spread.
        eps: machine epsilon of the type in which x and y were stored.

    Raises:
        ValueError: shapes that do not belong together, or entries that are not finite.
    """

    n: int
    split: int
    mean: Float[np.ndarray, " column"]
    scatter: Float[np.ndarray, "column column"]
    cubic: Float[np.ndarray, "2 column"]
    quartic: Float[np.ndarray, " 3"]
    largest: Float[np.ndarray, " column"]
    eps: tuple[float, float]

    def __post_init__(self) -> None:
        width = self.mean.shape[0] if self.mean.ndim == 1 else 0
        if self.n < 1 or not 1 <= self.split < width:
            raise ValueError(
                f"joint moments: need n ≥ 1 and 1 ≤ split < columns, got n={self.n}, split={self.split} and a mean of "
                f"shape {self.mean.shape}"
            )
        shapes = {"scatter": (width, width), "cubic": (2, width), "quartic": (3,), "largest": (width,)}
        for name, expected in shapes.items():
            if getattr(self, name).shape != expected:
                raise ValueError(f"joint moments: {name} has shape {getattr(self, name).shape}, expected {expected}")
        for name in ("mean", *shapes):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"joint moments: {name} holds NaN or infinite entries; accumulate finite samples only")

    @property
    def columns(self) -> tuple[int, int]:
        """Numbers of features of x and of y."""
        return self.split, self.mean.shape[0] - self.split

    def __add__(self, other: JointMoments) -> JointMoments:
        """Return the moments of both sets of samples together, as if they had been accumulated as one.

        Raises:
            ValueError: the two do not have the same numbers of features.
        """
        if self.columns != other.columns:
            raise ValueError(f"cannot pool moments of {self.columns} features with moments of {other.columns} features")
        n = self.n + other.n
        step = other.mean - self.mean
        mean = self.mean + step * (other.n / n)
        a = moved_sums(self, step * (-other.n / n))
        b = moved_sums(other, step * (self.n / n))
        return JointMoments(
            n=n,
            split=self.split,
            mean=mean,
            scatter=a[0] + b[0],
            cubic=a[1] + b[1],
            quartic=a[2] + b[2],
            largest=np.maximum(self.largest, other.largest),
            eps=(max(self.eps[0], other.eps[0]), max(self.eps[1], other.eps[1])),
        )


class MomentAccumulator:
    """Joint moments of samples that arrive in chunks, in any split; memory does not grow with their number.

    Example:
        >>> accumulator = MomentAccumulator()
        >>> accumulator.add(np.ones((3, 2)), np.eye(3))
        >>> accumulator.result().n
        3
    """

    def __init__(self) -> None:
        self._moments: JointMoments | None = None

    def add(self, x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> None:
        """Take in the samples of a chunk; a chunk of no samples changes nothing.

        Args:
            x: samples by features, float16, float32 or float64.
            y: the same samples by other features.

        Raises:
            ValueError: not floating matrices of equally many rows, NaN or infinite entries, magnitudes above 1e70, or
                another number of features than before. Nothing of such a chunk is taken in.
        """
        x, y = matched_pair(x, y)
        if len(x) == 0:
            return
        chunk = moments_of(x, y)
        self._moments = chunk if self._moments is None else self._moments + chunk

    @property
    def n(self) -> int:
        """Number of samples taken in so far."""
        return 0 if self._moments is None else self._moments.n

    def result(self) -> JointMoments:
        """Return the moments of all samples taken in so far.

        Raises:
            ValueError: no sample has been added.
        """
        if self._moments is None:
            raise ValueError("joint moments: no sample was added before result() was called")
        return self._moments


def moments_of(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> JointMoments:
    """Return the joint moments of paired samples that are at hand (errors as `MomentAccumulator.add`)."""
    x, y = matched_pair(x, y)
    if len(x) == 0:
        raise ValueError("joint moments: expected at least one sample, got none")
    sums = centred_sums(x, y)
    about = JointMoments(
        n=len(x),
        split=x.shape[1],
        mean=sums.centre,
        scatter=sums.scatter,
        cubic=sums.cubic,
        quartic=sums.quartic,
        largest=sums.largest,
        eps=(float(np.finfo(x.dtype).eps), float(np.finfo(y.dtype).eps)),
    )
    return at_their_mean(about, sums.total / len(x))


def pool(parts: Iterable[JointMoments]) -> JointMoments:
    """Return the moments of all parts together, exactly as if their samples had been accumulated as one set.

    Args:
        parts: moments with the same features, such as those of one layer over tasks.

    Raises:
        ValueError: there are no parts, or their features differ.
    """
    total: JointMoments | None = None
    for part in parts:
        total = part if total is None else total + part
    if total is None:
        raise ValueError("cannot pool joint moments: expected at least one part, got none")
    return total


def at_their_mean(about: JointMoments, offset: np.ndarray) -> JointMoments:
    """Return the moments about the mean, from sums about a centre that the mean is `offset` away from.

    `about.mean` is that centre. The sums about it are what `moved_sums` makes of those about the mean, solved for
    these.
    """
    n, p = about.n, about.split
    scatter = about.scatter - n * np.outer(offset, offset)
    cubic = about.cubic - _cubic_change(n, p, scatter, offset)
    quartic = about.quartic - _quartic_change(n, p, scatter, cubic, offset)
    return dataclasses.replace(about, mean=about.mean + offset, scatter=scatter, cubic=cubic, quartic=quartic)


def moved_sums(moments: JointMoments, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scatter, cubic and quartic of the centred samples moved by `shift` (formulas at the top of the file)."""
    n, p, scatter = moments.n, moments.split, moments.scatter
    cubic = moments.cubic + _cubic_change(n, p, scatter, shift)
    quartic = moments.quartic + _quartic_change(n, p, scatter, moments.cubic, shift)
    return scatter + n * np.outer(shift, shift), cubic, quartic


def _cubic_change(n: int, p: int, scatter: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return Σα'z' − Σαz and Σβ'z' − Σβz."""
    change = []
    for side in (slice(0, p), slice(p, None)):
        weight = np.trace(scatter[side, side]) + n * (shift[side] @ shift[side])
        change.append(2 * scatter[:, side] @ shift[side] + weight * shift)
    return np.stack(change)


def _quartic_change(n: int, p: int, scatter: np.ndarray, cubic: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return Σα'α' − Σαα, Σα'β' − Σαβ and Σβ'β' − Σββ."""
    sides = (slice(0, p), slice(p, None))
    moved = [shift[side] @ shift[side] for side in sides]  # D and E
    traces = [np.trace(scatter[side, side]) for side in sides]  # Σα and Σβ
    along = [[vector[side] @ shift[side] for side in sides] for vector in cubic]

    def fourth(i: int, j: int) -> float:
        crossed = shift[sides[i]] @ scatter[sides[i], sides[j]] @ shift[sides[j]]
        lower = 2 * along[i][j] + 2 * along[j][i] + 4 * crossed
        return float(lower + moved[j] * traces[i] + moved[i] * traces[j] + n * moved[i] * moved[j])

    return np.array([fourth(0, 0), fourth(0, 1), fourth(1, 1)])
