"""Measures against independent references, their results, their registry and their nulls."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats

from metaprobe import analyses
from metaprobe.analyses import MEASURES, Measure, Similarity, shuffled_nulls
from metaprobe.analyses.measures import rsa
from metaprobe.analyses.measures.pair import Pair
from metaprobe.probe.moments import moments_of
from tests.reference_measures import REFERENCES, svcca

SHAPES = [(50, 3, 5), (200, 10, 10), (400, 20, 7), (900, 32, 32), (60, 1, 1), (90, 1, 12)]


def related(n: int, p: int, q: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two matrices of the same samples that share part of their variance, with unequal column scales."""
    rng = np.random.default_rng([seed, n, p, q])
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 2, p) + rng.normal(size=p)
    return x, 0.6 * x @ rng.normal(size=(p, q)) / np.sqrt(p) + rng.normal(size=(n, q)) * rng.uniform(0.5, 2, q)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", MEASURES)
def test_agrees_with_the_independent_reference(name: str, shape: tuple[int, int, int]) -> None:
    if min(shape[1:]) < MEASURES[name].minimum_features:
        return  # said in test_rsa_says_what_it_cannot_be_taken_of
    x, y = related(*shape)
    expected = REFERENCES[name](x, y)
    result = MEASURES[name].function(x, y)
    assert result.status == "ok" and result.ranks == shape[1:] and result.n == shape[0] and result.measure == name
    assert result.value == pytest.approx(expected, abs=1e-9)
    if MEASURES[name].needs == "moments":
        assert MEASURES[name].from_moments(moments_of(x, y)).value == pytest.approx(expected, abs=1e-9)
    low, high = MEASURES[name].range
    assert low <= expected <= high


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", MEASURES)
def test_stored_precision_is_read_without_further_loss(name: str, dtype: type) -> None:
    x, y = (values.astype(dtype) for values in related(300, 8, 6))
    expected = REFERENCES[name](x.astype(np.float64), y.astype(np.float64))
    assert MEASURES[name].function(x, y).value == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_identical_representations_are_wholly_similar(name: str) -> None:
    x, _ = related(300, 8, 6)
    measure = MEASURES[name]
    result = measure.function(x, x)
    assert measure.most_alike == (1 if measure.higher_is_more_similar else 0)
    # of a distance rounding is half the digits, whose square or cosine is exact
    rounding = 1e-12 if measure.higher_is_more_similar else 1e-6
    assert result.value == pytest.approx(measure.most_alike, abs=rounding) and result.value is not None
    assert measure.range[0] <= result.value <= measure.range[1]


def test_every_measure_has_a_function_of_its_name() -> None:
    x, y = related(100, 4, 3)
    assert set(MEASURES) == set(REFERENCES)
    for name, measure in MEASURES.items():
        assert measure.name == name and name in analyses.__all__
        assert getattr(analyses, name)(x, y) == measure.function(x, y)
        assert all(work.line and work.bibtex.startswith("@") for work in measure.works)


def test_svcca_keeps_the_asked_share_of_raw_variance() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 4)) * [10, 3, 1, 0.1]  # shares .908, .082, .009, 1e-4
    y = x + rng.normal(size=(500, 4))
    result = analyses.svcca(x, y)
    assert result.kept is not None and result.kept[0] in (2, 3) and result.ranks == (4, 4)
    for share, kept in ((0.5, 1), (0.95, 2), (1.0, 4)):
        result = analyses.svcca(x, x, variance=share)
        assert result.kept == (kept, kept)
    assert analyses.svcca(x, y, variance=0.95).value == pytest.approx(svcca(x, y, 0.95), abs=1e-9)
    with pytest.raises(ValueError, match=r"share of variance to keep must be above 0 and at most 1, got 99"):
        analyses.svcca(x, y, variance=99)


def test_pwcca_weighs_by_the_named_side() -> None:
    x, y = related(300, 8, 5)
    left, right = analyses.pwcca(x, y), analyses.pwcca(x, y, side="y")
    assert (left.side, right.side) == ("x", "y")
    assert right.value == pytest.approx(REFERENCES["pwcca"](y, x), abs=1e-9)
    assert left.value is not None and abs(left.value - REFERENCES["pwcca"](y, x)) > 1e-3
    with pytest.raises(ValueError, match=r"weighing side must be 'x' or 'y', got 'left'"):
        analyses.pwcca(x, y, side="left")  # type: ignore[arg-type]


def test_canonical_correlations_are_reported_in_order() -> None:
    rng = np.random.default_rng(2)
    common = rng.normal(size=(200_000, 2))
    x = common + rng.normal(size=common.shape) * [0.5, 2.0]
    result = analyses.mean_cca(x, common)
    assert result.correlations == pytest.approx((1 / np.sqrt(1.25), 1 / np.sqrt(5)), abs=0.01)
    assert result.value == pytest.approx(np.mean(result.correlations)) and result.forced == 0


def test_independent_gaussians_show_which_measures_are_biased() -> None:
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(25, 64)), rng.normal(size=(25, 64))
        values.append((analyses.linear_cka(x, y).value, analyses.debiased_cka(x, y).value))
        assert analyses.mean_cca(x, y).value is None
    biased, debiased = np.mean(values, axis=0)
    assert biased == pytest.approx(0.72, abs=0.02) and debiased == pytest.approx(0, abs=0.03)
    assert min(value for _, value in values) < 0


def test_several_measures_share_one_pair() -> None:
    x, y = related(100, 4, 3)
    pair = Pair.of_arrays(x, y)
    for measure in MEASURES.values():
        assert measure.apply(pair) == measure.function(x, y)


def test_shuffled_null_breaks_the_pairing_and_nothing_else() -> None:
    x, y = related(400, 8, 6)
    (null,) = shuffled_nulls([MEASURES["mean_cca"]], x, y, np.random.default_rng(0), repeats=20)
    value = analyses.mean_cca(x, y).value
    assert null.mean is not None and null.spread is not None and value is not None and len(null.values) == 20
    assert 0.05 < null.mean < 0.2 < value and 0 < null.spread < 0.03 and null.reason == ""
    assert null.mean == pytest.approx(np.mean(null.values)) and null.spread == pytest.approx(
        np.std(null.values, ddof=1)
    )
    again = shuffled_nulls(list(MEASURES.values()), x, y, np.random.default_rng(0), repeats=20)
    assert again[0] == null and len(again) == len(MEASURES)
    (once,) = shuffled_nulls([MEASURES["mean_cca"]], x, y, np.random.default_rng(0), repeats=1)
    assert once.spread is None and once.values == null.values[:1]


def test_shuffled_null_of_an_undefined_measure_says_why() -> None:
    x, y = related(10, 8, 6)
    (null,) = shuffled_nulls([MEASURES["mean_cca"]], x, y, np.random.default_rng(0))
    assert null.mean is None and null.values == () and "forced to 1" in null.reason
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        shuffled_nulls([MEASURES["mean_cca"]], x, y, np.random.default_rng(0), repeats=0)


def test_a_result_cannot_contradict_itself() -> None:
    for value, status, reason in (
        (None, "ok", ""),
        (0.5, "undefined", "why"),
        (None, "undefined", ""),
        (0.5, "ok", "why"),
    ):
        with pytest.raises(ValueError, match="a value goes with status 'ok' and no reason"):
            Similarity(value, status, reason, 10, (1, 1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be finite, got nan"):
        Similarity(float("nan"), "ok", "", 10, (1, 1))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Similarity(0.5, "ok", "", 10, (1, 1)).value = 1.0  # type: ignore[misc]


def test_a_measure_may_declare_known_invariances_only() -> None:
    with pytest.raises(ValueError, match=r"measure mean_cca: unknown invariances \['rotation'\]; known: translation"):
        dataclasses.replace(MEASURES["mean_cca"], invariances=frozenset({"rotation"}))
    assert isinstance(MEASURES["mean_cca"], Measure)


def test_measures_load_without_torch() -> None:
    code = "import sys, analyses; sys.exit(bool({'torch', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    root = pathlib.Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_few_samples_are_remarked_upon_by_what_any_order_of_them_gives() -> None:
    rng = np.random.default_rng(5)
    for n, p, few in ((3, 50, True), (25, 64, True), (60, 30, True), (400, 30, False)):
        x, y = rng.normal(size=(n, p)), rng.normal(size=(n, p))
        found = analyses.linear_cka(x, y)
        orders = [rng.permutation(n) for _ in range(400)]
        mean = np.mean([REFERENCES["linear_cka"](x, y[order]) for order in orders])
        assert bool(found.remark) == few == (mean >= 0.25)
        if few:
            assert float(found.remark.split("give ")[1].split(" ")[0]) == pytest.approx(mean, abs=0.01)
            assert f"n={n}" in found.remark
    assert analyses.linear_cka(rng.normal(size=(3, 50)), rng.normal(size=(3, 50))).remark


def test_cca_of_few_samples_is_remarked_upon_too() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(60, 12)), rng.normal(size=(60, 20))
    found = analyses.mean_cca(x, y)
    squares = [np.square(analyses.mean_cca(x, y[rng.permutation(60)]).correlations).mean() for _ in range(300)]
    assert np.sqrt(np.mean(squares)) == pytest.approx(np.sqrt(20 / 59), abs=0.01)
    assert f"correlations of {np.sqrt(20 / 59):.2f}" in found.remark and found.value is not None
    assert analyses.mean_cca(rng.normal(size=(90, 12)), rng.normal(size=(90, 20))).remark == ""


@pytest.mark.parametrize("name", MEASURES)
def test_an_exchanged_pair_is_that_of_exchanged_samples(name: str) -> None:
    for n, p, q in ((60, 8, 6), (60, 8, 90)):
        x, y = related(n, p, q)
        order = np.random.default_rng(0).permutation(n)
        pair, expected = Pair.of_arrays(x, y, reduced=False), MEASURES[name].function(x, y[order])
        assert MEASURES[name].apply(pair.exchanged(order)).value == pytest.approx(expected.value, abs=1e-9)
        assert MEASURES[name].apply(pair).value == pytest.approx(MEASURES[name].function(x, y).value, abs=1e-9)


@pytest.mark.parametrize("name", ["rsa_pearson", "rsa_spearman"])
def test_rsa_says_what_it_cannot_be_taken_of(name: str) -> None:
    x, y = related(40, 5, 4)
    measure = MEASURES[name]
    reason = measure.from_moments(moments_of(x, y)).reason
    assert reason == f"{name} is of the samples themselves, their moments do not tell it"
    assert "1 features of y are too few" in measure.function(x, y[:, :1]).reason
    flat = x.copy()
    flat[3] = 0.7
    assert "1 of 40 images have one value in all features of x" in measure.function(flat, y).reason
    line = np.outer(np.arange(1.0, 41), [1.0, 2.0, 4.0])  # every pattern is a multiple of one
    assert "all pairs of images are equally unlike in y" in measure.function(x, line).reason


def test_dissimilarities_are_made_once_for_both_measures_and_all_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = [], rsa._dissimilarities
    monkeypatch.setattr(rsa, "_dissimilarities", lambda side: made.append(side) or rows(side))
    x, y = related(40, 5, 4)
    pair = Pair.of_arrays(x, y, reduced=False)
    for one, name in itertools.product((pair, pair.exchanged(np.arange(40)[::-1])), ("rsa_pearson", "rsa_spearman")):
        MEASURES[name].apply(one)
    assert len(made) == 2


def test_equal_dissimilarities_share_a_rank() -> None:
    rng = np.random.default_rng(4)
    kinds, of, y = rng.normal(size=(10, 5)), rng.permutation(30) % 10, rng.normal(size=(30, 7))
    apart = scipy.spatial.distance.squareform(scipy.spatial.distance.pdist(kinds, "correlation"))
    exact = apart[of][:, of][np.triu_indices(30, 1)]
    expected = scipy.stats.spearmanr(exact, scipy.spatial.distance.pdist(y, "correlation")).statistic
    x = kinds[of] * 3.0 ** rng.integers(-5, 6, size=(30, 1))  # equal but for rounding
    assert analyses.rsa_spearman(x, y).value == pytest.approx(expected, abs=1e-12)
