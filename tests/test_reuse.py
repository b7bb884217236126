"""The reuse index against its definition written out, its properties, and its rows from tables of tests."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaprobe.analyses.bootstrap import REPLICATES, over_seeds, task_draws
from metaprobe.analyses.testing.reuse import reuse_index

BODY = ("conv1", "conv2", "conv3", "conv4")


def accuracies(seeds=2, tasks=40, level=(90.0, 80.0, 40.0), seed=0):
    """Accuracies of three tests: what is hard in one is hard in all, as tasks are."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 4, tasks)
    return [mean + hard + rng.normal(0, 1, (seeds, 1)) + rng.normal(0, 3, (seeds, tasks)) for mean in level]


def brute(full, frozen, untrained):
    """The index of each seed, and of each seed on each resample, with the tasks drawn written out."""

    def index(seed, tasks):
        a, f, u = (math.fsum(float(part[seed, task]) for task in tasks) for part in (full, frozen, untrained))
        return (f - u) / (a - u)

    seeds, tasks = full.shape
    draws = [np.repeat(np.arange(tasks), row).tolist() for row in task_draws(tasks, REPLICATES)]
    values = np.array([index(seed, range(tasks)) for seed in range(seeds)])
    return values, np.array([[index(seed, draw) for draw in draws] for seed in range(seeds)])


@pytest.mark.parametrize("seeds", [1, 3])
def test_value_and_interval_are_those_of_the_definition(seeds):
    tests = accuracies(seeds)
    found = reuse_index(*tests)
    values, replicates = brute(*tests)
    expected = over_seeds(values, replicates, tasks=40)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), rel=1e-9
    )
    assert (found.tasks, found.seeds) == (40, seeds)
    assert found.low < found.value < found.high
    if seeds == 1:
        low, high = np.quantile(replicates[0], [0.025, 0.975], method="weibull")
        assert (found.low, found.high) == pytest.approx((2 * values[0] - high, 2 * values[0] - low), rel=1e-9)


def test_nothing_lost_is_1_and_nothing_kept_is_0():
    full, frozen, untrained = accuracies()
    one, zero = reuse_index(full, full, untrained), reuse_index(full, untrained, untrained)
    assert (one.value, one.low, one.high) == pytest.approx((1, 1, 1))
    assert (zero.value, zero.low, zero.high) == pytest.approx((0, 0, 0))
    assert reuse_index(full, full + 5, untrained).value > 1  # adapting the body did harm
    assert reuse_index(full, untrained - 5, untrained).value < 0
    assert 0 < reuse_index(full, frozen, untrained).value < 1


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100), more=st.floats(0.1, 30), seed=st.integers(0, 1000))
def test_unit_and_zero_do_not_matter_and_what_is_kept_does(scale, shift, more, seed):
    full, frozen, untrained = accuracies(seed=seed)
    found = reuse_index(full, frozen, untrained)
    other = reuse_index(*(scale * part + shift for part in (full, frozen, untrained)))
    assert (other.value, other.low, other.high) == pytest.approx(
        (found.value, found.low, found.high), rel=1e-6, abs=1e-6
    )
    assert reuse_index(full, frozen + more, untrained).value > found.value
    assert reuse_index(full + more, frozen, untrained).value < found.value  # more gained, the same kept
    if found.value < 1:
        assert reuse_index(full, frozen, untrained + 0.1).value < found.value  # random features do more of it


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = (80 - 40) / (90 - 40)
    inside = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        hard = rng.normal(0, 4, 60)
        found = reuse_index(*(mean + hard + rng.normal(0, 6, (1, 60)) for mean in (90.0, 80.0, 40.0)))
        inside += found.low <= truth <= found.high
    assert 0.89 <= inside / 200 <= 0.99


def test_without_a_gain_there_is_no_index():
    full, frozen, untrained = accuracies()
    told = reuse_index(untrained + np.random.default_rng(0).normal(0, 5, full.shape), frozen, untrained)
    assert "the gain over random features of 2 of 2 seeds is not above 0" in told
    assert "nothing to reuse" in told
    some = full.copy()
    some[1] = untrained[1] - 10
    assert "of 1 of 2 seeds is not above 0 in every resample (-10.0" in reuse_index(some, frozen, untrained)
    one = [part[:1] for part in (untrained, frozen, full)]
    assert reuse_index(*one).startswith("the gain over random features is not above 0")
    assert reuse_index(*(part[:, :1] for part in (full, frozen, untrained))).startswith(
        "of one task there is no telling"
    )


def test_arrays_that_do_not_belong_together_are_refused():
    full, frozen, untrained = accuracies()
    with pytest.raises(
        ValueError, match=r"three arrays \(seed, task\) of one shape; got \(2, 40\), \(2, 39\), \(2, 40\)"
    ):
        reuse_index(full, frozen[:, 1:], untrained)
    with pytest.raises(ValueError, match=r"one shape; got \(40,\)"):
        reuse_index(full[0], frozen[0], untrained[0])
    frozen[1, 3] = np.nan
    with pytest.raises(ValueError, match=r"every task needs a finite accuracy in all three tests"):
        reuse_index(full, frozen, untrained)
