"""Rows over seeds and between learners, against plain numpy on the single tasks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from analyses.table import Row, Table
from reports.studies.raghu2020.derived import BETWEEN, FIXED, derived

BODY = ("conv1", "conv2")
FULL = "conv1,conv2"
TASKS = 40


def rows_of(algorithm, seed, values, *, frozen="", steps=5, head="own", iteration=9, **more):
    """A test's mean row and the rows of its tasks."""
    row = Row(
        checkpoint=f"{algorithm}{seed}", algorithm=algorithm, seed=seed, iteration=iteration, phase="post",
        frozen=frozen, head=head, inner_steps=steps, measure="accuracy", value=float(np.mean(values)), n=len(values),
        **more,
    )  # fmt: skip
    return [row, *(dataclasses.replace(row, task=i, value=float(v), n=1) for i, v in enumerate(values))]


@pytest.fixture
def accuracies():
    """Of MAML, ANIL and the untrained network, two seeds, nothing frozen and all: (seed, task)."""
    generator = np.random.default_rng(0)
    hard = generator.normal(size=TASKS)  # what all learners find hard
    levels = {("maml", ""): 90, ("maml", FULL): 60, ("anil", ""): 88, ("random", ""): 45, ("random", FULL): 40}
    return {who: level + 3 * hard + generator.normal(size=(2, TASKS)) for who, level in levels.items()}


def table_of(accuracies, seeds=(0, 1)):
    rows = []
    for (algorithm, frozen), values in accuracies.items():
        for seed in seeds:
            iteration = 0 if algorithm == "random" else 9
            rows += rows_of(algorithm, seed, values[seed], frozen=frozen, iteration=iteration)
    return Table.of(rows)


def found(table, measure, **where):
    rows = [r for r in table.rows if r.measure == measure and all(getattr(r, k) == v for k, v in where.items())]
    assert len(rows) == 1, (measure, where, len(rows))
    return rows[0]


def test_single_tasks_are_left_out_and_all_else_is_kept(accuracies):
    table = table_of(accuracies)
    made = derived(table, BODY, 5)
    assert {row for row in table.rows if row.task is None} <= set(made.rows)
    assert not [row for row in made.rows if row.task is not None]


def test_means_over_seeds_and_differences_are_of_the_same_tasks(accuracies):
    made = derived(table_of(accuracies), BODY, 5)
    level = found(made, "accuracy", algorithm="maml", frozen="", seed=None)
    assert level.value == pytest.approx(accuracies["maml", ""].mean())
    assert level.source == "maml0+maml1"
    assert level.n == TASKS
    cost = found(made, "accuracy_difference", algorithm="maml", frozen=FULL, seed=None)
    gaps = accuracies["maml", FULL] - accuracies["maml", ""]
    assert cost.value == pytest.approx(gaps.mean())
    fixed = found(made, "accuracy_difference" + FIXED, algorithm="maml", frozen=FULL)
    mean = gaps.mean(axis=0)
    half = 1.96 * mean.std(ddof=1) / TASKS**0.5
    assert (fixed.low, fixed.high) == pytest.approx((mean.mean() - half, mean.mean() + half), abs=0.3 * half)
    assert cost.low < fixed.low < fixed.high < cost.high  # seeds are drawn, too


def test_learners_are_compared_task_by_task(accuracies):
    made = derived(table_of(accuracies), BODY, 5)
    gap = found(made, BETWEEN, algorithm="anil", other_algorithm="maml")
    assert gap.value == pytest.approx((accuracies["anil", ""] - accuracies["maml", ""]).mean())
    assert gap.source == "anil0+anil1+maml0+maml1"
    lead = found(made, BETWEEN, algorithm="maml", other_algorithm="random", frozen=FULL)
    assert lead.value == pytest.approx((accuracies["maml", FULL] - accuracies["random", FULL]).mean())
    one = derived(table_of(accuracies, seeds=(0,)), BODY, 5)
    paired = found(one, BETWEEN, algorithm="anil", other_algorithm="maml")
    apart = accuracies["anil", ""][0].std(ddof=1) * 2**0.5 * 1.96 / TASKS**0.5
    assert paired.high - paired.value < 0.6 * apart  # hard tasks are hard for both
    assert not [row for row in one.rows if row.measure.endswith(FIXED)]


def test_the_reuse_index_is_of_the_tasks_that_both_were_tested_on(accuracies):
    some = dict(accuracies)
    rows = list(table_of(some).rows)
    few = accuracies["maml", FULL][:, :10]
    for seed in (0, 1):
        for frozen, level in (("", 80), (FULL, 50)):
            rows += rows_of("nil", seed, few[seed] - 60 + level, frozen=frozen, head="maml", adapts="all")
    made = derived(Table.of(rows), BODY, 5)
    a, f, u = (accuracies[who] for who in (("maml", FULL), ("maml", ""), ("random", FULL)))
    expected = np.mean((a - u).mean(axis=1) / (f - u).mean(axis=1))
    assert found(made, "reuse_index", algorithm="maml", seed=None).value == pytest.approx(expected)
    assert found(made, "reuse_index", algorithm="nil", seed=None).n == 10


def test_tests_of_one_seed_are_not_called_tests_over_seeds(accuracies):
    one = derived(table_of(accuracies, seeds=(0,)), BODY, 5)
    assert not [row for row in one.rows if row.measure in ("accuracy", "accuracy_difference") and row.seed is None]


def test_a_head_difference_is_of_the_head_that_the_regime_is_tested_with(accuracies):
    """The untrained network is tested with its own head, as MAML's control, and with a head trained on it."""
    rows = list(table_of(accuracies).rows)
    generator = np.random.default_rng(1)
    maml, nil = generator.normal(30, 5, (2, TASKS)), generator.normal(35, 5, (2, TASKS))
    for seed in (0, 1):
        rows += rows_of("random", seed, maml[seed], head="maml", iteration=0)
        rows += rows_of("random", seed, nil[seed], head="nil", iteration=0, steps=0)
    made = derived(Table.of(rows), BODY, 5)
    assert found(made, "head_difference", algorithm="random").value == pytest.approx((maml - nil).mean())


def test_a_task_without_an_accuracy_is_not_left_out_in_silence(accuracies):
    rows = [
        dataclasses.replace(row, value=None, status="undefined", reason="diverged")
        if (row.algorithm, row.seed, row.task, row.frozen) == ("maml", 1, 7, "")
        else row
        for row in table_of(accuracies).rows
    ]
    made = derived(Table.of(rows), BODY, 5)
    level = found(made, "accuracy", algorithm="maml", frozen="", seed=None)
    assert (level.value, level.status) == (None, "undefined")
    assert level.reason == "1 of 40 tasks have no accuracy in one of the tests: their inner loop diverged"
    assert found(made, BETWEEN, algorithm="anil", other_algorithm="maml").value is None
    assert found(made, "accuracy", algorithm="anil", frozen="", seed=None).value is not None
