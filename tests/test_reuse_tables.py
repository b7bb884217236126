"""The reuse index from tables of tests."""

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.reuse import reuse_index, reuse_of_learners, reuse_table
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from tests.conftest import make_imageset
from tests.freezing_runs import chosen, the
from tests.test_reuse import BODY, accuracies
from tests.test_training import tiny


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
