"""Freezing any module: against plain autograd written out, and the module as it was afterwards."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from metaprobe.analyses.freezing import all_subsets, freeze, freeze_module
from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.reuse import reuse_table
from metaprobe.trainers.checkpoint import fingerprint_of, load_checkpoint
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.captures import sampler, small_network, some_tasks, state_of
from tests.conftest import make_imageset
from tests.freezing_runs import chosen, the
from tests.test_training import tiny


class Block(nn.Module):
    def __init__(self, channels, norm):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.norm = norm(channels)

    def forward(self, x):
        return x + self.second(torch.relu(self.norm(self.first(x))))


class Residual(nn.Module):
    """Residual blocks and a head: layers stem, low, high, head."""

    def __init__(self, norm):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, stride=4)
        self.low, self.high = Block(4, norm), Block(4, norm)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.drop(self.high(self.low(self.stem(x))).mean(dim=(2, 3))))


NORMS = {
    "none": lambda channels: nn.Identity(),
    "group": lambda channels: nn.GroupNorm(2, channels),
    "batch": nn.BatchNorm2d,
}
LAYERS = ("stem", "low", "high", "head")
ADAPTATION = Adaptation(LAYERS, inner_lr=0.2, steps=2)
TASKS = some_tasks(4)


def network_of(norm, train=True, dropout=0.0):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = Residual(NORMS[norm]).double().train(train)
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
    network.drop.p = dropout
    return network


def plain(network, frozen, steps, lr=0.2):
    """Accuracy (percent) and loss of each task, one at a time, on copies of the module."""
    found = []
    for place in range(len(TASKS)):
        own, task = copy.deepcopy(network), TASKS[place : place + 1]
        moving = {n: p for n, p in own.named_parameters() if n.partition(".")[0] not in frozen}
        for _ in range(steps):
            loss = F.cross_entropy(own(task.support.images[0]), task.support.labels[0])
            for parameter, gradient in zip(
                moving.values(), torch.autograd.grad(loss, list(moving.values())), strict=True
            ):
                parameter.data -= lr * gradient
        logits = own(task.query.images[0]).detach()
        right = (logits.argmax(-1) == task.query.labels[0]).double().mean()
        found.append((100 * float(right), float(F.cross_entropy(logits, task.query.labels[0]))))
    return np.array(found).T


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("norm", list(NORMS))
def test_any_module_is_frozen_as_plain_autograd_does_it_and_left_as_it_was(norm, mode):
    network = network_of(norm, mode == "train")
    before = state_of(network)
    table = freeze_module(network, None, TASKS, ADAPTATION, inner_steps=(2, 5))
    assert state_of(network) == before
    blocks = [LAYERS[:size] for size in range(4)]
    expected = [(2, block) for block in blocks] + [(5, block) for block in (blocks[0], blocks[-1])]
    assert [(r.inner_steps, r.frozen) for r in chosen(table, measure="loss")] == [(s, ",".join(b)) for s, b in expected]
    for steps, block in expected:
        accuracy, loss = plain(network, block, steps)
        where = {"inner_steps": steps, "frozen": ",".join(block)}
        assert the(table, measure="loss", **where).value == pytest.approx(loss.mean(), abs=1e-10)
        assert the(table, measure="accuracy", **where).value == pytest.approx(accuracy.mean())
        if block:
            row = the(table, measure="accuracy_difference", **where)
            assert row.value == pytest.approx((accuracy - plain(network, (), steps)[0]).mean())
    row = table.rows[0]
    params = dict(network.named_parameters())
    assert (row.checkpoint, row.algorithm, row.n) == (fingerprint_of(params)[:12], None, len(TASKS))
    assert len({round(r.value, 6) for r in chosen(table, measure="loss")}) == len(expected)


def test_weights_and_buffers_may_be_given_and_an_untrained_control():
    network, other = network_of("batch", train=False), network_of("batch", train=False)
    with torch.no_grad():
        for value in (*other.parameters(), *other.buffers()):
            if value.is_floating_point():
                value += 0.1
    before, done = state_of(network), []
    table = freeze_module(
        network, other.state_dict(), TASKS, ADAPTATION, frozen=all_subsets(LAYERS[:-1]), untrained=network.state_dict(),
        per_task=True, progress=lambda now, total: done.append((now, total)),
    )  # fmt: skip
    assert state_of(network) == before
    assert done == [(now, 2 * 8 * 4) for now in range(1, 2 * 8 * 4 + 1)]
    for algorithm, module in ((None, other), ("random", network)):
        for frozen in all_subsets(LAYERS[:-1]):
            accuracy, loss = plain(module, frozen, 2)
            where = {"algorithm": algorithm, "frozen": ",".join(frozen)}
            assert the(table, measure="loss", **where).value == pytest.approx(loss.mean(), abs=1e-10)
            tasks = [row for row in chosen(table, measure="accuracy", **where) if row.task is not None]
            assert [row.task for row in tasks] == list(TASKS.indices)
            np.testing.assert_allclose([row.value for row in tasks], accuracy, atol=1e-9)
    alone = freeze_module(other, None, TASKS, ADAPTATION, frozen=all_subsets(LAYERS[:-1]), per_task=True)
    assert alone.rows == tuple(row for row in table.rows if row.algorithm is None)


def test_what_is_random_in_a_module_is_the_same_in_every_test_and_run():
    network = network_of("group", dropout=0.5)
    before = state_of(network)
    table = freeze_module(network, None, TASKS, ADAPTATION, frozen=[(), LAYERS], inner_steps=(2, 0), other_steps="all")
    assert state_of(network) == before
    torch.rand(3)
    assert freeze_module(network, None, TASKS, ADAPTATION, frozen=[(), LAYERS], inner_steps=(2, 0)) == table
    still = [the(table, measure="loss", frozen=",".join(LAYERS), inner_steps=steps).value for steps in (2, 0)]
    assert still[0] == still[1] == the(table, measure="loss", frozen="", inner_steps=0).value
    assert freeze_module(network, None, TASKS, ADAPTATION, frozen=[()], seed=1) != freeze_module(
        network, None, TASKS, ADAPTATION, frozen=[()]
    )


def test_a_network_of_ours_is_frozen_as_its_checkpoint_is(tmp_path):
    imageset = make_imageset(n_classes=12, per_class=18, size=8)
    checkpoint = train(tiny(iterations=2, norm="non-transductive"), imageset, tmp_path / "run")
    plan = TestPlan(tasks=4, n_query=4, chunk=1)
    expected = freeze(tmp_path / "run" / "checkpoints" / "last.safetensors", imageset, plan, random_row=False)
    tasks = EpisodeSampler(imageset, "test", 3, 1, 4, 0).batch(range(4))
    network = checkpoint.network()
    found = freeze_module(network, checkpoint.params, tasks, checkpoint.adaptation, transductive=False)
    nothing = {"algorithm": None, "seed": None, "iteration": None}
    assert [dataclasses.replace(row, **nothing) for row in expected.rows] == list(found.rows)
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors").fingerprint == checkpoint.fingerprint


def test_the_functional_call_reads_what_is_given():
    """Otherwise the comparison above could be of the module's own weights."""
    network = network_of("none")
    doubled = {name: 2 * value.detach() for name, value in network.named_parameters()}
    images = TASKS.query.images[0]
    assert not torch.equal(functional_call(network, doubled, (images,)), network(images))
    tables = [freeze_module(network, params, TASKS, ADAPTATION, frozen=[()]) for params in (doubled, None)]
    assert tables[0].rows[1].value != tables[1].rows[1].value


def test_what_does_not_fit_is_named():
    network = network_of("batch")
    with pytest.raises(MetaprobeError, match=r"unknown layer 'hed'\. Did you mean head"):
        freeze_module(network, None, TASKS, ADAPTATION, frozen=[("hed",)])
    with pytest.raises(MetaprobeError, match=r"unknown parameter 'head.weigth'\. Did you mean head.weight"):
        freeze_module(network, {"head.weigth": torch.zeros(3, 4)}, TASKS, ADAPTATION)
    with pytest.raises(
        MetaprobeError, match=r"parameter 'head.weight' has shape \(2, 4\), the network expects \(3, 4\)"
    ):
        freeze_module(network, {"head.weight": torch.zeros(2, 4)}, TASKS, ADAPTATION)
    with pytest.raises(MetaprobeError, match=r"Residual normalises in its own way \(train or eval mode\)"):
        freeze_module(network, None, TASKS, ADAPTATION, transductive=False)
    with pytest.raises(MetaprobeError, match=r"at least one task; got none"):
        freeze_module(network, None, TASKS[:0], ADAPTATION)
    with pytest.raises(MetaprobeError, match=r"at least one set of layers; the empty set freezes nothing"):
        freeze_module(network, None, TASKS, ADAPTATION, frozen=[])
    before = state_of(network)
    with pytest.raises(MetaprobeError, match=r"inner steps must be at least 0; got -1"):
        freeze_module(network, None, TASKS, ADAPTATION, inner_steps=(-1,))
    assert state_of(network) == before


def test_the_nil_head_needs_a_network_of_ours():
    from metaprobe.trainers.query_scores import query_scores

    with pytest.raises(MetaprobeError, match=r"the NIL head reads the features of a TaskNetwork; Residual is none"):
        query_scores(network_of("none"), {}, TASKS, "nil")
    network = small_network()
    scores = query_scores(network, dict(network.named_parameters()), sampler().batch(range(2)), "nil")
    assert scores.shape == (2, 2)


def nil(network):
    """Accuracy (percent) of each task, by the labels of the support images, weighted by softmax of cosines."""
    found = []
    for place in range(len(TASKS)):
        own, task = copy.deepcopy(network), TASKS[place : place + 1]

        def features(images, own=own):
            maps = own.high(own.low(own.stem(images)))
            return own.drop(maps.mean(dim=(2, 3))).detach().numpy().astype(np.float64)

        support, query = features(task.support.images[0]), features(task.query.images[0])
        support, query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (support, query))
        weights = np.exp(query @ support.T)
        votes = weights @ np.eye(3)[task.support.labels[0].numpy()]
        found.append(100 * np.mean(votes.argmax(axis=1) == task.query.labels[0].numpy()))
    return found


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_nil_head_reads_what_the_last_layer_does_and_gives_a_reuse_index_its_floor(norm):
    network = network_of(norm)
    other = {name: 1.3 * value.detach() + 0.1 for name, value in network.named_parameters()}
    table = freeze_module(network, None, TASKS, ADAPTATION, untrained=other, nil_head=True, per_task=True)
    assert not network.head._forward_pre_hooks
    for algorithm, weights in ((None, {}), ("random", other)):
        tested = copy.deepcopy(network)
        tested.load_state_dict(weights, strict=False)
        rows = [
            row for row in chosen(table, head="nil", algorithm=algorithm, measure="accuracy") if row.task is not None
        ]
        assert [row.value for row in rows] == pytest.approx(nil(tested))
        assert {(row.inner_steps, row.phase, row.frozen) for row in rows} == {(0, "pre", "")}
    index = reuse_table(table, LAYERS[:-1], ADAPTATION.steps)
    assert [(row.head, row.inner_steps) for row in index.rows] == [("own", 2), ("nil", 0)]
    without = freeze_module(network, None, TASKS, ADAPTATION, untrained=other, per_task=True)
    (row,) = reuse_table(without, LAYERS[:-1], ADAPTATION.steps).rows
    assert "the untrained network was not tested with the NIL head" in row.reason


def test_a_last_layer_that_is_none_is_told():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 64, dtype=torch.float64))

        def forward(self, x):
            return x.flatten(1) @ self.weight.T

    tasks, adaptation = TASKS, Adaptation(("weight",), inner_lr=0.1, steps=1)
    size = TASKS.support.images[0, 0].numel()
    network = Bare()
    network.weight = nn.Parameter(torch.ones(3, size, dtype=torch.float64))
    with pytest.raises(MetaprobeError, match=r"the last layer, 'weight', is given: expected a submodule"):
        freeze_module(network, None, tasks, adaptation, nil_head=True, frozen=[()])
