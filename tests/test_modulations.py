"""Modulated learners against plain unrolled autograd, float64, and what holds of each: identity, freezing, tasks."""

import dataclasses

import pytest
import torch

from metaprobe.trainers.adapt import adapt_as, adaptable
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.modulated_start import modulated_start
from metaprobe.trainers.modulations import MODULATIONS, modulation_named
from metaprobe.trainers.networks import build_network, norm_parameters
from metaprobe.trainers.rule_parameters import begin_rule, slots_of
from metaprobe.trainers.update_rules import network_part, rule_part
from tests import reference_modulations as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst

NAMES = ("mmaml", "hsml")


def case(name, steps=3, away=0.05, adapt_norm=None, **variant):
    """A network and its tasks, how they adapt, and all parameters; the modulation's away from where they start."""
    network, params, tasks = problem(**variant)
    own = name == "hsml" if adapt_norm is None else adapt_norm
    config = TrainConfig(name, "toy", n_way=3, inner_lr=0.2, inner_steps=steps, adapt_norm=own)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    omega = {
        full: (value + away * torch.randn(value.shape, generator=generator, dtype=value.dtype)).requires_grad_()
        for full, value in begin_rule(network, adaptation, config).items()
    }
    return network, {**params, **omega}, tasks, adaptation


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize(("name", "adapt_norm"), [("mmaml", False), ("mmaml", True), ("hsml", True), ("hsml", False)])
def test_meta_gradient_equals_unrolled_autograd(name, adapt_norm, steps, norm, sweep):
    downsample = "stride" if steps == 1 else "max-pool"
    network, params, tasks, adaptation = case(name, steps, adapt_norm=adapt_norm, downsample=downsample, norm=norm)
    transductive = norm == "transductive"
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, transductive, sweep)
    names = adaptable(network, network_part(params), None, adapt_norm)
    options = (names, 0.2, steps, downsample, transductive)
    loss, theirs = reference.meta_gradient(name, network_part(params), rule_part(params), tasks, *options)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    untrained = set(norm_parameters(network)) if name == "mmaml" else set()
    assert set(ours.gradients) == set(theirs) - untrained
    theirs = {full: theirs[full] for full in ours.gradients}
    assert worst(ours.gradients, theirs) < TOLERANCE
    learned = [float(theirs[full].abs().max()) for full in rule_part(params)]
    assert min(learned) > 1e-9 and max(learned) > 1e-3  # the agreement is not one of zeros


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_is_changed_it_is_maml(name):
    """FiLM starts there; gates are there where they are open."""
    network, params, tasks, adaptation = case(name, away=0.0)
    if name == "hsml":
        still = {full: torch.zeros_like(value) for full, value in params.items() if full.endswith(".gate.weight")}
        still |= {full: torch.full_like(value, 60.0) for full, value in params.items() if full.endswith(".gate.bias")}
        still.pop("modulation.tree.gate.weight"), still.pop("modulation.tree.gate.bias")
        params = params | still
    plain = dataclasses.replace(adaptation, modulation="")
    ours, theirs = (adapt_as(network, params, tasks.support, how).params for how in (adaptation, plain))
    assert set(ours) == set(theirs) == set(network_part(params))
    assert worst(ours, {full: value.expand_as(ours[full]) for full, value in theirs.items()}) < 1e-12
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, True, False).gradients
    maml = ALGORITHMS["maml"].meta_gradient(network, network_part(params), tasks, plain, True, False).gradients
    shared = [full for full in maml if full in ours]
    assert "conv1.conv.weight" in shared and worst(ours, {full: maml[full] for full in shared}) < 1e-12


@pytest.mark.parametrize("layers", [("conv2", "head"), ("conv1", "conv2", "conv3", "conv4"), ("head",), ()])
@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_layer_is_not_modulated_and_others_are_even_without_steps(name, layers):
    network, params, tasks, adaptation = case(name)
    narrow = dataclasses.replace(adaptation, layers=layers, steps=0)
    found = adapt_as(network, params, tasks.support, narrow).params
    meant = modulation_named(adaptation.modulation).tensors(network, narrow)
    for full, value in found.items():
        inside = full.partition(".")[0] in layers
        assert (full in meant) <= inside
        if full in meant:
            apart = (value - params[full]).detach().flatten(1).abs().amax(dim=1)
            assert bool((apart > 1e-4).all()) and value.shape[0] == len(tasks)
            assert float((value[0] - value[1]).abs().max()) > 1e-8  # each task has its own
        else:
            assert worst({"": value}, {"": params[full].detach().expand_as(value)}) == 0
    if layers == ("head",):
        assert bool(meant) == (name == "hsml")


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_modulated_by_its_own_support_set_alone(name):
    network, params, tasks, adaptation = case(name)
    together = adapt_as(network, params, tasks.support, adaptation).params
    moved = [full for full in together if together[full].dim() > params[full].dim()]
    for task in range(len(tasks)):
        alone = adapt_as(network, params, tasks.support[task : task + 1], adaptation).params
        assert max(float((together[full][task] - alone[full][0]).abs().max()) for full in moved) < 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_a_trajectory_begins_where_the_task_is_modulated_to(name):
    network, params, tasks, adaptation = case(name)
    path = adapt_as(network, params, tasks.support, adaptation, every_step=True).trajectory
    begun = modulated_start(network, params, tasks.support, adaptation)
    assert begun.adaptation == dataclasses.replace(adaptation, modulation="")
    for full in modulation_named(adaptation.modulation).tensors(network, adaptation):
        assert worst({full: path[0][full]}, {full: begun.params[full].detach()}) == 0


def test_a_modulation_says_what_it_lacks():
    network, params, tasks, adaptation = case("hsml")
    bad = {full: value for full, value in params.items() if full != "modulation.tree.centres"}
    with pytest.raises(MetaprobeError, match=r"tree needs modulation.tree.centres of shape \(4, 128\), and there is"):
        adapt_as(network, bad, tasks.support, adaptation)
    bad = params | {"modulation.tree.centres": torch.zeros(2, 128)}
    with pytest.raises(MetaprobeError, match=r"and it has shape \(2, 128\); adapt the layers that it was trained for"):
        adapt_as(network, bad, tasks.support, adaptation)
    with pytest.raises(MetaprobeError, match=r"unknown modulation 'fil'.*film"):
        adapt_as(network, params, tasks.support, dataclasses.replace(adaptation, modulation="fil"))
    assert set(MODULATIONS) == {"film", "tree"}


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        (
            "mmaml",
            {"norm_affine": "shift"},
            "film takes the place of .* there are conv1.norm.bias, .*affine both",
        ),
        ("mmaml", {"norm_affine": "none"}, "of layers that adapt there are none; choose a network that has both"),
        ("mmaml", {"name": "mlp", "image_size": 1, "downsample": "none"}, "film embeds a task by its images, and MLP"),
        ("hsml", {"name": "mlp", "image_size": 1, "downsample": "none"}, "tree embeds a task by its images, and MLP"),
    ],
)
def test_networks_that_cannot_be_modulated_are_refused(name, shape, told):
    options = {"name": "conv4", "n_way": 3, "channels": 1, "image_size": 16, "filters": 4, "downsample": "stride"}
    network = build_network(NetworkConfig(**{**options, "norm": "transductive"} | shape), seed=0)
    adaptation = ALGORITHMS[name].adaptation(TrainConfig(name, "toy"), network.layer_names)
    with pytest.raises(MetaprobeError, match=told):
        slots_of(network, adaptation)
