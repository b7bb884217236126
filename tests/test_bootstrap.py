"""Intervals by resampling tasks and seeds: against loops, and by how often they cover what they are about."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from metaprobe.analyses.bootstrap import REPLICATES, Interval, bounds, over_seeds, task_draws


def mean_of_tasks(per_task, replicates=REPLICATES):
    """The interval of a mean over seeds and tasks."""
    draws, values = task_draws(per_task.shape[1], replicates), per_task.mean(axis=1)
    resampled = values[:, None] + (per_task - values[:, None]) @ draws.T / per_task.shape[1]
    return over_seeds(values, resampled, tasks=per_task.shape[1])


def test_draws_are_of_all_tasks_and_depend_on_nothing_else():
    draws = task_draws(30, 400)
    assert draws.shape == (400, 30)
    assert (draws.sum(axis=1) == 30).all()
    at_once = np.random.default_rng([30, 400]).multinomial(30, np.full(30, 1 / 30), size=400)
    np.testing.assert_array_equal(draws, at_once)
    assert [task_draws(tasks, 2).dtype for tasks in (127, 128, 40_000)] == [np.int8, np.int16, np.int32]
    np.testing.assert_array_equal(draws, task_draws(30, 400))
    assert not np.array_equal(task_draws(30, 400)[:200], task_draws(30, 200))
    assert task_draws(30).shape == (REPLICATES, 30)
    assert draws.mean(axis=0) == pytest.approx(np.ones(30), abs=0.25)
    assert (draws > 0).mean() == pytest.approx(1 - math.exp(-1), abs=0.02)  # distinct tasks of a resample
    with pytest.raises(ValueError, match="at least one task and one replicate, got 0 and 5"):
        task_draws(0, 5)


def test_bounds_are_the_basic_bootstraps():
    replicates = np.random.default_rng(0).gamma(2.0, size=500)
    ordered = sorted(replicates.tolist())

    def quantile(share):  # of rank share·(R+1), linear between neighbours
        place = share * (len(ordered) + 1) - 1
        below = int(place)
        return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])

    low, high = bounds(2.0, replicates)
    assert low == pytest.approx(4 - quantile(0.975), rel=1e-12)
    assert high == pytest.approx(4 - quantile(0.025), rel=1e-12)
    assert bounds(2.0, replicates, (1.0, 2.5)) == (1.0, 2.5)


def test_bounds_take_off_what_resampling_adds():
    replicates = np.random.default_rng(0).normal(0.6, 0.01, 500)  # every resample is above the sample's 0.5
    low, high = bounds(0.5, replicates)
    assert low < 0.45 < high == 0.5  # stretched to hold the value, which keeps its shift


@pytest.mark.parametrize(
    ("value", "replicates", "match"),
    [
        (0.5, np.ones(38), "at least 39 finite replicates; got 0.5 and 38 finite of 38"),
        (0.5, np.append(np.ones(40), np.nan), "40 finite of 41"),
        (math.nan, np.ones(40), "got nan"),
    ],
)
def test_bounds_refuse_what_has_none(value, replicates, match):
    with pytest.raises(ValueError, match=match):
        bounds(value, replicates)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_the_mean_of_tasks_is_a_loops(seeds):
    per_task = np.random.default_rng(seeds).normal(70, 10, (seeds, 12))
    found = mean_of_tasks(per_task, replicates=50)
    value = sum(sum(row) / 12 for row in per_task.tolist()) / seeds
    wide = 1.0
    if seeds > 1:
        wide = stats.t.ppf(0.975, seeds - 1) / stats.norm.ppf(0.975) * math.sqrt(seeds / (seeds - 1))
    deviations = []
    for tasks, runs in zip(task_draws(12, 50), task_draws(seeds, 50), strict=True):
        by_tasks = by_seeds = 0.0
        for seed, times in enumerate(runs):
            own = sum(per_task[seed].tolist()) / 12
            drawn = [per_task[seed, task] for task in range(12) for _ in range(tasks[task])]
            by_tasks += times / seeds * (sum(drawn) / 12 - own)
            by_seeds += times / seeds * (own - value)
        deviations.append(by_tasks + wide * by_seeds)
    lowest, highest = np.quantile(deviations, [0.025, 0.975], method="weibull")
    assert found.value == pytest.approx(value, rel=1e-14)
    assert found.low == pytest.approx(value - highest, rel=1e-12)
    assert found.high == pytest.approx(value - lowest, rel=1e-12)
    assert (found.tasks, found.seeds) == (12, seeds)


def coverage(seeds, studies=500, *, by_seed=1.0, by_task=3.0, tasks=200):
    """Return how often the interval holds the truth; of one seed, that seed's own."""
    generator = np.random.default_rng(5)
    held = 0
    for _ in range(studies):
        run = generator.normal(0, by_seed, (seeds, 1))
        shared = generator.normal(0, by_task, (1, tasks))
        found = mean_of_tasks(run + shared + generator.normal(0, by_task, (seeds, tasks)), replicates=100)
        held += found.low <= (run[0, 0] if seeds == 1 else 0.0) <= found.high
    return held / studies


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("by_seed", [0.2, 1.0])
def test_about_95_of_100_intervals_hold_the_truth(seeds, by_seed):
    assert 0.92 <= coverage(seeds, by_seed=by_seed) <= 0.99


def pair_coverage(seeds, within, studies=400, given=True):
    """Return the coverage for the mean over pairs of seeds whose effects add up, with next to no noise of tasks."""
    generator = np.random.default_rng(6)
    held = 0
    for _ in range(studies):
        a, b = generator.normal(size=(2, seeds))
        pairs = itertools.combinations(a, 2) if within else itertools.product(a, b)
        values = np.array([sum(pair) for pair in pairs])
        replicates = values[:, None] + generator.normal(0, 1e-3, (1, 100))
        found = over_seeds(values, replicates, tasks=100, seeds=seeds if given else None, within=within)
        held += found.low <= 0 <= found.high
    return held / studies


def test_pairs_of_seeds_are_not_as_many_seeds():
    assert 0.92 <= pair_coverage(4, within=False) <= 0.995
    assert pair_coverage(4, within=False, given=False) < 0.85
    assert 0.92 <= pair_coverage(3, within=True) <= 0.995
    assert 0.92 <= pair_coverage(5, within=True) <= 0.995
    with pytest.raises(ValueError, match="seeds have 3 pairs; got 4 values"):
        over_seeds(np.zeros(4), np.zeros((4, 50)), tasks=9, seeds=3, within=True)


def test_learners_are_compared_on_the_same_draws():
    generator = np.random.default_rng(1)
    a = generator.normal(60, 12, (3, 100))
    difference = mean_of_tasks(a - (a - 5.0))
    assert difference.value == pytest.approx(5.0)
    assert difference.high - difference.low == pytest.approx(0.0, abs=1e-12)
    alone = mean_of_tasks(a)
    assert alone.high - alone.low > 1.0
    b = a - 5.0 + generator.normal(0, 0.5, a.shape)
    paired = mean_of_tasks(a - b)
    assert paired.high - paired.low < (alone.high - alone.low) / 5


@pytest.mark.parametrize(
    ("replicates", "tasks"),
    [(np.zeros((2, 0)), 10), (np.zeros((2, 38)), 10), (np.zeros((2, 50)), 1), (np.full((2, 50), np.nan), 10)],
)
def test_without_enough_there_is_no_interval(replicates, tasks):
    assert over_seeds(np.array([1.0, 2.0]), replicates, tasks=tasks) == Interval(1.5, None, None, tasks, 2)


def test_one_undefined_replicate_leaves_no_interval():
    replicates = np.random.default_rng(0).normal(size=(2, 50))
    replicates[1, 7] = np.nan
    assert over_seeds(np.zeros(2), replicates, tasks=10).low is None


def test_one_task_has_no_interval_and_the_ends_stay_in_range():
    assert mean_of_tasks(np.array([[50.0], [70.0]])) == Interval(60.0, None, None, 1, 2)
    replicates = np.random.default_rng(0).normal(0.99, 0.1, (1, 100))
    found = over_seeds(np.array([0.99]), replicates, tasks=10, range=(0.0, 1.0))
    assert found.high == 1.0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: over_seeds(np.zeros(2), np.zeros((3, 50)), tasks=5), r"2 values, replicates \(3, 50\)"),
        (lambda: over_seeds(np.zeros(2), np.zeros((2, 50)), tasks=5, seeds=3), "seeds=3"),
        (lambda: over_seeds(np.array([0, math.inf]), np.zeros((2, 50)), tasks=5), "every seed needs a finite value"),
    ],
)
def test_what_does_not_belong_together_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
