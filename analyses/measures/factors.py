"""Factors of one representation or of two: fewer rows with the same products, and how exact each way to them is."""

from __future__ import annotations

import contextlib
import dataclasses

import numpy as np
import scipy.linalg

from metaprobe.analyses.measures.side import CONDITION, EPS, Side

__all__ = ["by_gram", "factor_of", "root_of", "rotated"]

_ROWS = 1024  # rows a QR step: they stay in the cache
_CONDITION_OF_CROSS = 1e8  # κ² of UᵀV up to which its smallest singular value has 8 digits by its square
_ORTHONORMAL = 1e-13  # what products of a frame's columns may miss


def rotated(side: Side) -> tuple[Side, np.ndarray | None]:
    """Return a tall side with no more rows than columns, and the frame that carries these to the samples.

    Cholesky's factor of the products, taken twice, is as good as Householder's R up to κ² = 1/eps (Yamamoto et al.
    2015) and costs a third.
    """
    if len(side.unit) <= side.live or not side.live:
        return side, None
    frame, factor = side.unit, np.eye(side.live)
    with contextlib.suppress(np.linalg.LinAlgError):  # of a matrix that is singular within rounding
        for _ in range(2):
            one = np.linalg.cholesky(frame.T @ frame)
            frame = scipy.linalg.solve_triangular(one, frame.T, lower=True, check_finite=False).T
            factor = one.T @ factor
    if np.abs(frame.T @ frame - np.eye(side.live)).max() > _ORTHONORMAL:
        frame, factor = np.linalg.qr(side.unit)
    return dataclasses.replace(side, unit=factor, height=len(side.unit)), np.ascontiguousarray(frame)


def factor_of(z: np.ndarray, cut: int, eps: float) -> np.ndarray:
    """Return F with FᵀF = ZᵀZ for unit columns, by the cheaper way that keeps the digits of data stored to `eps`."""
    if len(z) <= z.shape[1]:
        return z
    correlation = z.T @ z
    if eps > EPS or all(_well_conditioned(block) for block in (correlation[:cut, :cut], correlation[cut:, cut:])):
        return root_of(correlation)
    r = z[:0]
    for start in range(0, len(z), _ROWS):
        r = np.asarray(np.linalg.qr(np.concatenate([r, z[start : start + _ROWS]]), mode="r"))
    return r


def _well_conditioned(correlation: np.ndarray) -> bool:
    values = np.linalg.eigvalsh(correlation)
    return not values.size or bool(values[-1] < CONDITION * values[0])


def root_of(correlation: np.ndarray) -> np.ndarray:
    """Return F with FᵀF = the correlation matrix; eigenvalues that rounding made negative count as zero.

    Where Cholesky's factor exists it is as exact as the symmetric root, and costs a tenth.
    """
    if not correlation.size:
        return correlation
    with contextlib.suppress(np.linalg.LinAlgError):  # of a matrix that is singular within rounding
        return np.ascontiguousarray(np.linalg.cholesky(correlation).T)
    values, vectors = scipy.linalg.eigh(correlation, driver="evd")
    return np.sqrt(values.clip(min=0.0))[:, None] * vectors.T


def by_gram(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return A's singular vectors and values from AAᵀ, at half the cost; or None where that would cost digits."""
    if len(a) > a.shape[1]:
        found = by_gram(a.T)
        return None if found is None else (found[2].T, found[1], found[0].T)
    squares, left = np.linalg.eigh(a @ a.T)
    if not squares.size or not squares[0] * _CONDITION_OF_CROSS > squares[-1]:
        return None
    squares, left = squares[::-1], left[:, ::-1]
    values = np.sqrt(squares)
    return left, values, (left.T @ a) / values[:, None]
