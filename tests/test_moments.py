"""Joint moments: exact in any split, exact when pooled, clear about what they cannot hold."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaprobe.analyses import debiased_cka
from metaprobe.analyses.measures.cka import DEBIASED_CKA
from metaprobe.probe.moments import JointMoments, MomentAccumulator, moments_of, pool
from tests.test_measures import related

FIELDS = ("mean", "scatter", "cubic", "quartic", "largest")


def direct(x: np.ndarray, y: np.ndarray) -> JointMoments:
    """Return the moments by their definition, in extended precision."""
    z = np.hstack([x, y]).astype(np.longdouble)
    mean = z.mean(axis=0)
    c = z - mean
    a, b = (c[:, : x.shape[1]] ** 2).sum(axis=1), (c[:, x.shape[1] :] ** 2).sum(axis=1)
    arrays = (mean, c.T @ c, np.stack([a @ c, b @ c]), np.stack([a @ a, a @ b, b @ b]), np.abs(z).max(axis=0))
    eps = float(np.finfo(x.dtype).eps), float(np.finfo(y.dtype).eps)
    return JointMoments(len(x), x.shape[1], *(values.astype(np.float64) for values in arrays), eps=eps)


def assert_same(got: JointMoments, expected: JointMoments, tolerance: float = 1e-12) -> None:
    """Hold every entry to a tolerance relative to what its columns' spread and offset would make of it."""
    assert (got.n, got.split, got.eps) == (expected.n, expected.split, expected.eps)
    spread = np.sqrt(np.diag(expected.scatter)) + 1e-300
    lengths = np.array([np.linalg.norm(spread[: got.split]), np.linalg.norm(spread[got.split :])])
    scales = {
        "mean": expected.largest,
        "scatter": np.outer(spread, spread),
        "cubic": np.outer(lengths**2, spread),
        "quartic": (lengths**2)[[0, 0, 1]] * (lengths**2)[[0, 1, 1]],
        "largest": expected.largest,
    }
    for name in FIELDS:
        error = np.abs(getattr(got, name) - getattr(expected, name)) / (scales[name] + 1e-300)
        assert error.max() < tolerance, f"{name} is off by {error.max():.2e}"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.lists(st.floats(0, 1), max_size=8),
    st.sampled_from([0.0, 1.0, 1e4]),
    st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_any_split_is_exact(seed: int, n: int, cuts: list[float], offset: float, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 4)) * [1, 10, 0.1, 0] + offset).astype(dtype)
    y = (rng.normal(size=(n, 3)) + x[:, :3] - offset).astype(dtype)
    accumulator = MomentAccumulator()
    edges = [0, *sorted(int(cut * n) for cut in cuts), n]
    for start, stop in itertools.pairwise(edges):
        accumulator.add(x[start:stop], y[start:stop])
    assert accumulator.n == n
    assert_same(accumulator.result(), direct(x, y), tolerance=1e-10)


def test_a_long_input_is_cut_into_blocks_without_a_trace() -> None:
    x, y = related(10_000, 5, 4)
    assert_same(moments_of(x, y), direct(x, y))


def test_tasks_with_other_means_and_scales_pool_exactly() -> None:
    rng = np.random.default_rng(0)
    tasks = []
    for task in range(12):
        x = rng.normal(size=(5 + task, 6)) * 10 ** rng.uniform(-2, 2) + 10 * rng.normal(size=6)
        tasks.append((x, x @ rng.normal(size=(6, 3)) + rng.normal(size=3)))
    x, y = (np.concatenate([task[side] for task in tasks]) for side in (0, 1))
    parts = [moments_of(*task) for task in tasks]
    assert_same(pool(parts), direct(x, y))
    assert_same(pool(parts[:4]) + pool(parts[4:]), direct(x, y))
    assert_same(pool(reversed(parts)), direct(x, y))
    result = DEBIASED_CKA.from_moments(pool(parts))
    assert result.value == pytest.approx(debiased_cka(x, y).value, abs=1e-9) and result.n == len(x)


def test_pooling_leaves_its_parts_alone() -> None:
    x, y = related(20, 3, 2)
    a, b = moments_of(x[:9], y[:9]), moments_of(x[9:], y[9:])
    before = [getattr(a, name).copy() for name in FIELDS]
    assert (a + b).n == 20
    assert all(np.array_equal(getattr(a, name), copy) for name, copy in zip(FIELDS, before, strict=True))


def test_precision_and_magnitude_of_the_coarsest_part_survive() -> None:
    x, y = related(20, 3, 2)
    total = moments_of(x, y.astype(np.float16)) + moments_of(100 * x.astype(np.float32), y)
    assert total.eps == (np.finfo(np.float32).eps, np.finfo(np.float16).eps)
    assert total.largest[:3] == pytest.approx(100 * np.abs(x).max(axis=0), rel=1e-6) and total.columns == (3, 2)


def test_one_sample_has_moments_of_zero() -> None:
    moments = moments_of(np.full((1, 2), 7.0), np.full((1, 1), -3.0))
    assert moments.n == 1 and moments.mean.tolist() == [7, 7, -3] and not moments.scatter.any()
    with pytest.raises(ValueError, match=r"needs at least two samples \(rows\), got 1"):
        DEBIASED_CKA.from_moments(moments)


def test_a_refused_chunk_leaves_the_accumulator_as_it_was() -> None:
    x, y = related(20, 3, 2)
    accumulator = MomentAccumulator()
    with pytest.raises(ValueError, match="no sample was added"):
        accumulator.result()
    accumulator.add(x, y)
    before = accumulator.result()
    holed = x.copy()
    holed[3, 1] = np.inf
    cases = [
        (holed, y, r"x: 1 of 60 entries are NaN or infinite, the first at row 3, column 1"),
        (x, y[:5], r"got 20 rows in x \(20, 3\) and 5 in y"),
        (x[:, :2], y, r"cannot pool moments of \(3, 2\) features with moments of \(2, 2\) features"),
        (x * 1e80, y, r"column \d of x reaches \d\.\d+e\+8\d, above 1e\+70"),
    ]
    for a, b, message in cases:
        with pytest.raises(ValueError, match=message):
            accumulator.add(a, b)
    accumulator.add(x[:0], y[:0])
    assert accumulator.result() is before


def test_nothing_cannot_be_pooled() -> None:
    with pytest.raises(ValueError, match="expected at least one part, got none"):
        pool([])
    with pytest.raises(ValueError, match="expected at least one sample, got none"):
        moments_of(np.empty((0, 2)), np.empty((0, 2)))


def test_moments_that_do_not_fit_together_are_refused() -> None:
    good = moments_of(*related(20, 3, 2))
    cases = [
        ({"n": 0}, r"need n ≥ 1 and 1 ≤ split < columns, got n=0"),
        ({"split": 5}, r"got n=20, split=5 and a mean of shape \(5,\)"),
        ({"scatter": np.zeros((4, 4))}, r"scatter has shape \(4, 4\), expected \(5, 5\)"),
        ({"cubic": np.zeros(5)}, r"cubic has shape \(5,\), expected \(2, 5\)"),
        ({"largest": np.full(5, np.nan)}, r"largest holds NaN or infinite entries"),
    ]
    for change, message in cases:
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(good, **change)


def test_streams_too_small_for_fourth_moments_say_so() -> None:
    x, y = related(50, 3, 2)
    result = DEBIASED_CKA.from_moments(moments_of(x * 1e-90, y))
    assert result.value is None and "all magnitudes of x are below 1e-70" in result.reason
    assert DEBIASED_CKA.function(x * 1e-90, y).value == pytest.approx(debiased_cka(x, y).value, abs=1e-12)
