"""Freezing with other heads, and of learners that were trained to adapt the head alone."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.contrasts import contrast, minus_of
from metaprobe.analyses.freezing import accuracy_of, freeze
from metaprobe.analyses.table import Table
from metaprobe.analyses.testing import adapting_all, learner_of
from metaprobe.analyses.testing.accuracy import evaluated
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_maml as reference
from tests.freezing_runs import (
    BLOCKS,
    IMAGESET,
    LAYERS,
    PLAN,
    assert_difference,
    chosen,
    correct,
    the,
    trained_anil,
    trained_maml,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_maml(tmp_path_factory.mktemp("freezing") / "run")


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
    return trained_anil(tmp_path_factory.mktemp("freezing") / "anil")


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
        (found,) = evaluated(learner, sampler, PLAN, [(frozen, 3, "own")], None)
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


def test_the_nil_head_takes_no_step_unless_told(run):
    checkpoint = load_checkpoint(run.checkpoint("last"))
    nil = accuracy_of(checkpoint, IMAGESET, PLAN, head="nil")
    assert {(row.head, row.inner_steps, row.phase) for row in nil.rows} == {("nil", 0, "pre")}
    stepped = accuracy_of(checkpoint, IMAGESET, PLAN, head="nil", inner_steps=2)
    assert {(row.head, row.inner_steps, row.phase) for row in stepped.rows} == {("nil", 2, "post")}
    assert the(nil, measure="loss").value != the(stepped, measure="loss").value
