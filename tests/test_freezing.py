"""The freezing ablation: each column is the same test with fewer layers, on the same tasks."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from metaprobe.analyses.freezing import accuracy_of, all_subsets, contiguous_blocks, freeze, mean_row
from metaprobe.analyses.table import Row, Table
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import Conv4
from tests.conftest import make_imageset
from tests.freezing_runs import (
    BLOCKS,
    IMAGESET,
    LAYERS,
    PLAN,
    assert_difference,
    assert_mean,
    chosen,
    correct,
    the,
    trained_maml,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_maml(tmp_path_factory.mktemp("freezing") / "run")


@pytest.fixture(scope="module")
def ablation(run):
    """Its blocks, frozen one after another."""
    return freeze(run.checkpoint("last"), IMAGESET, PLAN, random_row=False)


def test_blocks_grow_from_the_input_and_leave_the_head():
    assert contiguous_blocks(LAYERS) == BLOCKS


def test_columns_are_separate_tests_of_the_same_tasks(run, ablation):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    accuracies = {row.frozen: row for row in chosen(ablation, measure="accuracy")}
    assert list(accuracies) == [",".join(block) for block in BLOCKS]
    for block in BLOCKS:
        alone = accuracy_of(checkpoint, IMAGESET, PLAN, frozen=block)
        for measure in ("accuracy", "loss"):
            assert chosen(ablation, frozen=",".join(block), measure=measure) == chosen(alone, measure=measure)
        assert_mean(accuracies[",".join(block)], correct(checkpoint, block, 2))
    row = accuracies["conv1"]
    assert (row.checkpoint, row.algorithm, row.seed, row.iteration) == (checkpoint.fingerprint[:12], "maml", 5, 3)
    assert (row.phase, row.head, row.inner_steps, row.layer, row.samples) == ("post", "own", 2, None, None)
    assert len({accuracies[name].value for name in accuracies}) > 1  # freezing shows on these tasks


def test_a_frozen_body_is_passed_once_for_all_tests_of_it(run, monkeypatch):
    """By the support set and by all samples, whose queries it normalises; with the head's steps, with none, by NIL."""
    passed, plain = [], Conv4._run

    def counted(self, params, images, n_context, layers):
        passed.extend(layers)
        return plain(self, params, images, n_context, layers)

    monkeypatch.setattr(Conv4, "_run", counted)
    freeze(
        run.checkpoint("last"), IMAGESET, PLAN, frozen=BLOCKS[-1:], inner_steps=(2, 0), nil_head=True, random_row=False
    )  # fmt: skip
    assert passed.count("conv1") == passed.count("conv4") == 2


def test_differences_are_paired(run, ablation):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    assert not chosen(ablation, measure="accuracy_difference", frozen="")
    full = correct(checkpoint, (), 2)
    for block in BLOCKS[1:]:
        row = the(ablation, measure="accuracy_difference", frozen=",".join(block))
        assert_difference(row, correct(checkpoint, block, 2) - full)
    # The interval of an unpaired difference, from the same tasks, is another.
    full, gaps = the(ablation, measure="accuracy", frozen=""), []
    for block in BLOCKS[1:]:
        alone, paired = (the(ablation, measure=m, frozen=",".join(block)) for m in ("accuracy", "accuracy_difference"))
        gaps.append(abs(paired.high - paired.value - np.hypot(full.high - full.value, alone.high - alone.value)))
    assert max(gaps) > 0.5


def test_the_random_row_is_the_start_of_the_run(run):
    table = freeze(run.checkpoint("last"), IMAGESET, PLAN, inner_steps=(2, 4))
    start = load_checkpoint(run.checkpoint("start"))
    random = chosen(table, algorithm="random")
    assert {(row.checkpoint, row.iteration, row.seed) for row in random} == {(start.fingerprint[:12], 0, 5)}
    assert len(random) == len(chosen(table, algorithm="maml")) == len(table) / 2
    own = freeze(run.checkpoint("start"), IMAGESET, PLAN, inner_steps=(2, 4), random_row=False)
    assert [dataclasses.replace(row, algorithm="maml", source=None) for row in random] == list(own.rows)
    last = load_checkpoint(run.checkpoint("last"))  # the untrained network adapts as this one does
    assert {row.source for row in random} == {f"adapted as maml {last.fingerprint[:12]}"}
    row = the(table, algorithm="random", measure="accuracy", frozen="conv1", inner_steps=2)
    assert_mean(row, correct(start, ("conv1",), 2))


def test_other_numbers_of_steps_are_tested_on_the_first_and_the_last_set(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    table = freeze(run.checkpoint("last"), IMAGESET, PLAN, inner_steps=(2, 5, 0), random_row=False)
    accuracies = [(row.inner_steps, row.frozen) for row in chosen(table, measure="accuracy")]
    ends = ["", ",".join(BLOCKS[-1])]
    expected = [(2, ",".join(block)) for block in BLOCKS] + [(steps, name) for steps in (5, 0) for name in ends]
    assert accuracies == expected
    row = the(table, measure="accuracy_difference", inner_steps=5)
    assert_difference(row, correct(checkpoint, BLOCKS[-1], 5) - correct(checkpoint, (), 5))  # to as many steps
    assert {row.phase for row in chosen(table, inner_steps=0)} == {"pre"}
    assert the(table, measure="accuracy_difference", inner_steps=0).value == 0  # no step: frozen or not is the same
    sets = [(), BLOCKS[-1]]
    only = freeze(run.checkpoint("last"), IMAGESET, PLAN, frozen=sets, inner_steps=(5,), random_row=False)
    assert only == Table.of(chosen(table, inner_steps=5))
    first = freeze(run.checkpoint("last"), IMAGESET, PLAN, inner_steps=(5, 2), random_row=False)
    assert {row.frozen for row in chosen(first, inner_steps=5)} == {",".join(block) for block in BLOCKS}
    assert {row.frozen for row in chosen(first, inner_steps=2)} == set(ends)


def test_every_set_at_every_number_of_steps_when_asked(run):
    table = freeze(
        run.checkpoint("last"), IMAGESET, PLAN, inner_steps=(2, 5), other_steps="all", random_row=False
    )  # fmt: skip
    accuracies = [(row.inner_steps, row.frozen) for row in chosen(table, measure="accuracy")]
    assert accuracies == [(steps, ",".join(block)) for steps in (2, 5) for block in BLOCKS]
    checkpoint = load_checkpoint(run.checkpoint("last"))
    row = the(table, measure="accuracy_difference", inner_steps=5, frozen="conv1,conv2")
    assert_difference(row, correct(checkpoint, BLOCKS[2], 5) - correct(checkpoint, (), 5))
    ends = freeze(run.checkpoint("last"), IMAGESET, PLAN, inner_steps=(2, 5), random_row=False)
    assert {row for row in ends.rows} < {row for row in table.rows}


def test_all_subsets_of_the_body(run, ablation):
    sets = all_subsets(LAYERS[:-1])
    assert len(set(sets)) == len(sets) == 16
    assert (sets[0], sets[1], sets[-1]) == ((), ("conv1",), LAYERS[:-1])
    assert [len(names) for names in sets] == sorted(len(names) for names in sets)
    assert all(tuple(sorted(names)) == names and "head" not in names for names in sets)
    assert set(contiguous_blocks(LAYERS)) < set(sets)
    table = freeze(run.checkpoint("last"), IMAGESET, PLAN, frozen=sets, random_row=False)
    assert [row.frozen for row in chosen(table, measure="accuracy")] == [",".join(names) for names in sets]
    assert set(ablation.rows) < set(table.rows)
    assert len(all_subsets([f"l{i}" for i in range(10)])) == 1024
    with pytest.raises(MetaprobeError, match=r"11 layers have 2,048 subsets, a test each; at most 1,024"):
        all_subsets([f"l{i}" for i in range(11)])


def test_each_task_gets_a_row_of_its_own_when_asked(run):
    path, plan = run.checkpoint("last"), dataclasses.replace(PLAN, per_task=True)
    checkpoint, plain_table = load_checkpoint(path), freeze(path, IMAGESET, PLAN, inner_steps=(2, 4), nil_head=True)
    table = freeze(path, IMAGESET, plan, inner_steps=(2, 4), nil_head=True)
    assert Table.of(chosen(table, task=None)) == plain_table
    for mean in chosen(plain_table, measure="accuracy"):
        same = {name: getattr(mean, name) for name in ("algorithm", "frozen", "inner_steps", "head")}
        tasks = [row for row in chosen(table, **same) if row.task is not None]
        assert [row.task for row in tasks] == list(range(PLAN.tasks))
        assert {(row.measure, row.low, row.high, row.n) for row in tasks} == {("accuracy", None, None, 1)}
        same = {"value": mean.value, "low": mean.low, "high": mean.high, "n": 6, "reason": mean.reason}
        assert dataclasses.replace(tasks[0], task=None, **same) == mean
        assert "an interval over 6 tasks, fewer than 10, is rough" in mean.reason
        assert np.mean([row.value for row in tasks]) == pytest.approx(mean.value, rel=1e-12)
    some = [r.value for r in chosen(table, algorithm="maml", frozen="conv1", inner_steps=2) if r.task is not None]
    np.testing.assert_allclose(some, correct(checkpoint, ("conv1",), 2), atol=1e-4)


def test_an_inner_loop_that_diverges_has_no_accuracy(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    wild = dataclasses.replace(checkpoint, adaptation=dataclasses.replace(checkpoint.adaptation, inner_lr=1e30))
    table = accuracy_of(wild, IMAGESET, dataclasses.replace(PLAN, per_task=True))
    tasks = [row for row in table.rows if row.task is not None]
    lost = [row for row in tasks if row.value is None]
    assert lost
    assert {row.reason for row in lost} == {"1 of 1 tasks have no finite accuracy: their inner loop diverged"}
    for row in chosen(table, task=None):
        assert (row.value, row.low, row.high, row.status, row.n) == (None, None, None, "undefined", 6)
        assert row.reason == f"{len(lost)} of 6 tasks have no finite {row.measure}: their inner loop diverged"


def test_named_sets_and_progress(run):
    sets, done = [("conv4",), ("conv1", "head"), ()], []
    table = freeze(
        run.checkpoint("last"), IMAGESET, PLAN, frozen=sets, progress=lambda now, total: done.append((now, total))
    )
    assert [row.frozen for row in chosen(table, algorithm="maml", measure="accuracy")] == ["conv4", "conv1,head", ""]
    checkpoint = load_checkpoint(run.checkpoint("last"))
    row = the(table, algorithm="maml", measure="accuracy_difference", frozen="")
    assert_difference(row, correct(checkpoint, (), 2) - correct(checkpoint, ("conv4",), 2), "frozen=conv4")
    assert {total for _, total in done} == {2 * 3 * 6}
    assert [now for now, _ in done] == sorted({now for now, _ in done})
    assert done[-1][0] == 2 * 3 * 6


def test_one_task_has_no_interval(run):
    table = freeze(run.checkpoint("last"), IMAGESET, dataclasses.replace(PLAN, tasks=1), random_row=False)
    assert {(row.low, row.high, row.n) for row in table.rows} == {(None, None, 1)}
    made = mean_row(Row(measure="", value=None), "loss", np.array([1.0, 3.0]))
    assert (made.value, made.n, made.high - made.value) == (2, 2, pytest.approx(stats.t.ppf(0.975, 1)))


def test_the_plan_names_the_tasks(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    first = accuracy_of(checkpoint, IMAGESET, PLAN)
    assert accuracy_of(checkpoint, IMAGESET, PLAN) == first
    for other in ({"seed": 4}, {"split": "val"}, {"n_query": 5}, {"tasks": 5}):
        assert accuracy_of(checkpoint, IMAGESET, dataclasses.replace(PLAN, **other)) != first


def test_what_does_not_fit_is_named(run):
    path = run.checkpoint("last")
    with pytest.raises(MetaprobeError, match=r"unknown layer 'conv5'\. Did you mean conv.*Known: conv1, .*head"):
        freeze(path, IMAGESET, PLAN, frozen=[(), ("conv5",)])
    with pytest.raises(MetaprobeError, match=r"inner steps must be at least 0; got -1"):
        freeze(path, IMAGESET, PLAN, inner_steps=(-1,))
    with pytest.raises(MetaprobeError, match=r"trained on images of 1 × 8 × 8; toy has 3 × 14 × 14"):
        freeze(path, make_imageset(size=14, channels=3), PLAN)
    with pytest.raises(MetaprobeError, match=r"test split of toy has 2 classes, fewer than n_way=3"):
        freeze(path, make_imageset(n_classes=6, size=8), PLAN)


@pytest.mark.parametrize("plan", [{"tasks": 0}, {"chunk": 0}, {"n_query": 0}, {"seed": -1}])
def test_a_plan_without_tasks_or_queries_is_refused(run, plan):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    with pytest.raises(MetaprobeError, match=r"at least"):
        accuracy_of(checkpoint, IMAGESET, dataclasses.replace(PLAN, **plan))


def test_a_single_set_is_tested_once(run):
    table = freeze(
        run.checkpoint("last"), IMAGESET, PLAN, frozen=[("conv1",)], inner_steps=(2, 4), random_row=False
    )  # fmt: skip
    assert len(chosen(table, measure="accuracy", inner_steps=4)) == 1
