"""Measures beyond the default ones: names that are one number, what few samples do, ties, dead features."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import scipy.linalg

from metaprobe import analyses
from metaprobe.analyses.measures.measure import ALIASES, DEFAULTS, MEASURES
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.per_task import mean_over_tasks
from metaprobe.analyses.similarity import measures_named
from metaprobe.probe.moments import moments_of
from tests.reference_measures import REFERENCES, centred
from tests.test_mean_over_tasks import task
from tests.test_measures import related

OF_IMAGES = [name for name, measure in MEASURES.items() if measure.needs == "images" and not name.startswith("rsa")]
DISTANCES = [name for name, measure in MEASURES.items() if not measure.higher_is_more_similar]


def test_what_is_measured_by_default_is_as_ever():
    names = ["mean_cca", "svcca", "pwcca", "linear_cka", "debiased_cka", "procrustes"]
    assert [measure.name for measure in DEFAULTS] == names
    assert all(measure.needs == "moments" and measure.higher_is_more_similar for measure in DEFAULTS)
    assert DISTANCES == ["angular_cka", "angular_procrustes", "gulp"]


def test_other_names_are_of_the_same_number():
    x, y = related(80, 6, 4)
    k, m = centred(x) @ centred(x).T, centred(y) @ centred(y).T
    rv = np.trace(k @ m) / math.sqrt(np.trace(k @ k) * np.trace(m @ m))  # Robert and Escoufier (1976)
    root = scipy.linalg.sqrtm(k + 1e-9 * np.eye(80)).real
    fidelity = np.sqrt(np.linalg.eigvalsh(root @ m @ root).clip(0)).sum()  # tr (K^½MK^½)^½
    bures = fidelity / math.sqrt(np.trace(k) * np.trace(m))
    named = {alias: measures_named([alias])[0] for alias in ALIASES}
    assert named["rv"].function(x, y).value == pytest.approx(rv, abs=1e-12)
    assert named["bures"].function(x, y).value == pytest.approx(bures, abs=1e-5)
    assert named["shape_metric"].function(x, y).value == pytest.approx(math.acos(bures), abs=1e-4)
    assert named["rv"].name == "linear_cka" and named["bures"].name == "procrustes"


def test_of_equally_many_features_both_matchings_are_one():
    for p, q, equal in ((7, 7, True), (7, 5, False), (9, 3, False)):
        x, y = related(90, p, q)
        soft, hard = analyses.soft_matching(x, y).value, analyses.permutation_matching(x, y).value
        assert soft is not None and hard is not None
        assert (soft == hard) == equal and soft <= hard + 1e-12


def test_matching_finds_permuted_features_and_does_not_see_a_rotation():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    rotated = x @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    for name in ("permutation_matching", "soft_matching"):
        assert MEASURES[name].function(x, 3 * x[:, rng.permutation(6)] + 1).value == pytest.approx(1, abs=1e-12)
        assert MEASURES[name].function(x, rotated).value < 0.9
    doubled = np.repeat(x, 2, axis=1)
    assert analyses.soft_matching(x, doubled).value == pytest.approx(1, abs=1e-12)
    too_wide = Pair.of_arrays(rng.normal(size=(5, 2100)), rng.normal(size=(5, 2000)))
    assert "2,100 × 2,000 features are more pairs than 4,000,000" in MEASURES["soft_matching"].apply(too_wide).reason


@pytest.mark.parametrize("shape", [(200, 61, 64), (90, 12, 35), (400, 64, 5)])
def test_soft_matching_of_numbers_without_a_common_divisor_is_exact(shape):
    x, y = related(*shape)
    assert analyses.soft_matching(x, y).value == pytest.approx(REFERENCES["soft_matching"](x, y), abs=1e-12)


def test_a_regression_of_few_samples_is_undefined_and_says_how_many_are_needed():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 20)), rng.normal(size=(60, 3))
    orders = [REFERENCES["r2_y_from_x"](x, y[rng.permutation(60)]) for _ in range(400)]
    assert np.mean(orders) == pytest.approx(20 / 59, abs=0.01)
    assert "let 20 directions explain 0.34 of the variance" in analyses.r2_y_from_x(x, y).remark
    assert analyses.r2_x_from_y(x, y).remark == ""
    few = analyses.r2_y_from_x(x[:40], y[:40])
    assert few.value is None and few.reason.endswith("at least 41 samples are needed")
    assert analyses.r2_y_from_x(x[:41], y[:41]).value is not None
    assert analyses.r2_x_from_y(x[:40], y[:40]).value is not None


@pytest.mark.parametrize("name", ["gulp", "distance_correlation", "rbf_cka", "mutual_knn"])
def test_few_samples_are_remarked_upon_by_what_any_order_gives(name):
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 40)), rng.normal(size=(30, 40))
    told = float(
        MEASURES[name]
        .function(x, y)
        .remark.replace("share ", "give ")
        .replace("be ", "give ")
        .split("give ")[1]
        .split()[0]
    )
    orders = [rng.permutation(30) for _ in range(400)]
    if name == "gulp":
        hats = []
        for side in (x, y):
            unit = centred(side) / np.linalg.norm(centred(side))
            hats.append(unit @ np.linalg.solve(unit.T @ unit + 0.01 * np.eye(40), unit.T))
        norms = np.linalg.norm(hats[0]) * np.linalg.norm(hats[1])
        assert REFERENCES["gulp"](x, y) == pytest.approx(np.linalg.norm(hats[0] - hats[1]), abs=1e-9)
        given = [np.sum(hats[0] * hats[1][np.ix_(order, order)]) / norms for order in orders]
        assert told == pytest.approx(np.mean(given), abs=0.01)
    else:
        given = np.array([REFERENCES[name](x, y[order]) for order in orders])
        mean = np.sqrt(np.mean(given**2)) if name == "distance_correlation" else np.mean(given)
        assert told == pytest.approx(mean, abs=0.01)
    x, y = rng.normal(size=(400, 4)), rng.normal(size=(400, 4))
    assert MEASURES[name].function(x, y).remark == ""


@pytest.mark.parametrize("name", ["debiased_distance_correlation", "debiased_rbf_cka"])
def test_debiased_ones_are_nought_of_what_is_independent(name):
    values, biased = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(25, 64)), rng.normal(size=(25, 64))
        values.append(MEASURES[name].function(x, y).value)
        biased.append(MEASURES[name.removeprefix("debiased_")].function(x, y).value)
    assert abs(np.mean(values)) < 0.03 and min(values) < 0
    assert np.mean(biased) > 0.7


def test_distance_correlation_sees_what_no_line_does():
    x = np.random.default_rng(0).normal(size=(2000, 1))
    assert analyses.linear_cka(x, x**2).value < 0.01
    assert analyses.debiased_distance_correlation(x, x**2).value > 0.15


def test_an_angle_has_the_remark_of_its_cosine_and_is_undefined_with_it():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 64)), rng.normal(size=(25, 64))
    angle, cosine = analyses.angular_cka(x, y), analyses.linear_cka(x, y)
    assert angle.remark == f"of its cosine, linear_cka: {cosine.remark}" and cosine.remark
    assert analyses.angular_procrustes(np.ones((9, 2)), np.eye(9)).value is None


def test_gulp_takes_a_ridge():
    x, y = related(200, 8, 5)
    for ridge in (1e-3, 1.0):
        assert analyses.gulp(x, y, ridge).value == pytest.approx(REFERENCES["gulp"](x, y, ridge), abs=1e-9)
    with pytest.raises(ValueError, match=r"gulp: the ridge must be above 0, got 0"):
        analyses.gulp(x, y, 0)


def test_neighbours_that_are_equally_near_have_a_share_each():
    rng = np.random.default_rng(4)
    corners = rng.normal(size=(3, 5))
    x, y = np.repeat(corners, 20, axis=0), rng.normal(size=(60, 4))  # 19 images at distance 0 of each
    order = rng.permutation(60)
    mean = np.mean([_with_ties_broken(x, y, seed) for seed in range(200)])
    assert analyses.mutual_knn(x, y).value == pytest.approx(mean, abs=0.01)
    assert analyses.mutual_knn(x, x).value == pytest.approx(1)  # however its ties are broken, for both sides alike
    for one, other in ((x, y), (x, x)):
        for name in ("mutual_knn", "cknna"):
            measure = MEASURES[name]
            before, after = measure.function(one, other), measure.function(one[order] * 0.3, other[order])
            assert after.value == pytest.approx(before.value, abs=1e-12)
    assert analyses.cknna(x, x).value == pytest.approx(1)


def _with_ties_broken(x, y, seed):
    return REFERENCES["mutual_knn"](x + 1e-6 * np.random.default_rng(seed).normal(size=x.shape), y)


@pytest.mark.parametrize("name", OF_IMAGES)
def test_measures_of_images_say_what_they_cannot_be_taken_of(name):
    x, y = related(60, 5, 4)
    measure = MEASURES[name]
    assert "their moments do not tell it" in measure.from_moments(moments_of(x, y)).reason
    narrow = dataclasses.replace(measure, maximum_samples=59).function(x, y)
    assert narrow.reason == f"60 samples have 1.8e+03 pairs, {name} takes at most 59 samples"
    assert measure.maximum_samples == 10_000
    jitter = np.random.default_rng(0).integers(-2, 3, (60, 1))
    dead = (1e8 + 8 * jitter).astype(np.float32)  # rounding, and far more of it than x spreads
    x = x.astype(np.float32)
    result = measure.function(np.hstack([dead, x]), y)
    assert result.dead == (1, 0) and result.value == pytest.approx(measure.function(x, y).value, abs=1e-12)


def test_images_that_coincide_leave_no_width_and_those_equally_apart_no_structure():
    y = related(40, 5, 4)[1]
    spike = np.zeros((40, 2))
    spike[:2] = [[1.0, 0], [0, 1.0]]
    assert "more than half of the pairs of images coincide in x" in analyses.rbf_cka(spike, y).reason
    assert analyses.debiased_distance_correlation(spike, y).value is not None
    for name in ("debiased_distance_correlation", "debiased_rbf_cka"):
        assert "all pairs of images are equally far apart in x" in MEASURES[name].function(np.eye(40), y).reason
    assert analyses.distance_correlation(np.eye(40), y).value is not None


def test_a_distance_is_calibrated_towards_nought():
    rng = np.random.default_rng(5)
    pairs = [task(x, x + 0.3 * rng.normal(size=x.shape)) for x in (rng.normal(size=(75, 5)) for _ in range(6))]
    measures = measures_named([*DISTANCES, "linear_cka"])
    found = mean_over_tasks(pairs, measures, tasks=6, replicates=45, permutations=12, seed=[0]).found
    for name in DISTANCES:
        one = found[name]
        assert one.null.mean > one.value > 0
        assert one.calibrated.value == pytest.approx(1 - one.value / one.null.mean)
        assert 0.3 < one.calibrated.value < 1
    same = [task(x, x) for x in (rng.normal(size=(75, 5)) for _ in range(3))]
    alike = mean_over_tasks(same, measures, tasks=3, replicates=0, permutations=12, seed=[0]).found
    assert all(one.calibrated.value == pytest.approx(1, abs=1e-7) for one in alike.values())


def test_a_null_without_room_says_on_which_side():
    flat = dataclasses.replace(MEASURES["gulp"], compute=lambda pair: pair.defined(0.01))
    pairs = [task(*related(75, 3, 4, seed)) for seed in range(3)]
    found = mean_over_tasks(pairs, [flat], tasks=3, replicates=0, permutations=12, seed=[0]).found["gulp"]
    assert found.calibrated.reason == "the null, 0.010, leaves no room above the smallest value, 0"
