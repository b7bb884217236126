"""Measures on input that breaks careless ones: dead, duplicate, tiny, huge, offset, scaled, deficient, wide, short."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from metaprobe.analyses import MEASURES, Measure, Similarity, mean_cca, pwcca, svcca
from metaprobe.analyses.measures.side import singular_values, svd
from metaprobe.probe.moments import moments_of
from tests.reference_measures import REFERENCES
from tests.test_measures import related

FORCED_WHEN_FEW = ("mean_cca", "svcca", "pwcca", "r2_y_from_x", "r2_x_from_y")
Route = Callable[[Measure, np.ndarray, np.ndarray], Similarity]


def from_arrays(measure: Measure, x: np.ndarray, y: np.ndarray) -> Similarity:
    return measure.function(x, y)


def from_moments(measure: Measure, x: np.ndarray, y: np.ndarray) -> Similarity:
    return measure.from_moments(moments_of(x, y))


ROUTES = pytest.mark.parametrize("route", [from_arrays, from_moments])
ANY = pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
OF_MOMENTS = {name: measure for name, measure in MEASURES.items() if measure.needs == "moments"}
EVERY = pytest.mark.parametrize("measure", OF_MOMENTS.values(), ids=OF_MOMENTS)


@ROUTES
@EVERY
@pytest.mark.parametrize("scales", [(1e-22, 1e-22), (1e18, 1e18), (1e-22, 1e18), (1e30, 1e-30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_magnitude_does_not_matter(route: Route, measure: Measure, scales: tuple[float, float], dtype: type) -> None:
    x, y = (values.astype(dtype) for values in related(300, 8, 6))
    expected = measure.function(x, y)
    result = route(measure, (x * dtype(scales[0])).astype(dtype), (y * dtype(scales[1])).astype(dtype))
    assert result.ranks == (8, 6)
    assert result.value == pytest.approx(expected.value, abs=1e-9 if dtype is np.float64 else 1e-6)


@ANY
@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_arrays_may_be_of_any_magnitude_at_all(measure: Measure, scale: float) -> None:
    x, y = related(300, 8, 6)
    assert measure.function(x * scale, y).value == pytest.approx(measure.function(x, y).value, abs=1e-9)


@ROUTES
@EVERY
@pytest.mark.parametrize("constant", [0.0, 0.1, -1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_columns_change_nothing(route: Route, measure: Measure, constant: float, dtype: type) -> None:
    x, y = (values.astype(dtype) for values in related(300, 8, 6))
    expected = measure.function(x, y).value
    dead = np.full((300, 1), constant, dtype)
    for a, b, count in ((np.hstack([dead, x, dead]), y, (2, 0)), (x, np.hstack([y, dead]), (0, 1))):
        result = route(measure, a, b)
        assert result.value == pytest.approx(expected, abs=1e-9)
        assert result.ranks == (8, 6) and result.dead == count


@EVERY
def test_a_column_that_only_jitters_by_rounding_is_dead(measure: Measure) -> None:
    x, y = (values.astype(np.float32) for values in related(300, 8, 6))
    steps = np.random.default_rng(0).integers(-2, 3, 300)
    ulp = np.spacing(np.float32(1e6))
    jitter, real = ((1e6 + size * ulp * steps).astype(np.float32)[:, None] for size in (1, 100))
    result = measure.function(np.hstack([x, jitter]), y)
    assert result.dead == (1, 0) and result.ranks == (8, 6)
    assert result.value == pytest.approx(measure.function(x, y).value, abs=1e-12)
    assert measure.function(np.hstack([x, real]), y).dead == (0, 0)


def test_streamed_fourth_moments_refuse_dead_columns_that_show() -> None:
    x, y = (values.astype(np.float32) for values in related(300, 8, 6))
    jitter = (np.float32(1e8) + 8 * np.random.default_rng(0).integers(-2, 3, (300, 1))).astype(np.float32)
    moments = moments_of(np.hstack([x, jitter]), y)
    result = MEASURES["debiased_cka"].from_moments(moments)
    assert result.value is None and "rounding in dead columns makes 8.9e-01 of the variance of x" in result.reason
    assert MEASURES["linear_cka"].from_moments(moments).value == pytest.approx(
        MEASURES["linear_cka"].function(x, y).value, abs=1e-9
    )


@ROUTES
@EVERY
@pytest.mark.parametrize("value", [0.0, 0.3, 1e18])
def test_a_dead_layer_has_no_similarity(route: Route, measure: Measure, value: float) -> None:
    x, y = related(300, 8, 6)
    dead = np.full((300, 4), value, np.float32)
    for a, b, name, ranks in ((dead, y, "x", (0, 6)), (x, dead, "y", (8, 0)), (dead, dead, "x", (0, 0))):
        result = route(measure, a, b)
        assert result.value is None and result.status == "undefined" and result.ranks == ranks
        assert f"all 4 features of {name} are constant" in result.reason


@ROUTES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicate_columns_add_no_rank(route: Route, dtype: type) -> None:
    x, y = (values.astype(dtype) for values in related(300, 8, 6))
    double = np.hstack([x, x[:, :3], 2 * x[:, 3:4]])
    result = route(MEASURES["mean_cca"], double, y)
    assert result.ranks == (8, 6) and result.value == pytest.approx(mean_cca(x, y).value, abs=1e-9)
    for name in ("linear_cka", "debiased_cka", "procrustes"):
        expected = REFERENCES[name](double.astype(np.float64), y.astype(np.float64))
        assert route(MEASURES[name], double, y).value == pytest.approx(expected, abs=1e-9)


@ROUTES
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [200, 30_000])
def test_rank_deficiency_is_seen_through_rounding(route: Route, offset: float, dtype: type, n: int) -> None:
    rng = np.random.default_rng(3)
    z, y = related(n, 5, 6)
    x = (z @ rng.normal(size=(5, 20)) + offset).astype(dtype)
    result = route(MEASURES["mean_cca"], x, y.astype(dtype))
    assert result.ranks == (5, 6)
    tolerance = {(np.float64, 0.0): 1e-9, (np.float32, 0.0): 1e-5}.get((dtype, offset), 1e-3)
    assert result.value == pytest.approx(mean_cca(z, y).value, abs=tolerance)


@ROUTES
@EVERY
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_offset_costs_only_what_storing_it_cost(route: Route, measure: Measure, dtype: type) -> None:
    x, y = related(300, 8, 6)
    a, b = (x + 1e4).astype(dtype), (y - 1e4).astype(dtype)
    result = route(measure, a, b)
    stored = REFERENCES[measure.name](*(values.astype(np.float64) - shift for values, shift in ((a, 1e4), (b, -1e4))))
    assert result.value == pytest.approx(stored, abs=1e-9)
    assert result.value == pytest.approx(measure.function(x, y).value, abs=1e-9 if dtype is np.float64 else 1e-4)


@ROUTES
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_column_scales_matter_where_they_should(route: Route, dtype: type) -> None:
    x, y = related(300, 8, 6)
    factors = 10.0 ** np.array([-6, 6, 0, -6, 6, 3, -3, 0])
    scaled = (x * factors).astype(dtype)
    tolerance = 1e-9 if dtype is np.float64 else 1e-6
    result = route(MEASURES["mean_cca"], scaled, y.astype(dtype))
    assert result.ranks == (8, 6) and result.value == pytest.approx(mean_cca(x, y).value, abs=tolerance)
    assert result.dead == (0, 0)
    for name in ("svcca", "linear_cka", "debiased_cka", "procrustes"):
        expected = REFERENCES[name](scaled.astype(np.float64), y)
        assert route(MEASURES[name], scaled, y.astype(dtype)).value == pytest.approx(expected, abs=tolerance)


@ROUTES
@pytest.mark.parametrize(("n", "p", "q"), [(20, 30, 25), (20, 19, 4), (25, 64, 64), (10, 300, 3), (21, 20, 20)])
def test_forced_correlations_make_cca_undefined(route: Route, n: int, p: int, q: int) -> None:
    x, y = related(n, p, q)
    ranks = min(n - 1, p), min(n - 1, q)
    forced = sum(ranks) - (n - 1)
    for name in ("mean_cca", "pwcca"):
        result = route(MEASURES[name], x, y)
        assert result.value is None and result.ranks == ranks and result.forced == forced
        assert f"{forced} of {min(ranks)} canonical correlations are forced to 1: n={n} samples" in result.reason
        assert f"ranks {ranks[0]} and {ranks[1]}" in result.reason


def test_the_number_of_samples_that_the_reason_asks_for_is_enough_and_needed() -> None:
    x, y = related(200, 10, 7)
    needed = int(mean_cca(x[:12], y[:12]).reason.split("at least ")[1].split()[0])
    assert mean_cca(x[: needed - 1], y[: needed - 1]).value is None
    enough = mean_cca(x[:needed], y[:needed])
    assert enough.status == "ok" and enough.forced == 3 and enough.correlations[:3] == pytest.approx([1, 1, 1])


@ROUTES
@pytest.mark.parametrize("name", ["linear_cka", "debiased_cka", "procrustes"])
@pytest.mark.parametrize(("n", "p", "q"), [(20, 30, 25), (20, 300, 3), (4, 7, 7)])
def test_wide_input_agrees_with_the_reference(route: Route, name: str, n: int, p: int, q: int) -> None:
    x, y = related(n, p, q)
    assert route(MEASURES[name], x, y).value == pytest.approx(REFERENCES[name](x, y), abs=1e-9)


def test_wide_input_of_low_rank_still_has_correlations() -> None:
    rng = np.random.default_rng(4)
    z, y = related(60, 5, 4)
    x = z @ rng.normal(size=(5, 500))
    assert mean_cca(x, y).ranks == (5, 4)
    assert mean_cca(x, y).value == pytest.approx(mean_cca(z, y).value, abs=1e-9)
    assert svcca(x, y).value is not None and pwcca(x, y).value is not None


def test_ill_conditioned_arrays_are_exact_to_their_precision() -> None:
    rng = np.random.default_rng(5)
    z, y = related(2000, 10, 8)
    left, right = (np.linalg.qr(rng.normal(size=(10, 10)))[0] for _ in range(2))
    expected = mean_cca(z, y).value
    for kappa, arrays, moments in ((1e2, 1e-12, 1e-10), (1e4, 1e-10, 1e-7), (1e6, 1e-8, 1e-3)):
        x = z @ left @ np.diag(np.geomspace(1, 1 / kappa, 10)) @ right
        assert mean_cca(x, y).value == pytest.approx(expected, abs=arrays)
        streamed = MEASURES["mean_cca"].from_moments(moments_of(x, y))
        assert streamed.ranks == (10, 8) and streamed.value == pytest.approx(expected, abs=moments)
        stored = x.astype(np.float32), y.astype(np.float32)
        exact = mean_cca(*(values.astype(np.float64) for values in stored)).value
        assert mean_cca(*stored).value == pytest.approx(exact, abs=moments)


@ANY
@pytest.mark.parametrize("n", [2, 3])
def test_too_few_samples_give_no_number(measure: Measure, n: int) -> None:
    x, y = related(n, 3, 4)
    result = measure.function(x, y)
    if n >= measure.minimum_samples and measure.name not in FORCED_WHEN_FEW:
        assert result.status == "ok"
    else:
        few = ("too few", "forced to 1", "samples in any order let")
        assert result.value is None and any(told in result.reason for told in few)


def test_debiased_cka_needs_structure_between_samples() -> None:
    spike = np.zeros((50, 3))
    spike[7, 1] = 1.0
    y = related(50, 3, 4)[1]
    for x in (spike, spike + 0.1, spike * 0.7 + [0.1, 0.3, 1e3]):
        result = MEASURES["debiased_cka"].function(x, y)
        assert result.value is None and "no similarity structure apart from single samples" in result.reason


@ANY
def test_what_is_not_a_pair_of_matrices_is_refused(measure: Measure) -> None:
    x, y = related(20, 3, 4)
    holed = x.copy()
    holed[4, 2] = np.nan
    holed[9, 0] = np.inf
    cases = [
        (x[0], y, r"x: expected a matrix \(samples, features\) with at least one feature, got shape \(3,\)"),
        (x, y[None], r"y: expected a matrix .* got shape \(1, 20, 4\)"),
        (x[:, :0], y, r"x: expected a matrix .* got shape \(20, 0\)"),
        (x, y[:19], r"got 20 rows in x \(20, 3\) and 19 in y \(19, 4\); is one of them transposed"),
        (holed, y, r"x: 2 of 60 entries are NaN or infinite, the first at row 4, column 2"),
        (x, (y * 10).astype(int), r"y: expected float16, float32 or float64, got int64"),
        (x.astype(complex), y, r"x: expected float16, float32 or float64, got complex128"),
        (x[:1], y[:1], r"needs at least two samples \(rows\), got 1"),
    ]
    for a, b, message in cases:
        with pytest.raises(ValueError, match=message):
            measure.function(a, b)


@ANY
def test_input_is_left_as_it_was(measure: Measure) -> None:
    x, y = related(100, 3, 4)
    before = x.copy(), y.copy()
    x.setflags(write=False)
    y.setflags(write=False)
    measure.function(x, y)
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


def test_what_divide_and_conquer_cannot_decompose_is_decomposed_all_the_same(monkeypatch):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(80, 6))
    y = x @ rng.normal(size=(6, 9)) + rng.normal(size=(80, 9))
    names = ("mean_cca", "svcca", "pwcca", "procrustes")
    before = {name: MEASURES[name].function(x, y).value for name in names}
    calls = []

    def fails(*_, **__):
        calls.append(1)
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(np.linalg, "svd", fails)
    after = {name: MEASURES[name].function(x, y).value for name in names}
    assert calls and after == pytest.approx(before, abs=1e-12)
    u, s, vt = svd(x)
    np.testing.assert_allclose(u * s @ vt, x, atol=1e-12)
    np.testing.assert_allclose(singular_values(x), s, atol=1e-12)
