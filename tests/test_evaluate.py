"""Test-time scores against plain float64 code, written a second time here and in tests/reference_maml.py."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from metaprobe.trainers.config import Adaptation, NetworkConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import evaluate
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_maml as reference
from tests.conftest import make_imageset

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
ADAPTATION = Adaptation(LAYERS, inner_lr=0.4, steps=2)
TASKS = 5
IMAGESET = make_imageset(n_classes=12, per_class=10, size=16)


def setting(shot=2, dtype=torch.float64, downsample="max-pool", imageset=IMAGESET):
    """A network whose norms are not the identity, and a sampler of its tasks."""
    filters = 4 if downsample == "max-pool" else 16  # where a whole feature vector dies, ways tie and rounding decides
    config = NetworkConfig("conv4", 3, 1, 16, filters, downsample, "transductive")
    network = build_network(config, seed=3).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return network.to(dtype), EpisodeSampler(imageset, "test", 3, shot, 4, seed=2, dtype=dtype)


def scores(network, sampler, adaptation=ADAPTATION, tasks=TASKS, **options):
    return evaluate(network, dict(network.named_parameters()), sampler, adaptation, tasks=tasks, **options)


def reference_scores(
    network, sampler, adaptation=ADAPTATION, head="own", transductive=True, downsample="max-pool", one_query=False
):
    """Accuracy (percent) and loss (nats) of each task, by plain autograd, one task at a time."""
    params = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    names = [n for n in params if n.partition(".")[0] in adaptation.layers]
    accuracies, losses = [], []
    for place in range(TASKS):
        task = sampler.batch([place])
        support, query, labels = task.support.images[0], task.query.images[0], task.query.labels[0]
        adapted = reference.adapt(
            params, support, task.support.labels[0], names, adaptation.inner_lr, adaptation.steps, True, downsample
        )
        model = {name: value.detach() for name, value in adapted.items()}
        if head != "own":
            model |= identity_head(model["head.weight"].shape[1])  # the logits are the features
        if one_query:  # a plain loop over queries, each in one batch with the support set
            each = [reference.conv4(model, torch.cat([support, one[None]]), downsample)[-1] for one in query]
            logits = torch.stack(each)
        elif transductive:
            logits = reference.conv4(model, query, downsample)
        else:
            both = torch.cat([support, query])
            logits = reference.conv4(model, both, downsample, len(support))[len(support) :]
        if head != "own":
            features = reference.conv4(model, support, downsample)
            read = attention if head == "nil" else summed
            probability = read(logits.numpy(), features.numpy(), task.support.labels[0].numpy())
        else:
            probability = torch.softmax(logits, dim=1).numpy()
        accuracies.append(100 * float(np.mean(probability.argmax(axis=1) == labels.numpy())))
        losses.append(float(-np.mean(np.log(probability[np.arange(len(labels)), labels.numpy()]))))
    return np.array(accuracies), np.array(losses)


def identity_head(features):
    return {"head.weight": torch.eye(features).double(), "head.bias": torch.zeros(features).double()}


def attention(query, support, labels):
    """Vinyals et al. (2016), eq. 1 and §2.1.1: P(y | x) = Σ a(x, x_i) y_i, a = exp c(x, x_i) / Σ exp c(x, x_j).

    Features that are all zero (ReLU leaves some in a small network) have no direction: their cosine counts as 0.
    """
    probability = np.zeros((len(query), labels.max() + 1))
    for row, x in enumerate(query):
        cosine = [x @ s / math.sqrt(x @ x) / math.sqrt(s @ s) if x.any() and s.any() else 0.0 for s in support]
        total = sum(math.exp(c) for c in cosine)
        for c, label in zip(cosine, labels, strict=True):
            probability[row, label] += math.exp(c) / total
    return probability


def summed(query, support, labels):
    """The softmax over classes of Σ c(x, x_i), the sum of each class's cosines (Ravi and Larochelle's baseline)."""
    total = np.zeros((len(query), labels.max() + 1))
    for row, x in enumerate(query):
        for s, label in zip(support, labels, strict=True):
            total[row, label] += x @ s / math.sqrt(x @ x) / math.sqrt(s @ s) if x.any() and s.any() else 0.0
    return np.exp(total) / np.exp(total).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("downsample", ["max-pool", "stride"])
@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize("head", ["own", "nil", "matching"])
@pytest.mark.parametrize("shot", [1, 5])
def test_accuracy_and_loss_are_those_of_plain_code(shot, head, transductive, downsample):
    network, sampler = setting(shot, downsample=downsample)
    found = scores(network, sampler, head=head, transductive=transductive)
    accuracy, loss = reference_scores(
        network, sampler, head=head, transductive=transductive, downsample=downsample
    )  # fmt: skip
    np.testing.assert_allclose(found.loss, loss, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.accuracy, accuracy, rtol=0, atol=1e-5)  # a mean of float32 zeros and ones
    assert loss.std() > 1e-3  # the tasks differ, so an exchange would show
    assert found.accuracy.dtype == found.loss.dtype == np.float64


@pytest.mark.parametrize("downsample", ["max-pool", "stride"])
@pytest.mark.parametrize("head", ["own", "nil", "matching"])
@pytest.mark.parametrize("shot", [1, 5])
def test_one_query_at_a_time_is_a_plain_loop_over_queries(shot, head, downsample):
    network, sampler = setting(shot, downsample=downsample)
    found = scores(network, sampler, head=head, one_query=True)
    accuracy, loss = reference_scores(network, sampler, head=head, downsample=downsample, one_query=True)
    np.testing.assert_allclose(found.loss, loss, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.accuracy, accuracy, rtol=0, atol=1e-5)
    for transductive in (True, False):  # another number than either of the other ways, and whichever was trained with
        other = scores(network, sampler, head=head, transductive=transductive).loss
        assert np.abs(found.loss - other).min() > 1e-6
        same = scores(network, sampler, head=head, transductive=transductive, one_query=True).loss
        np.testing.assert_array_equal(same, found.loss)


def test_the_ways_of_scoring_differ():
    """Otherwise the comparison above could not tell them apart."""
    network, sampler = setting()
    found = [scores(network, sampler, head=h, transductive=t).loss for h in ("own", "nil") for t in (True, False)]
    for i, one in enumerate(found):
        assert all(np.abs(one - other).min() > 1e-6 for other in found[i + 1 :])


@pytest.mark.parametrize("layers", [(), ("head",), ("conv1", "conv4")])
def test_fewer_layers_and_fewer_steps(layers):
    network, sampler = setting()
    frozen = dataclasses.replace(ADAPTATION, layers=layers)
    found = scores(network, sampler, frozen)
    np.testing.assert_allclose(found.loss, reference_scores(network, sampler, frozen)[1], rtol=0, atol=1e-10)
    still = dataclasses.replace(ADAPTATION, steps=0)
    none = scores(network, sampler, still)
    np.testing.assert_allclose(none.loss, reference_scores(network, sampler, still)[1], rtol=0, atol=1e-10)
    assert (np.abs(found.loss - none.loss).max() > 1e-3) == bool(layers)
    if not layers:  # nothing adapts: as good as no step, to the last bit
        np.testing.assert_array_equal(found.loss, none.loss)


def test_training_options_change_no_score():
    network, sampler = setting()
    first = dataclasses.replace(ADAPTATION, first_order=True)
    np.testing.assert_array_equal(scores(network, sampler, first).loss, scores(network, sampler).loss)
    norms = dataclasses.replace(ADAPTATION, adapt_norm=False)
    assert np.abs(scores(network, sampler, norms).loss - scores(network, sampler).loss).max() > 1e-4


@pytest.mark.parametrize("head", ["own", "nil"])
def test_the_chunk_changes_only_rounding_and_the_threads_nothing(head):
    network, sampler = setting()
    base = scores(network, sampler, head=head, chunk=1)
    for chunk in (2, 4, 5, 50):
        np.testing.assert_allclose(scores(network, sampler, head=head, chunk=chunk).loss, base.loss, rtol=0, atol=1e-12)
    single, samples = setting(dtype=torch.float32)
    once = scores(single, samples, head=head, chunk=2)
    try:
        torch.set_num_threads(3)
        with TaskWorkers(single) as workers:
            lent = scores(single, samples, head=head, chunk=2, workers=workers)
        alone = scores(single, samples, head=head, chunk=2)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    for other in (lent, alone):
        np.testing.assert_array_equal(other.loss, once.loss)
        np.testing.assert_array_equal(other.accuracy, once.accuracy)


def test_task_i_has_the_same_score_however_many_there_are_and_progress_counts_them():
    network, sampler = setting()
    done = []
    whole = scores(network, sampler, chunk=2, advance=done.append)
    assert done == [2, 2, 1]
    fewer = scores(network, sampler, tasks=4, chunk=2)
    np.testing.assert_array_equal(fewer.loss, whole.loss[:4])
    np.testing.assert_array_equal(fewer.accuracy, whole.accuracy[:4])


def test_the_networks_own_weights_are_not_read_and_not_changed():
    network, sampler = setting()
    other = {name: value.detach() + 0.1 for name, value in network.named_parameters()}
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    found = evaluate(network, other, sampler, ADAPTATION, tasks=2)
    assert np.abs(found.loss - scores(network, sampler, tasks=2).loss).min() > 1e-4
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(other[name])
    np.testing.assert_array_equal(found.loss, scores(network, sampler, tasks=2).loss)


def test_an_unknown_layer_is_named():
    network, sampler = setting()
    with pytest.raises(MetaprobeError, match=r"unknown layer 'conv7'.*Known: conv1, conv2"):
        scores(network, sampler, dataclasses.replace(ADAPTATION, layers=("conv7",)))
