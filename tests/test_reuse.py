"""The reuse index against its definition written out, its properties, and its rows from tables of tests."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaprobe.analyses.bootstrap import REPLICATES, over_seeds, task_draws
from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.reuse import reuse_index, reuse_of_learners, reuse_table
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from tests.conftest import make_imageset
from tests.freezing_runs import chosen, the
from tests.test_training import tiny

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


# --- from tables ---


def test_rows(values, **columns):
    identity = {"algorithm": "maml", "iteration": 100, "head": "own", "frozen": "", "inner_steps": 5, "phase": "post"}
    for seed, some in enumerate(values):
        for task, value in enumerate(some):
            who = {"checkpoint": f"{columns.get('algorithm', 'maml')}{seed}", "seed": seed, "task": task, "n": 1}
            yield Row(measure="accuracy", value=float(value), **identity | who | columns)


test_rows.__test__ = False
ALL = ",".join(BODY)
RANDOM = {"algorithm": "random", "iteration": 0, "source": "adapted as maml"}


def made(seeds=2, **learner):
    """A table of one learner at 5 and 30 steps and with the NIL head, and of the untrained network; and its parts."""
    full, frozen, untrained = accuracies(seeds)
    later, later_untrained, nil, nil_untrained = frozen + 6, untrained + 8, frozen + 9, untrained + 20
    rows = [
        *test_rows(full, **learner),
        *test_rows(frozen, frozen=ALL, **learner),
        *test_rows(full + 1, inner_steps=30, **learner),
        *test_rows(later, frozen=ALL, inner_steps=30, **learner),
        *test_rows(nil, head="nil", inner_steps=0, phase="pre", **{k: v for k, v in learner.items() if k != "adapts"}),
        *test_rows(untrained + 3, **RANDOM),
        *test_rows(untrained, frozen=ALL, **RANDOM),
        *test_rows(later_untrained, frozen=ALL, inner_steps=30, **RANDOM),
        *test_rows(nil_untrained, head="nil", inner_steps=0, phase="pre", **RANDOM),
    ]
    cases = {
        ("own", 5): (full, frozen, nil_untrained),
        ("own", 30): (full, later, nil_untrained),
        ("nil", 0): (full, nil, nil_untrained),
    }
    return rows, cases


@pytest.mark.parametrize("learner", [{}, {"algorithm": "anil", "adapts": "all"}])
def test_each_seed_and_all_seeds_at_each_number_of_steps_and_with_each_head(learner):
    rows, cases = made(**learner)
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    table = reuse_table(Table.of(mixed), BODY, 5)
    assert len(table) == 3 * 3
    name = learner.get("algorithm", "maml")
    for (head, steps), parts in cases.items():
        for seed in (0, 1, None):
            row = the(table, head=head, inner_steps=steps, seed=seed)
            expected = reuse_index(*(part if seed is None else part[[seed]] for part in parts))
            found = (row.value, row.low, row.high)
            assert found == pytest.approx((expected.value, expected.low, expected.high), rel=1e-12)
            assert (row.measure, row.algorithm, row.iteration, row.task, row.n) == ("reuse_index", name, 100, None, 40)
            assert row.frozen == ("" if head == "nil" else ALL)
            seeds = (0, 1) if seed is None else (seed,)
            assert row.source == "+".join([*(f"{name}{s}" for s in seeds), *(f"random{s}" for s in seeds)])
            assert row.checkpoint == (None if seed is None else f"{name}{seed}")
        assert the(table, head=head, inner_steps=steps, seed=None).adapts == (
            learner.get("adapts") if head == "own" else None
        )


def test_a_head_that_alone_adapts_has_no_index_beside_one_of_all_layers():
    rows, _ = made(algorithm="anil", adapts="all")
    frozen = accuracies()[1]
    trained = [*test_rows(frozen, algorithm="anil"), *test_rows(frozen, algorithm="anil", frozen=ALL)]
    assert reuse_table(Table.of([*rows, *trained]), BODY, 5) == reuse_table(Table.of(rows), BODY, 5)


def test_what_the_untrained_network_does_under_its_own_head_counts_for_nothing():
    rows, _ = made()
    found = reuse_table(Table.of(rows), BODY, 5)
    other = [
        dataclasses.replace(r, value=r.value - 9) if (r.algorithm, r.head) == ("random", "own") else r for r in rows
    ]
    assert reuse_table(Table.of(other), BODY, 5) == found
    without = Table.of(row for row in rows if (row.algorithm, row.head) != ("random", "own"))
    assert reuse_table(without, BODY, 5) == found


def test_without_the_nil_head_on_the_untrained_body_there_is_no_index():
    rows, _ = made()
    for lost in (rows, [row for row in rows if row.algorithm != "random"]):
        kept = Table.of(row for row in lost if (row.algorithm, row.head) != ("random", "nil"))
        found = reuse_table(kept, BODY, 5).rows
        assert len(found) == 3 * 3
        assert {(row.value, row.low, row.status) for row in found} == {(None, None, "undefined")}
        assert all("the untrained network was not tested with the NIL head" in row.reason for row in found)
    one = Table.of(row for row in rows if (row.algorithm, row.head, row.seed) != ("random", "nil", 1))
    assert {row.seed for row in reuse_table(one, BODY, 5).rows if row.status == "ok"} == {0}
    assert {row.seed for row in reuse_table(one, BODY, 5).rows if row.status != "ok"} == {1, None}


def test_what_is_not_there_has_no_row_and_repeats_count_once():
    rows, _ = made()
    full = reuse_table(Table.of(rows), BODY, 5)
    assert reuse_table(Table.of([*rows, *rows]), BODY, 5) == full
    assert not reuse_table(Table.of(rows), BODY, 10).rows  # the learner was not tested at 10 steps
    assert not reuse_table(Table.of(dataclasses.replace(row, task=None) for row in rows), BODY, 5).rows
    some = reuse_table(Table.of(row for row in rows if (row.algorithm, row.seed) != ("maml", 1)), BODY, 5)
    assert {row.seed for row in some.rows} == {0}


def test_an_index_without_a_number_says_why():
    rows, _ = made()
    lost = [dataclasses.replace(r, value=None, status="undefined") if (r.task, r.seed, r.frozen) == (3, 1, ALL) else r
            for r in rows]  # fmt: skip
    row = the(reuse_table(Table.of(lost), BODY, 5), head="own", inner_steps=5, seed=1)
    assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
    assert row.reason == "1 of 40 tasks have no accuracy in one of the tests: their inner loop diverged"
    poor = [dataclasses.replace(r, value=r.value + 90) if r.algorithm == "random" else r for r in rows]
    row = the(reuse_table(Table.of(poor), BODY, 5), head="own", inner_steps=5, seed=None)
    assert row.status == "undefined"
    assert "of 2 of 2 seeds is not above 0" in row.reason


def test_tests_that_do_not_belong_together_are_refused():
    rows, _ = made()
    fewer = [row for row in rows if row.algorithm != "random" or row.task < 39]
    with pytest.raises(MetaprobeError, match=r"not of the same tasks \(40, 40, 39 of them\).*test all with one plan"):
        reuse_table(Table.of(fewer), BODY, 5)
    other = [dataclasses.replace(row, checkpoint="other") for row in rows if row.seed == 0 and row.algorithm == "maml"]
    with pytest.raises(
        MetaprobeError, match=r"checkpoints maml0 and other are both maml of seed 0 after 100 iterations"
    ):
        reuse_table(Table.of([*rows, *other]), BODY, 5)
    again = [dataclasses.replace(row, value=row.value + 1) for row in rows if row.algorithm == "random"]
    with pytest.raises(MetaprobeError, match=r"two tests of random random0 with nothing frozen differ on task 0"):
        reuse_table(Table.of([*rows, *again]), BODY, 5)


def test_the_index_of_a_real_ablation(tmp_path):
    imageset, plan = make_imageset(n_classes=12, per_class=18, size=8), TestPlan(tasks=60, n_query=4, per_task=True)
    train(tiny(iterations=30, inner_lr=0.4, outer_lr=0.01, filters=8), imageset, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.safetensors"
    table = freeze(last, imageset, plan, frozen=[(), BODY], inner_steps=(2, 6), nil_head=True)
    found = reuse_table(table, BODY, 6)  # after which the gain is far from 0, whatever a machine's rounding trained
    assert [(row.head, row.inner_steps) for row in found.rows] == [("own", 2), ("own", 6), ("nil", 0)]

    def mean(**where):
        return the(Table.of(chosen(table, task=None)), measure="accuracy", **where).value

    assert found.rows[0].status == "ok", found.rows[0].reason
    for row in (row for row in found.rows if row.status == "ok"):
        test = {"frozen": row.frozen, "inner_steps": row.inner_steps, "head": row.head}
        full = mean(algorithm="maml", frozen="", inner_steps=6, head="own")
        frozen, floor = mean(algorithm="maml", **test), mean(algorithm="random", head="nil")
        assert row.value == pytest.approx((frozen - floor) / (full - floor))


def test_each_learner_of_a_study_has_an_index_on_the_tasks_that_it_was_tested_on():
    rows, _ = made()
    few = [row for row in made(learner="again")[0] if row.algorithm != "random"]
    few = [dataclasses.replace(row, checkpoint=f"again{row.seed}", adapts="all") for row in few if row.task < 10]
    few += [  # tested on more tasks as it was trained, which is not what counts
        dataclasses.replace(row, adapts=None) for row in made(learner="again")[0] if row.algorithm != "random"
    ]
    found = reuse_of_learners(Table.of([*rows, *few]), BODY, 5)
    kept = {(row.learner, row.n) for row in found.rows if row.head == "own" and row.inner_steps == 5}
    assert kept == {(None, 40), ("again", 10)}
    assert tuple(row for row in found.rows if row.learner is None) == reuse_table(Table.of(rows), BODY, 5).rows
