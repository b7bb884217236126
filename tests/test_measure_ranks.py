"""Which directions of a representation count as real, and which as rounding."""

from __future__ import annotations

import numpy as np
import pytest

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.side import Side
from metaprobe.probe.moments import moments_of

EPS64 = float(np.finfo(np.float64).eps)


def side(eigenvalues: list[float], *, eps: float = EPS64, noise: float = 0.0, samples: int = 100) -> Side:
    """Return a side whose factor has these squared singular values, along orthogonal columns."""
    size = len(eigenvalues)
    return Side(samples, size, eps, np.diag(np.sqrt(eigenvalues)), np.ones(size), np.full(size, noise))


@pytest.mark.parametrize(
    ("eps", "noise", "floor"),
    [(EPS64, 0.0, 4 * EPS64), (2.0**-23, 0.0, 2.0**-46), (2.0**-10, 0.0, 2.0**-20), (2.0**-23, 1e-6, 1e-6)],
    ids=["float64: d·eps", "float32: eps²", "float16: eps²", "rounding under an offset"],
)
def test_a_direction_counts_from_its_floor_on(eps: float, noise: float, floor: float) -> None:
    assert side([1, 0.5, 0.1, 1.01 * floor], eps=eps, noise=noise).rank == 4
    assert side([1, 0.5, 0.1, 0.99 * floor], eps=eps, noise=noise).rank == 3


def test_noise_counts_along_the_direction_that_it_is_in() -> None:
    quiet = Side(100, 2, EPS64, np.diag([1.0, 1e-3]), np.ones(2), np.array([1e-2, 0.0]))
    loud = Side(100, 2, EPS64, np.diag([1.0, 1e-3]), np.ones(2), np.array([0.0, 1e-2]))
    assert (quiet.rank, loud.rank) == (2, 1)


def test_centred_samples_have_no_more_directions_than_one_less_than_their_number() -> None:
    assert side([1, 1, 1, 1], samples=3).rank == 2
    for n in range(2, 7):
        x = np.random.default_rng(n).normal(size=(n, 9))
        for pair in (Pair.of_arrays(x, x[:, :2]), Pair.of_moments(moments_of(x, x[:, :2]))):
            assert (pair.x.rank, pair.y.rank) == (n - 1, min(n - 1, 2))


def test_a_basis_is_orthonormal_and_spans_the_live_columns() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 6)) * 10.0 ** np.arange(-3, 3)
    pair = Pair.of_arrays(np.hstack([x, np.ones((200, 1))]), x)
    basis, unit = pair.x.basis, pair.x.unit
    assert basis.shape[1] == 4 and pair.x.live == 6
    assert np.allclose(basis.T @ basis, np.eye(4), atol=1e-12)
    assert np.allclose(basis @ (basis.T @ unit), unit, atol=1e-12) and np.allclose(np.sum(unit**2, axis=0), 1)
