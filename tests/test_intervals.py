"""Intervals of means over tasks and seeds: against equations solved by others, and by how often they hold the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metaprobe.probe.cli.arguments import warn_of_few
from metaprobe.trainers.intervals import (
    EVERYWHERE,
    PERCENT,
    POSITIVE,
    bounded,
    half_width,
    mean_interval,
    of_half_width,
    too_few,
)
from tests.interval_coverage import coverage, coverage_of_differences, interval_of, solved


@pytest.mark.parametrize("limits", [PERCENT, (-100.0, 100.0), POSITIVE, (2.0, math.inf)])
@pytest.mark.parametrize(("value", "half"), [(40.0, 1.0), (40.0, 90.0), (99.0, 6.0), (3.5, 25.0)])
def test_the_ends_solve_the_equation(value, half, limits):
    assert bounded(value, half, limits) == pytest.approx(solved(value, half, limits), rel=1e-9)


def test_wilsons_interval_is_the_case_of_single_answers():
    n, right = 600, 579
    p = right / n
    half = 1.959963984540054 * math.sqrt(p * (1 - p) / n)
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert bounded(p, half, (0.0, 1.0)) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_a_range_that_ends_above_is_the_mirror_of_one_that_ends_below():
    low, high = bounded(-3.5, 2.0, (-math.inf, 0.0))
    assert (-high, -low) == pytest.approx(bounded(3.5, 2.0, POSITIVE), rel=1e-14)
    assert bounded(3.5, 2.0) == (1.5, 5.5)


@given(st.floats(0.001, 0.999), st.floats(1e-6, 10.0))
def test_ends_stay_within_and_hold_the_mean(p, half):
    low, high = bounded(100 * p, 100 * half, PERCENT)
    assert 0 <= low <= 100 * p <= high <= 100
    low, high = bounded(p, half, POSITIVE)
    assert 0 <= low <= p <= high
    assert low * high == pytest.approx(p * p, rel=1e-9)


def test_of_many_tasks_it_is_students_and_the_papers():
    values = np.random.default_rng(0).normal(60, 10, 600)
    mean = mean_interval(values[None], PERCENT, 75)
    low, high = stats.t.interval(0.95, 599, loc=values.mean(), scale=stats.sem(values))
    assert (mean.value, mean.low, mean.high) == pytest.approx((values.mean(), low, high), abs=0.003)
    printed = 1.96 * values.std(ddof=1) / math.sqrt(600)
    assert mean.high - mean.value == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize("count", [2, 3, 30, 600])
def test_half_width_is_half_of_students_interval(count):
    values = np.random.default_rng(count).normal(60, 10, count)
    low, high = stats.t.interval(0.95, count - 1, loc=values.mean(), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((high - low) / 2, rel=1e-12)
    assert mean_interval(values[None]) == of_half_width(values.mean(), half_width(values), count)
    assert half_width(np.full(count, 74 / 75)) == 0
    assert half_width(np.array([50.0])) == math.inf


def test_the_issues_three_tasks_stay_within():
    mean = mean_interval(np.array([[20.0, 55.0, 100.0]]), PERCENT, 75)
    half = half_width(np.array([20.0, 55.0, 100.0]))
    assert mean.value - half < -36
    assert 0 < mean.low < mean.value < mean.high < 100


@pytest.mark.parametrize("limits", [PERCENT, POSITIVE, EVERYWHERE])
@pytest.mark.parametrize("values", [[20.0, 55.0, 100.0, 70.0], [100.0, 98.0, 100.0], [50.0, 50.0]])
def test_it_is_the_interval_of_students_half_width(values, limits):
    mean, queries = mean_interval(np.array([values]), limits, 75 if limits == PERCENT else None), 75
    assert (mean.low, mean.high) == pytest.approx(interval_of(np.array(values), limits, queries), rel=1e-8)


@pytest.mark.parametrize("seeds", [2, 3])
def test_seeds_and_tasks_add_in_quadrature(seeds):
    per_task = np.random.default_rng(seeds).normal(70, 10, (seeds, 12)) + np.arange(seeds)[:, None]
    by_task, by_seed = ([math.fsum(x) / len(x) for x in rows.tolist()] for rows in (per_task.T, per_task))
    half = math.hypot(
        stats.t.ppf(0.975, 11) * stats.sem(by_task, ddof=1), stats.t.ppf(0.975, seeds - 1) * stats.sem(by_seed, ddof=1)
    )
    found = mean_interval(per_task)
    expected = (math.fsum(by_seed) / seeds, math.fsum(by_seed) / seeds - half, math.fsum(by_seed) / seeds + half)
    assert (found.value, found.low, found.high) == pytest.approx(expected, rel=1e-12)


def test_tasks_that_all_agree_are_as_many_answers():
    t = stats.t.ppf(0.975, 2)
    mean = mean_interval(np.full((1, 3), 100.0), PERCENT, 75)
    assert (mean.low, mean.high) == pytest.approx((100 / (1 + t**2 / 225), 100), rel=1e-12)
    p, a = 0.96, t**2 / 225
    ends = [100 * (p + a / 2 + sign * math.sqrt(a * p * (1 - p) + a * a / 4)) / (1 + a) for sign in (-1, 1)]
    mean = mean_interval(np.full((1, 3), 96.0), PERCENT, 75)
    assert (mean.low, mean.high) == pytest.approx(ends, rel=1e-12)
    same = mean_interval(np.full((1, 3), 5.0), (-100.0, 100.0))  # a difference that is the same everywhere
    assert (same.low, same.high) == pytest.approx((5.0, 5.0), abs=1e-12)
    zero = mean_interval(np.zeros((1, 3)), POSITIVE)
    assert (zero.low, zero.high) == (0.0, 0.0)


def test_one_task_has_no_interval_and_few_are_told():
    assert mean_interval(np.array([[50.0], [70.0]])).low is None
    assert [bool(too_few(tasks)) for tasks in (1, 2, 9, 10, 600)] == [False, True, True, False, False]
    assert too_few(4).startswith("an interval over 4 tasks, fewer than 10, is rough")


@pytest.mark.parametrize(("tasks", "told"), [(1, "no interval over one task"), (4, "is rough"), (10, "")])
def test_few_tasks_are_warned_of(tasks, told, capsys):
    warn_of_few(tasks)
    err = capsys.readouterr().err
    assert told in err and bool(err) == bool(told)


# The whole table is in trainers/intervals.py; 400 studies find 95 % to ±2.1.
@pytest.mark.parametrize("scenario", ["60 ± 10", "98 ± 2", "99 ± 1.2"])
@pytest.mark.parametrize("tasks", [3, 10, 100])
def test_about_95_of_100_intervals_hold_the_truth(scenario, tasks):
    assert 0.92 <= coverage(scenario, tasks, 400)[0] <= 1.0


def test_skewed_tasks_are_held_more_often_than_by_student():
    for scenario, least in (("lognormal 7 % wrong, σ 0.8", 0.88), ("lognormal 1 % wrong, σ 1", 0.9)):
        for tasks in (3, 10):
            ours, students = coverage(scenario, tasks, 600)
            assert least <= ours
            assert ours > students
    assert coverage_of_differences(10, 400) > 0.88


def test_several_seeds_are_held_where_their_tasks_alone_would_not():
    ours, tasks_alone = coverage("60 ± 10", 100, 400, seeds=3, by_seed=0.02)
    assert 0.94 <= ours <= 0.995
    assert tasks_alone < 0.87


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: bounded(101.0, 1.0, PERCENT), r"a mean within 0 … 100, h finite; got 101.0 ± 1.0"),
        (lambda: bounded(50.0, math.nan, PERCENT), "got 50.0 ± nan"),
        (lambda: bounded(50.0, math.inf), "got 50.0 ± inf"),
        (lambda: bounded(100.0, 1.0, PERCENT), "got 100.0 ± 1.0"),
        (lambda: mean_interval(np.array([[1.0, math.nan]]), EVERYWHERE), r"expected finite numbers \(seed, task\)"),
        (lambda: mean_interval(np.zeros((0, 3))), r"got shape \(0, 3\)"),
    ],
)
def test_what_has_no_interval_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_numbers_at_an_end_but_for_their_rounding_have_that_end_as_their_interval():
    cosines = np.array([1.0, 1.0 - 2.2e-16, 1.0, 1.0, 1.0])
    mean = mean_interval(cosines[None], (-1.0, 1.0))
    assert (mean.value, mean.low, mean.high) == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="expected a mean within"):
        bounded(1.0, 1e-6, (-1.0, 1.0))


@pytest.mark.parametrize("value", [1 - 2**-53, 1.0, -1 + 2**-53])
@pytest.mark.parametrize("half", [0.0, 1e-16, 1e-9])
def test_a_mean_a_rounding_from_an_end_has_an_interval(value, half):
    if half == 1e-9 and value == 1.0:
        half = 1e-16  # numbers that differ do not have an end as their mean
    low, high = bounded(value, half, (-1.0, 1.0))
    assert -1.0 <= low <= value + 2**-52 <= high + 2**-51 <= 1.0 + 2**-51
    assert half > 1e-12 or high - low <= 2**-52
