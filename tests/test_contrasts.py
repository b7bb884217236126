"""Means over seeds and paired differences, against plain numpy on the rows of single tasks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.contrasts import FIXED, contrast, minus_of
from metaprobe.analyses.table import Row
from metaprobe.trainers.intervals import mean_interval

TASKS = 40
PERCENT = (0.0, 100.0)


def rows_of(learner, values, first=0):
    """The rows of single tasks of a test: values (seed, task)."""
    row = Row(
        learner=learner, algorithm="maml", iteration=9, phase="post", frozen="", head="own", inner_steps=5,
        measure="accuracy", value=None, n=1,
    )  # fmt: skip
    return [
        dataclasses.replace(row, seed=seed, checkpoint=f"{learner}{seed}", task=first + task, value=float(value))
        for seed, tasks in enumerate(values)
        for task, value in enumerate(tasks)
    ]


@pytest.fixture
def two():
    """Accuracies (seed, task) of two learners that find the same tasks hard."""
    generator = np.random.default_rng(0)
    hard = generator.normal(size=TASKS)
    return [level + 3 * hard + generator.normal(size=(2, TASKS)) for level in (90.0, 60.0)]


@pytest.mark.parametrize("columns", [{"frozen": ""}, {"frozen": None}])
def test_minus_names_what_the_other_side_says(columns):
    assert minus_of(columns) == "frozen=none"
    assert minus_of({"learner": "maml", "step": 0}) == "learner=maml, step=0"


def test_a_mean_is_over_seeds_and_tasks(two):
    level, fixed = contrast(rows_of("a", two[0]), None, None, PERCENT)
    assert (level.measure, level.minus) == ("accuracy", None)
    assert (level.seed, level.task, level.checkpoint) == (None, None, None)
    assert (level.source, level.n, level.learner) == ("a0+a1", TASKS, "a")
    expected = mean_interval(two[0], PERCENT)
    assert (level.value, level.low, level.high) == (expected.value, expected.low, expected.high)
    assert level.value == pytest.approx(two[0].mean())
    assert fixed.measure == "accuracy" + FIXED
    assert level.low < fixed.low < fixed.value < fixed.high < level.high  # seeds are drawn, too


def test_a_difference_is_of_the_same_tasks(two):
    gap, fixed = contrast(rows_of("a", two[0]), rows_of("b", two[1]), "learner=b", PERCENT)
    assert (gap.measure, gap.minus, gap.learner) == ("accuracy_difference", "learner=b", "a")
    assert (fixed.measure, fixed.minus) == ("accuracy_difference" + FIXED, "learner=b")
    assert gap.source == "a0+a1+b0+b1"
    gaps = two[0] - two[1]
    assert gap.value == pytest.approx(gaps.mean())
    mean = gaps.mean(axis=0)
    half = 1.96 * mean.std(ddof=1) / TASKS**0.5
    assert (fixed.low, fixed.high) == pytest.approx((mean.mean() - half, mean.mean() + half), abs=0.3 * half)
    apart = two[0].std(ddof=1) * 2**0.5 * 1.96 / TASKS**0.5
    assert fixed.high - fixed.value < 0.6 * apart  # hard tasks are hard for both


def test_of_one_seed_there_is_one_row(two):
    gap, *more = contrast(rows_of("a", two[0][:1]), rows_of("b", two[1]), "learner=b", PERCENT)
    assert not more
    assert gap.value == pytest.approx((two[0][0] - two[1][0]).mean())  # the seed that both have


def test_tasks_count_that_both_sides_have(two):
    gap, _ = contrast(rows_of("a", two[0]), rows_of("b", two[1][:, :10], first=5), "learner=b", PERCENT)
    assert gap.n == 10
    assert gap.value == pytest.approx((two[0][:, 5:15] - two[1][:, :10]).mean())


def test_without_a_shared_task_or_seed_there_is_nothing(two):
    assert contrast(rows_of("a", two[0]), rows_of("b", two[1], first=TASKS), "learner=b", PERCENT) == []
    other = [dataclasses.replace(row, seed=7) for row in rows_of("b", two[1][:1])]
    assert contrast(rows_of("a", two[0]), other, "learner=b", PERCENT) == []


def test_a_difference_may_reach_across_the_whole_range_and_no_farther():
    left, right = np.full((2, TASKS), 100.0), np.zeros((2, TASKS))
    right[0, 0] = 50.0
    gap = contrast(rows_of("a", left), rows_of("b", right), "learner=b", PERCENT)[0]
    assert 99 < gap.value < gap.high <= 100.0
    turned = contrast(rows_of("b", right), rows_of("a", left), "learner=a", PERCENT)[0]
    assert -100.0 <= turned.low < turned.value


def test_a_task_without_a_number_is_not_left_out_in_silence(two):
    rows = [
        dataclasses.replace(row, value=None, status="undefined", reason="diverged") if row.task == 7 == 7 * row.seed
        else row
        for row in rows_of("a", two[0])
    ]  # fmt: skip
    assert [row.value for row in rows].count(None) == 1
    for found in (
        contrast(rows, None, None, PERCENT),
        contrast(rows_of("b", two[1]), rows, "learner=a", PERCENT),
    ):
        assert [(row.value, row.low, row.status, row.n) for row in found] == [(None, None, "undefined", TASKS)]
        reason = "1 of 40 tasks have no accuracy in one of the tests: diverged"
        assert found[0].reason == reason
