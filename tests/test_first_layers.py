"""Tests of one learner in several ways share what no task changes, and nothing else."""

from collections import Counter

import pytest
import torch

from metaprobe.trainers.config import Adaptation, NetworkConfig
from metaprobe.trainers.evaluate import evaluate, evaluate_each
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.networks.first_layers import first_layers_once, one_batch
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
SETS = [LAYERS, LAYERS[1:], LAYERS[2:], LAYERS[1:3], LAYERS[4:], ()]
WAYS = [(Adaptation(layers, 0.4, 2), "own") for layers in SETS] + [(Adaptation((), 0.4, 0), "nil")]


@pytest.fixture
def network():
    return build_network(NetworkConfig("conv4", 3, 1, 8, 6, "stride", "transductive"), seed=0)


@pytest.fixture
def sampler():
    return EpisodeSampler(make_imageset(n_classes=12, per_class=18, size=8), "test", 3, 2, 4, 1)


@pytest.fixture
def passes(network, monkeypatch):
    """How often each layer was passed through, whatever worker's copy of the network did it."""
    counted = Counter()
    plain = type(network)._run

    def run(self, params, images, n_context, layers):
        counted.update(layers)
        return plain(self, params, images, n_context, layers)

    monkeypatch.setattr(type(network), "_run", run)
    return counted


@pytest.mark.parametrize("norm", ["transductive", "support", "one_query"])
def test_each_way_gives_what_it_gives_alone(network, sampler, norm):
    params = dict(network.named_parameters())
    how = {"tasks": 5, "chunk": 2, "transductive": norm == "transductive", "one_query": norm == "one_query"}
    together = evaluate_each(network, params, sampler, WAYS, **how)
    for (adaptation, head), found in zip(WAYS, together, strict=True):
        alone = evaluate(network, params, sampler, adaptation, head=head, **how)
        assert (found.score == alone.score).all()
        assert (found.loss == alone.loss).all()
        assert (found.queries, found.kind) == (alone.queries, alone.kind)


@pytest.mark.parametrize("transductive", [True, False])
def test_a_frozen_layer_is_passed_once(network, sampler, passes, transductive):
    """conv1 as it was: once for the support set and once for the queries, of six ways in which it does not adapt."""
    params = dict(network.named_parameters())
    evaluate_each(network, params, sampler, WAYS[1:], tasks=2, chunk=2, transductive=transductive)
    assert passes["conv1"] == 2
    evaluate_each(network, params, sampler, WAYS[:1], tasks=2, chunk=2, transductive=transductive)
    assert passes["conv1"] == 2 + 3  # two steps and the queries, each with weights of its own


def test_progress_counts_every_way(network, sampler):
    told = []
    evaluate_each(
        network, dict(network.named_parameters()), sampler, WAYS[3:], tasks=5, chunk=2, advance=told.append
    )  # fmt: skip
    assert told == [2 * 4, 2 * 4, 1 * 4]


def test_what_has_changed_is_computed_anew(network):
    params = {name: value.detach().clone() for name, value in network.named_parameters()}
    images = torch.rand(2, 3, 1, 8, 8)
    with torch.no_grad(), first_layers_once(images):
        before = forward_tasks(network, params, images)
        params["conv2.conv.weight"].mul_(-1)
        changed = forward_tasks(network, params, images)
        images.neg_()
        other = forward_tasks(network, params, images)
    with torch.no_grad():
        assert torch.equal(other, forward_tasks(network, params, images))
        assert torch.equal(changed, forward_tasks(network, params, -images))
    assert not torch.equal(before, changed)


def test_gradients_flow_where_outputs_are_remembered(network):
    params, images = dict(network.named_parameters()), torch.rand(2, 3, 1, 8, 8)
    with first_layers_once(images):
        with torch.no_grad():
            forward_tasks(network, params, images)
        found = torch.autograd.grad(forward_tasks(network, params, images).sum(), list(params.values()))
    assert all(gradient.abs().sum() > 0 for gradient in found[:1])


def test_samples_are_joined_once():
    support, query = torch.rand(2, 3, 4), torch.rand(2, 5, 4)
    with first_layers_once(support, query):
        assert one_batch(support, query) is one_batch(support, query)
        other = query + 1  # of which nothing is remembered: its memory may be another's later
        assert one_batch(support, other) is not one_batch(support, other)
    assert torch.equal(one_batch(support, query), torch.cat([support, query], 1))
