"""Meta-gradients of every algorithm against plain unrolled autograd, float64, to 1e-10."""

import dataclasses

import pytest
import torch

from metaprobe.trainers.adapt import adapt, adaptable, query_logits, task_losses
from metaprobe.trainers.algorithms import ALGORITHMS, meta_gradient
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_maml as reference
from tests import reference_mamlpp
from tests.conftest import make_imageset

TOLERANCE = 1e-10


def problem(downsample="max-pool", norm="transductive", n_tasks=3, filters=4, **shape):
    size, channels = (28, 1) if downsample == "stride" else (16, 3)
    imageset = make_imageset(12, 8, size, channels)
    config = NetworkConfig("conv4", 3, channels, size, filters, downsample, norm, **shape)
    network = build_network(config, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # norms start at 1 and 0, a special case: move them away
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    tasks = EpisodeSampler(imageset, "train", 3, 2, 3, seed=5, dtype=torch.float64).batch(range(n_tasks))
    return network, dict(network.named_parameters()), tasks


def worst(ours, theirs):
    return max(float((ours[name] - theirs[name]).abs().max()) for name in theirs)


@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", ["maml", "fomaml", "anil"])
@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
def test_meta_gradient_equals_unrolled_autograd(sweep, name, steps, norm, downsample):
    network, params, tasks = problem(downsample, norm)
    algorithm = ALGORITHMS[name]
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps)
    adaptation = algorithm.adaptation(config, network.layer_names)
    transductive = norm == "transductive"
    ours = algorithm.meta_gradient(network, params, tasks, adaptation, transductive, sweep)
    names = [p for p in params if name != "anil" or p.startswith("head.")]
    loss, theirs = reference.meta_gradient(params, tasks, names, 0.2, steps, name == "fomaml", downsample, transductive)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE
    assert max(float(g.abs().max()) for g in theirs.values()) > 1e-3  # the agreement is not one of zeros


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
def test_meta_gradient_of_a_leaky_network_equals_unrolled_autograd(downsample, sweep):
    network, params, tasks = problem(downsample, activation="leaky-relu")
    ours = meta_gradient(network, params, tasks, Adaptation(network.layer_names, 0.2, 3), True, sweep)
    options = {"downsample": downsample, "slope": 0.01}
    loss, _, theirs = reference_mamlpp.meta_gradient(params, tasks, list(params), 0.2, 3, **options)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE


def test_first_order_differs_from_second_order():
    network, params, tasks = problem()
    config = TrainConfig("maml", "toy", inner_lr=0.2)
    full, first = (
        ALGORITHMS[name].meta_gradient(
            network, params, tasks, ALGORITHMS[name].adaptation(config, network.layer_names), True, False
        )
        for name in ("maml", "fomaml")
    )
    assert worst(full.gradients, first.gradients) > 1e-3


@pytest.mark.parametrize("layers", [("conv2",), ("conv1", "head"), ("conv3", "conv4", "head"), ("head",), ()])
def test_any_subset_of_layers_with_and_without_norms(layers):
    network, params, tasks = problem()
    for adapt_norm in (True, False):
        ours = adapt(
            network, params, tasks.support, layers=layers, inner_lr=0.3, steps=3, adapt_norm=adapt_norm,
            every_step=True,
        )  # fmt: skip
        names = [n for n in params if n.partition(".")[0] in layers and (adapt_norm or ".norm." not in n)]
        assert set(adaptable(network, params, layers, adapt_norm)) == set(names)
        for task in range(len(tasks)):
            theirs = reference.adapt(
                params, tasks.support.images[task], tasks.support.labels[task], names, 0.3, 3, False, "max-pool"
            )
            for name in names:
                assert torch.allclose(ours.params[name][task], theirs[name], atol=TOLERANCE, rtol=0)
        for name in set(params) - set(names):
            assert ours.params[name].shape == params[name].shape
        assert ours.trajectory is not None
        assert len(ours.trajectory) == (4 if names else 1)


def test_trajectory_holds_every_step():
    network, params, tasks = problem()
    full = adapt(network, params, tasks.support, inner_lr=0.3, steps=4, every_step=True)
    assert full.support_loss.shape == (4, len(tasks))
    for step in range(5):
        partial = adapt(network, params, tasks.support, inner_lr=0.3, steps=step)
        for name in params:
            expected = partial.params[name] if step else params[name].expand_as(full.trajectory[0][name])
            assert torch.equal(full.trajectory[step][name], expected)
        if step < 4:
            logits = forward_tasks(network, full.trajectory[step], tasks.support.images)
            torch.testing.assert_close(task_losses(logits, tasks.support.labels), full.support_loss[step])


@pytest.mark.parametrize("adapt_norm", [True, False])
@pytest.mark.parametrize("layers", [("head",), ("conv3", "head"), ("conv1", "conv2", "conv3", "conv4", "head")])
@pytest.mark.parametrize("first_order", [True, False])
def test_every_scheme_agrees_for_any_layers_that_adapt(layers, first_order, adapt_norm):
    network, params, tasks = problem()
    adaptation = Adaptation(layers, 0.3, 4, first_order, adapt_norm)
    unrolled, sweep = (meta_gradient(network, params, tasks, adaptation, True, sweep) for sweep in (False, True))
    names = [n for n in params if n.partition(".")[0] in layers and (adapt_norm or ".norm." not in n)]
    _, theirs = reference.meta_gradient(params, tasks, names, 0.3, 4, first_order, "max-pool", True)
    assert worst(unrolled.gradients, theirs) < TOLERANCE
    assert worst(sweep.gradients, theirs) < TOLERANCE


def test_a_foreign_module_runs_task_by_task_with_the_same_result():
    _, _, tasks = problem()
    foreign = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 3)).double()
    with torch.no_grad():
        foreign[1].weight.copy_(torch.randn(3, 768, generator=torch.Generator().manual_seed(0)).double() / 30)
        foreign[1].bias.zero_()
    params = dict(foreign.named_parameters())
    adapted = adapt(foreign, params, tasks.support, inner_lr=0.1, steps=2, create_graph=True)
    loss = task_losses(query_logits(foreign, adapted.params, tasks.support, tasks.query), tasks.query.labels).sum()
    ours = torch.autograd.grad(loss, list(params.values()))

    total = 0.0
    for task in range(len(tasks)):
        weight, bias = params["1.weight"], params["1.bias"]
        for _ in range(2):
            x = tasks.support.images[task].flatten(1)
            inner = torch.nn.functional.cross_entropy(x @ weight.T + bias, tasks.support.labels[task])
            step_w, step_b = torch.autograd.grad(inner, [weight, bias], create_graph=True)
            weight, bias = weight - 0.1 * step_w, bias - 0.1 * step_b
        x = tasks.query.images[task].flatten(1)
        total = total + torch.nn.functional.cross_entropy(x @ weight.T + bias, tasks.query.labels[task])
    for mine, theirs in zip(ours, torch.autograd.grad(total, list(params.values())), strict=True):
        assert float((mine - theirs).abs().max()) < TOLERANCE


def test_initial_parameters_are_left_alone():
    network, params, tasks = problem()
    before = {name: value.detach().clone() for name, value in params.items()}
    adapted = adapt(network, params, tasks.support, inner_lr=0.5, steps=3)
    assert all(torch.equal(params[name], before[name]) for name in params)
    assert not any(value.requires_grad for name, value in adapted.params.items())


def test_non_transductive_queries_do_not_see_each_other():
    network, params, tasks = problem()
    alone = dataclasses.replace(
        tasks.query, images=tasks.query.images[:, :1], labels=tasks.query.labels[:, :1], ids=tasks.query.ids[:, :1]
    )
    together = query_logits(network, params, tasks.support, tasks.query, transductive=False)[:, :1]
    torch.testing.assert_close(query_logits(network, params, tasks.support, alone, transductive=False), together)
    changed = query_logits(network, params, tasks.support, alone, transductive=True) - together
    assert float(changed.detach().abs().max()) > 1e-3


def test_unknown_layer_and_wrong_shape_are_named():
    network, params, tasks = problem()
    with pytest.raises(MetaprobeError, match=r"unknown layer 'conv9'.*Did you mean.*Known: conv1"):
        adapt(network, params, tasks.support, layers=("conv9",), inner_lr=0.1, steps=1)
    params["head.bias"] = torch.zeros(7, dtype=torch.float64)
    with pytest.raises(MetaprobeError, match=r"'head.bias' has shape \(7,\); the network expects \(3,\)"):
        adapt(network, params, tasks.support, inner_lr=0.1, steps=1)
