"""Update rules against plain unrolled autograd, float64, and what holds of each: its start, freezing, tasks apart."""

import dataclasses

import pytest
import torch

from metaprobe.trainers.adapt import adapt, adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.rule_parameters import begin_rule, computed, slots_of
from metaprobe.trainers.update_rules import UPDATE_RULES, network_part, owned, rule_named, rule_part, shared
from metaprobe.trainers.update_rules.kronecker import as_slices, from_slices
from tests import reference_rules as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst

LEARNED = [name for name in UPDATE_RULES if name != "sgd"]
RULES = [name for name in LEARNED if name != "meta_lstm"]  # whose steps are of their own gradient; see test_meta_lstm
PAIRS = [(rule, name) for rule in RULES for name in ("maml", "anil", "fomaml") if (rule, name) != ("t_nets", "anil")]
PAIRS = [pair for pair in PAIRS if pair != ("t_nets", "fomaml")]  # both are refused


def case(rule, name="maml", steps=3, away=0.1, **variant):
    """A network and its tasks, how they adapt, and all parameters; the rule's away from where they start."""
    network, params, tasks = problem(**variant)
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps, update_rule=rule)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    xi = {
        full: (value + away * torch.randn(value.shape, generator=generator, dtype=value.dtype)).requires_grad_()
        for full, value in begin_rule(network, adaptation, config).items()
    }
    return network, {**params, **xi}, tasks, adaptation


def names_of(params, name):
    return [p for p in network_part(params) if name != "anil" or p.startswith("head.")]


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize(("rule", "name"), PAIRS)
def test_meta_gradient_equals_unrolled_autograd(rule, name, steps, norm, sweep):
    downsample = "stride" if steps == 1 else "max-pool"
    network, params, tasks, adaptation = case(rule, name, steps, downsample=downsample, norm=norm)
    transductive = norm == "transductive"
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, adaptation, transductive, sweep)
    options = (names_of(params, name), 0.2, steps, name == "fomaml", downsample, transductive)
    loss, theirs = reference.meta_gradient(rule, network_part(params), rule_part(params), tasks, *options)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert set(ours.gradients) == set(theirs)
    assert worst(ours.gradients, theirs) < TOLERANCE
    learned = [float(theirs[p].abs().max()) for p in rule_part(params)]
    assert min(learned) > 1e-9 and max(learned) > 1e-3  # the agreement is not one of zeros


@pytest.mark.parametrize(("rule", "name"), PAIRS)
def test_every_rule_starts_as_gradient_descent(rule, name):
    network, params, tasks, adaptation = case(rule, name, away=0.0)
    plain = dataclasses.replace(adaptation, rule="sgd")
    ours, theirs = adapt_as(network, params, tasks.support, adaptation), adapt_as(network, params, tasks.support, plain)
    assert set(ours.params) == set(theirs.params) == set(network_part(params))
    if rule not in reference.ADAPTING:  # whose factors move from the second step on
        assert worst(ours.params, theirs.params) < 1e-12
    one, other = (dataclasses.replace(how, steps=1) for how in (adaptation, plain))
    ours, theirs = (adapt_as(network, params, tasks.support, how).params for how in (one, other))
    assert worst(ours, theirs) < 1e-12
    apart = max(float((ours[n] - params[n].detach()).abs().max()) for n in names_of(params, name))
    assert apart > 1e-3


def test_meta_sgd_may_start_from_other_rates():
    network, _, _, adaptation = case("meta_sgd")
    config = TrainConfig("maml", "toy", inner_lr=0.2, update_rule="meta_sgd", rates_start=0.7)
    found = begin_rule(network, adaptation, config)
    assert all(bool((value == 0.7).all()) for value in found.values())


@pytest.mark.parametrize("layers", [("conv2", "head"), ("conv1", "conv2", "conv3", "conv4"), ("head",)])
@pytest.mark.parametrize("rule", LEARNED)
def test_a_frozen_layer_keeps_its_tensors_and_its_rule(rule, layers):
    network, params, tasks, adaptation = case(rule)
    before = {name: value.detach().clone() for name, value in params.items()}
    narrow = dataclasses.replace(adaptation, layers=layers)
    found = adapt_as(network, params, tasks.support, narrow, every_step=True)
    assert all(torch.equal(params[name], value) for name, value in before.items())
    for name, value in found.params.items():
        moved = value.shape != before[name].shape
        assert moved == (name.partition(".")[0] in layers)
        assert moved or torch.equal(value, before[name])
    changed = {name for state in found.states for name in state if name in rule_part(params)}
    expected = {
        full
        for name in found.params
        if name.partition(".")[0] in layers
        for full in owned(rule_part(params), name).values()
    }
    expected |= set(shared(rule_part(params)).values())
    assert changed == (expected if rule in reference.ADAPTING else set())
    only = adapt(
        network, {n: v for n, v in params.items() if n not in set(rule_part(params)) - expected}, tasks.support,
        layers=layers, inner_lr=0.2, steps=3, rule=rule_named(rule),
    )  # fmt: skip
    assert worst(only.params, found.params) == 0  # what belongs to frozen layers is not even read


@pytest.mark.parametrize("rule", reference.ADAPTING)
def test_what_adapts_of_a_rule_is_each_tasks_own(rule):
    network, params, tasks, adaptation = case(rule, steps=4)
    together = adapt_as(network, params, tasks.support, adaptation).states[-1]
    again = adapt_as(network, params, tasks.support, adaptation).states[-1]
    assert worst(together, again) == 0
    for task in range(len(tasks)):
        alone = adapt_as(network, params, tasks.support[task : task + 1], adaptation).states[-1]
        assert max(float((together[n][task] - alone[n][0]).abs().max()) for n in rule_part(params)) < 1e-12
    apart = max(float((together[n][0] - together[n][1]).abs().max()) for n in rule_part(params))
    assert apart > 1e-6


def test_t_nets_compute_with_the_maps_multiplied_into_the_weights():
    network, params, tasks, adaptation = case("t_nets")
    ours = forward_tasks(network, computed(params, adaptation), tasks.support.images)
    for task in range(len(tasks)):
        theirs = reference.conv4(network_part(params), rule_part(params), tasks.support.images[task], "max-pool")
        assert float((ours[task] - theirs).detach().abs().max()) < 1e-12


@pytest.mark.parametrize("shape", [(), (3,), (3, 5), (3, 5, 2), (3, 5, 2, 2), (1, 4, 3, 3)])
def test_slices_come_back_as_they_went(shape):
    gradient = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(from_slices(as_slices(gradient), shape), gradient)


def test_a_rule_says_what_it_lacks():
    network, params, tasks, adaptation = case("meta_kfo", "anil")
    wide = dataclasses.replace(adaptation, layers=network.layer_names)
    with pytest.raises(
        MetaprobeError, match=r"meta_kfo has no update_rule.conv1.conv.weight.left: it was not trained to"
    ):
        adapt_as(network, params, tasks.support, wide)
    params["update_rule.head.bias.left"] = torch.zeros(2, 2, dtype=torch.float64)
    with pytest.raises(MetaprobeError, match=r"update_rule.head.bias.left has shape \(2, 2\).*expects \(3, 3\)"):
        adapt_as(network, params, tasks.support, adaptation)


def test_t_nets_refuse_what_is_no_linear_layer():
    network = torch.nn.ModuleDict({"cell": torch.nn.LSTMCell(3, 4), "head": torch.nn.Linear(4, 2)})
    adaptation = dataclasses.replace(case("t_nets")[3], layers=("cell", "head"))
    with pytest.raises(
        MetaprobeError, match=r"LSTMCell, of cell.weight_ih, is neither a linear layer nor a convolution"
    ):
        slots_of(network, adaptation)
    assert set(slots_of(network, dataclasses.replace(adaptation, layers=("head",)))) == {"update_rule.head.map"}
