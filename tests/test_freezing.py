"""The freezing ablation: each column is the same test with fewer layers, on the same tasks."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy import stats

from analyses.contrasts import contrast, minus_of
from analyses.freezing import TestPlan, accuracy_of, all_subsets, contiguous_blocks, freeze, group_accuracy, mean_row
from analyses.table import Row, Table
from analyses.testing import adapting_all, learner_of
from analyses.testing.accuracy import evaluated
from probe.cli import main
from tests import reference_maml as reference
from tests.conftest import make_imageset
from tests.interval_coverage import interval_of
from tests.several_starts import NETWORK, checkpoint_of, nearest, own_start, plain, two_starts
from tests.test_training import tiny
from trainers.adapt import adapt, query_logits, task_losses
from trainers.checkpoint import load_checkpoint, save_checkpoint
from trainers.errors import MetaprobeError
from trainers.evaluate import evaluate
from trainers.intervals import mean_interval
from trainers.networks import build_network
from trainers.outer_loop import train
from trainers.run import RunFolder
from trainers.tasks.episodes import EpisodeSampler
from trainers.tasks.mixture import mix

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
BLOCKS = ((), ("conv1",), ("conv1", "conv2"), ("conv1", "conv2", "conv3"), ("conv1", "conv2", "conv3", "conv4"))
PLAN = TestPlan(tasks=6, n_query=4, seed=3)
IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two inner steps, rate 0.4 and norms that do not adapt, with queries normalised by the support set."""
    path = tmp_path_factory.mktemp("freezing") / "run"
    config = tiny(iterations=3, inner_lr=0.4, norm="non-transductive", adapt_norm=False, seed=5, outer_lr=0.01)
    train(config, IMAGESET, path)
    return RunFolder(path)


def correct(checkpoint, frozen, steps, plan=PLAN):
    """Accuracy of each task in percent, one by one, without `evaluate`."""
    config, network = checkpoint.config, checkpoint.network()
    params = dict(network.named_parameters())
    sampler = EpisodeSampler(IMAGESET, plan.split, config.n_way, config.n_shot, plan.n_query, plan.seed)
    found = []
    for place in range(plan.tasks):
        task = sampler.batch([place])
        layers = [layer for layer in LAYERS if layer not in frozen]
        adapted = adapt(network, params, task.support, layers=layers, inner_lr=0.4, steps=steps, adapt_norm=False)
        logits = query_logits(network, adapted.params, task.support, task.query, transductive=False)
        found.append(100 * np.mean((logits.argmax(-1) == task.query.labels).numpy()))
    return np.array(found)


def chosen(table, **wanted):
    return [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]


def the(table, **wanted):
    (row,) = chosen(table, **wanted)
    return row


def assert_mean(row, per_task):
    low, high = interval_of(per_task, (0.0, 100.0))
    assert (row.value, row.low, row.high) == pytest.approx((per_task.mean(), low, high), abs=1e-4)
    assert row.n == len(per_task)
    assert row.status == "ok"


def assert_difference(row, per_task, minus="frozen=none"):
    found = mean_interval(per_task[None], (-100.0, 100.0))
    assert (row.value, row.low, row.high) == pytest.approx((found.value, found.low, found.high), abs=1e-4)
    assert (row.n, row.status, row.minus) == (len(per_task), "ok", minus)


def test_blocks_grow_from_the_input_and_leave_the_head():
    assert contiguous_blocks(LAYERS) == BLOCKS


def test_columns_are_separate_tests_of_the_same_tasks(run):
    path = run.checkpoint("last")
    checkpoint = load_checkpoint(path)
    table = freeze(path, IMAGESET, PLAN, random_row=False)
    accuracies = {row.frozen: row for row in chosen(table, measure="accuracy")}
    assert list(accuracies) == [",".join(block) for block in BLOCKS]
    for block in BLOCKS:
        alone = accuracy_of(checkpoint, IMAGESET, PLAN, frozen=block)
        assert chosen(table, frozen=",".join(block), measure="accuracy") == chosen(alone, measure="accuracy")
        assert chosen(table, frozen=",".join(block), measure="loss") == chosen(alone, measure="loss")
        assert_mean(accuracies[",".join(block)], correct(checkpoint, block, 2))
    row = accuracies["conv1"]
    assert (row.checkpoint, row.algorithm, row.seed, row.iteration) == (checkpoint.fingerprint[:12], "maml", 5, 3)
    assert (row.phase, row.head, row.inner_steps, row.layer, row.samples) == ("post", "own", 2, None, None)
    assert len({accuracies[name].value for name in accuracies}) > 1  # freezing shows on these tasks


def test_differences_are_paired(run):
    path = run.checkpoint("last")
    checkpoint = load_checkpoint(path)
    table = freeze(path, IMAGESET, PLAN, random_row=False)
    assert not chosen(table, measure="accuracy_difference", frozen="")
    full = correct(checkpoint, (), 2)
    for block in BLOCKS[1:]:
        row = the(table, measure="accuracy_difference", frozen=",".join(block))
        assert_difference(row, correct(checkpoint, block, 2) - full)
    # The interval of an unpaired difference, from the same tasks, is another.
    full, gaps = the(table, measure="accuracy", frozen=""), []
    for block in BLOCKS[1:]:
        alone, paired = (the(table, measure=m, frozen=",".join(block)) for m in ("accuracy", "accuracy_difference"))
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


def test_all_subsets_of_the_body(run):
    sets = all_subsets(LAYERS[:-1])
    assert len(set(sets)) == len(sets) == 16
    assert (sets[0], sets[1], sets[-1]) == ((), ("conv1",), LAYERS[:-1])
    assert [len(names) for names in sets] == sorted(len(names) for names in sets)
    assert all(tuple(sorted(names)) == names and "head" not in names for names in sets)
    assert set(contiguous_blocks(LAYERS)) < set(sets)
    table = freeze(run.checkpoint("last"), IMAGESET, PLAN, frozen=sets, random_row=False)
    assert [row.frozen for row in chosen(table, measure="accuracy")] == [",".join(names) for names in sets]
    blocks = freeze(run.checkpoint("last"), IMAGESET, PLAN, random_row=False)
    assert set(blocks.rows) < set(table.rows)
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


def test_heads_are_compared_on_the_same_tasks(run):
    plan, checkpoint = dataclasses.replace(PLAN, per_task=True), load_checkpoint(run.checkpoint("last"))
    own, nil = (
        [row for row in accuracy_of(checkpoint, IMAGESET, plan, head=head).rows if row.task is not None]
        for head in ("own", "nil")
    )
    (gap,) = contrast(own, nil, minus_of({"head": "nil"}), (0.0, 100.0))
    assert_difference(gap, correct(checkpoint, (), 2) - np.array([row.value for row in nil]), "head=nil")
    assert (gap.head, gap.phase, gap.frozen, gap.inner_steps) == ("own", "post", "", 2)


def test_the_nil_head_beside_the_ablation(run):
    path, done = run.checkpoint("last"), []
    table = freeze(path, IMAGESET, PLAN, nil_head=True, progress=lambda now, total: done.append((now, total)))
    assert done[-1] == (2 * 6 * PLAN.tasks, 2 * 6 * PLAN.tasks)
    nil = accuracy_of(load_checkpoint(path), IMAGESET, PLAN, head="nil")
    assert chosen(table, head="nil", algorithm="maml") == list(nil.rows)
    start = accuracy_of(load_checkpoint(run.checkpoint("start")), IMAGESET, PLAN, head="nil")
    row = the(table, head="nil", algorithm="random", measure="accuracy")
    assert dataclasses.replace(row, algorithm="maml", source=None) == start.rows[0]
    assert Table.of(row for row in table.rows if row.head != "nil") == freeze(path, IMAGESET, PLAN)


@pytest.fixture(scope="module")
def anil(tmp_path_factory):
    path = tmp_path_factory.mktemp("freezing") / "anil"
    train(tiny("anil", iterations=3, inner_lr=0.4, adapt_norm=False, seed=5, outer_lr=0.01), IMAGESET, path)
    return RunFolder(path)


def test_with_all_layers_adapting_a_frozen_body_is_anil(anil):
    path, plan = anil.checkpoint("last"), dataclasses.replace(PLAN, per_task=True)
    table = freeze(path, IMAGESET, plan, adapts="all", nil_head=True)
    assert {row.adapts for row in table.rows if row.head == "own"} == {"all"}
    assert {row.adapts for row in table.rows if row.head == "nil"} == {None}
    own = accuracy_of(load_checkpoint(path), IMAGESET, plan)
    assert {row.adapts for row in own.rows} == {None}
    frozen = [row for row in chosen(table, algorithm="anil", frozen=",".join(BLOCKS[-1]))
              if row.measure != "accuracy_difference"]  # fmt: skip
    assert [dataclasses.replace(row, adapts=None, frozen="") for row in frozen] == list(own.rows)
    # As it was trained its body takes no steps, whatever is frozen; with all layers adapting it shows.
    trained = freeze(path, IMAGESET, PLAN, random_row=False)
    assert len({row.value for row in chosen(trained, measure="loss")}) == 1
    losses = {row.value for row in chosen(table, algorithm="anil", measure="loss", head="own")}
    assert len(losses) == len(BLOCKS)


def test_all_layers_adapting_is_plain_gradient_descent_on_all_weights(anil):
    """In float64, against autograd written out, one task at a time."""
    checkpoint = load_checkpoint(anil.checkpoint("last"))
    learner = adapting_all(learner_of(checkpoint, PLAN))
    network = learner.network.double()
    learner = dataclasses.replace(learner, start={name: value.detach() for name, value in network.named_parameters()})
    sampler = EpisodeSampler(IMAGESET, "test", 3, 1, PLAN.n_query, PLAN.seed, dtype=torch.float64)
    for frozen in (), ("conv1",), ("conv2", "conv4"):
        found = evaluated(learner, sampler, PLAN, frozen, 3, "own", None)
        params = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
        names = [n for n in params if n.partition(".")[0] not in frozen and ".norm." not in n]
        for place in range(PLAN.tasks):
            task = sampler.batch([place])
            support, labels = task.support.images[0], task.support.labels[0]
            adapted = reference.adapt(params, support, labels, names, 0.4, 3, True, "stride")
            logits = reference.conv4(adapted, task.query.images[0], "stride")
            loss = torch.nn.functional.cross_entropy(logits, task.query.labels[0])
            assert found.loss[place] == pytest.approx(float(loss.detach()), abs=1e-10)
            right = float((logits.argmax(-1) == task.query.labels[0]).double().mean())
            assert found.accuracy[place] == pytest.approx(100 * right)


def test_a_learner_that_adapts_all_layers_has_one_name(run, anil):
    path = run.checkpoint("last")
    assert freeze(path, IMAGESET, PLAN, adapts="all") == freeze(path, IMAGESET, PLAN)
    random = chosen(freeze(anil.checkpoint("last"), IMAGESET, PLAN, adapts="all"), algorithm="random")
    assert {row.adapts for row in random} == {"all"}
    start = load_checkpoint(anil.checkpoint("start"))
    maml = dataclasses.replace(start, adaptation=dataclasses.replace(start.adaptation, layers=LAYERS))
    value = accuracy_of(maml, IMAGESET, PLAN).rows[0].value
    assert the(Table.of(random), measure="accuracy", frozen="").value == value


def test_of_several_initialisations_all_layers_adapt_from_the_one_that_training_would_assign():
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    clusters = two_starts(sampler, PLAN.tasks)
    head_alone = dataclasses.replace(checkpoint_of(clusters).adaptation, layers=("head",))
    learner = adapting_all(learner_of(checkpoint_of(clusters, adaptation=head_alone), PLAN))
    assert (learner.adaptation.layers, learner.identity.adapts) == (LAYERS, "all")
    for frozen in (), BLOCKS[-1]:
        found = evaluated(learner, sampler, PLAN, frozen, 2, "own", None)
        np.testing.assert_allclose(found.loss, by_task(clusters, frozen, 2)[1], rtol=1e-5)


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


def test_the_nil_head_takes_no_step_unless_told(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    nil = accuracy_of(checkpoint, IMAGESET, PLAN, head="nil")
    assert {(row.head, row.inner_steps, row.phase) for row in nil.rows} == {("nil", 0, "pre")}
    stepped = accuracy_of(checkpoint, IMAGESET, PLAN, head="nil", inner_steps=2)
    assert {(row.head, row.inner_steps, row.phase) for row in stepped.rows} == {("nil", 2, "post")}
    assert the(nil, measure="loss").value != the(stepped, measure="loss").value


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


def by_task(clusters, frozen, steps):
    """Accuracy and loss by task: its initialisation put into a plain network, which then adapts without layers."""
    sampler, found = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed), []
    for place in range(PLAN.tasks):
        task = sampler.batch([place])
        network = plain(own_start(clusters, task.support))
        layers = [layer for layer in LAYERS if layer not in frozen]
        params = dict(network.named_parameters())
        adapted = adapt(network, params, task.support, layers=layers, inner_lr=0.3, steps=steps)
        logits = query_logits(network, adapted.params, task.support, task.query).detach()
        right = (logits.argmax(-1) == task.query.labels).double().mean()
        found.append((100 * float(right), float(task_losses(logits, task.query.labels))))
    return np.array(found).T


def test_of_several_initialisations_each_task_freezes_its_own(tmp_path):
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    clusters = two_starts(sampler, PLAN.tasks)
    places = [nearest(clusters, sampler.batch([place]).support) for place in range(PLAN.tasks)]
    assert set(places) == {0, 1}
    path, checkpoint = tmp_path / "a.safetensors", checkpoint_of(clusters)
    save_checkpoint(path, checkpoint)
    table = freeze(path, IMAGESET, PLAN, inner_steps=(2, 0), random_row=False)
    # Without a step, too, and with the whole body frozen, a task keeps the cluster that the full adaptation finds.
    for frozen, steps in [*((block, 2) for block in BLOCKS), ((), 0)]:
        accuracy, loss = by_task(clusters, frozen, steps)
        wanted = {"frozen": ",".join(frozen), "inner_steps": steps}
        assert_mean(the(table, measure="accuracy", **wanted), accuracy)
        row = the(table, measure="loss", **wanted)
        assert row.value == pytest.approx(loss.mean(), rel=1e-5)
        assert accuracy_of(checkpoint, IMAGESET, PLAN, frozen=frozen, inner_steps=steps).rows[1].value == row.value
    losses = {row.value for row in chosen(table, measure="loss")}
    assert len(losses) == len(chosen(table, measure="loss")) - 1  # step 0 is the same, frozen or not


def test_the_random_row_of_several_initialisations_is_one_untrained_network(tmp_path):
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    path, checkpoint = tmp_path / "a.safetensors", checkpoint_of(two_starts(sampler, PLAN.tasks))
    save_checkpoint(path, checkpoint)
    random = the(freeze(path, IMAGESET, PLAN, frozen=[()]), algorithm="random", measure="accuracy")
    single = dataclasses.replace(
        checkpoint, clusters=None, params=dict(build_network(NETWORK, checkpoint.config.seed).named_parameters())
    )
    assert random.value == accuracy_of(single, IMAGESET, PLAN).rows[0].value


def mixture(**sizes):
    return mix([(name, make_imageset(n_classes=n, per_class=18, size=8, seed=n)) for name, n in sizes.items()])


def test_each_domain_alone_and_all_together(run):
    checkpoint, mixed, done = load_checkpoint(run.checkpoint("last")), mixture(dots=12, bars=9), []
    table = group_accuracy(checkpoint, mixed, PLAN, advance=done.append)
    assert [(row.group, row.measure) for row in table.rows] == [
        (group, measure) for group in ("dots", "bars", None) for measure in ("accuracy", "loss")
    ]
    assert sum(done) == 3 * PLAN.tasks
    for group in ("dots", "bars", None):
        plan = dataclasses.replace(PLAN, group=group)
        assert chosen(table, group=group) == list(accuracy_of(checkpoint, mixed, plan).rows)
        assert chosen(table, group=group, measure="accuracy")[0].n == PLAN.tasks
    # A domain's tasks are those of a sampler that knows that domain alone.
    sampler = EpisodeSampler(mixed, "test", 3, 1, PLAN.n_query, PLAN.seed, group="bars")
    assert set(sampler.batch(range(6)).groups) == {"bars"}
    network = checkpoint.network()
    found = evaluate(
        network, dict(network.named_parameters()), sampler, checkpoint.adaptation, tasks=6, transductive=False
    )
    assert_mean(the(table, group="bars", measure="accuracy"), found.accuracy)
    frozen = freeze(run.checkpoint("last"), mixed, dataclasses.replace(PLAN, group="bars"), frozen=[()])
    assert {row.group for row in frozen.rows} == {"bars"}
    assert the(frozen, algorithm="maml", measure="accuracy").value == the(table, group="bars", measure="accuracy").value


def test_each_task_of_a_domain_is_the_same_one_for_every_learner(run):
    mixed, plan = mixture(dots=12, bars=9), dataclasses.replace(PLAN, per_task=True)
    for name in ("start", "last"):
        checkpoint = load_checkpoint(run.checkpoint(name))
        table = group_accuracy(checkpoint, mixed, plan)
        network = checkpoint.network()
        for group in ("dots", "bars", None):
            rows = [row for row in chosen(table, measure="accuracy", group=group) if row.task is not None]
            assert [row.task for row in rows] == list(range(PLAN.tasks))
            tasks = EpisodeSampler(mixed, "test", 3, 1, PLAN.n_query, PLAN.seed, group=group)
            start = dict(network.named_parameters())
            found = evaluate(network, start, tasks, checkpoint.adaptation, tasks=6, transductive=False)
            assert [row.value for row in rows] == found.accuracy.tolist()


def test_a_set_of_one_domain_is_tested_once(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    assert group_accuracy(checkpoint, IMAGESET, PLAN) == accuracy_of(checkpoint, IMAGESET, PLAN)
    found = group_accuracy(checkpoint, IMAGESET, PLAN, head="matching")
    assert found == accuracy_of(checkpoint, IMAGESET, PLAN, head="matching")
    assert {row.head for row in found.rows} == {"matching"}


def test_domains_that_do_not_fit_are_named(run):
    checkpoint, mixed = load_checkpoint(run.checkpoint("last")), mixture(dots=12, bars=9)
    with pytest.raises(MetaprobeError, match=r"every domain was asked for, and of 'bars' alone; leave one out"):
        group_accuracy(checkpoint, mixed, dataclasses.replace(PLAN, group="bars"))
    with pytest.raises(MetaprobeError, match=r"unknown domain 'bar'. Did you mean bars\?"):
        accuracy_of(checkpoint, mixed, dataclasses.replace(PLAN, group="bar"))
    with pytest.raises(MetaprobeError, match=r"test split of bars \(of dots\+bars\) has 2 classes, fewer than n_way=3"):
        group_accuracy(checkpoint, mixture(dots=12, bars=6), PLAN)


# --- the command ---


def asked(capsys, *words):
    assert main(["freeze", *words, "--json", "--tasks", "3", "--n-query", "4"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def toy_data(monkeypatch):
    monkeypatch.setattr("trainers.tasks.load_data_for", lambda *_, **__: IMAGESET)


@pytest.mark.usefixtures("toy_data")
def test_the_command_takes_several_checkpoints_and_every_option(run, anil, capsys):
    maml, other = str(run.checkpoint("last")), str(anil.checkpoint("last"))
    found = asked(capsys, maml, str(run.checkpoint("third")), "--inner-steps", "2", "4", "--other-steps", "all")
    accuracies = [row for row in found if row["measure"] == "accuracy" and row["algorithm"] == "maml"]
    assert {row["iteration"] for row in accuracies} == {1, 3}
    assert len(accuracies) == 2 * (2 * 5 + 1)  # blocks at two numbers of steps, and the NIL head
    index = [(row["iteration"], row["head"], row["inner_steps"]) for row in found if row["measure"] == "reuse_index"]
    assert index == [(at, head, steps) for at in (3, 1) for head, steps in (("own", 2), ("own", 4), ("nil", 0))]
    every = asked(capsys, maml, "--all-subsets")
    assert len({row["frozen"] for row in every if row["measure"] == "accuracy" and row["head"] == "own"}) == 16
    tasks = asked(capsys, maml, "--sets", "conv1", "--per-task")
    assert {row["task"] for row in tasks} == {None, 0, 1, 2}
    trained = asked(capsys, other)
    assert "adapts" not in trained[0]
    assert not [row for row in trained if row["measure"] == "reuse_index"]  # freezing the body changes nothing there
    everything = asked(capsys, other, "--adapts", "all")
    assert [row["adapts"] for row in everything if row["measure"] == "reuse_index"] == ["all", None]


@pytest.mark.usefixtures("toy_data")
def test_the_command_refuses_sets_beside_all_subsets(run, capsys):
    assert main(["freeze", str(run.checkpoint("last")), "--sets", "conv1", "--all-subsets"]) == 2
    assert "--sets names sets of layers, --all-subsets takes every one; leave one out" in capsys.readouterr().err
