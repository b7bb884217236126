"""Meta-LSTM against one written out plainly, float64; how it starts, what it carries, and what it cannot have."""

import dataclasses
import math

import pytest
import torch

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.engine import graph_bytes
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import evaluate, sampler_for
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.update_rules import network_part, rule_part
from metaprobe.trainers.update_rules.meta_lstm import _features
from tests import reference_meta_lstm as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny

WIDTHS = {"hidden": 20, "cell": 20, "forget": 1, "input": 1}


def case(steps=3, away=0.3, adapt_norm=True, layers=None, **variant):
    """A network, its tasks and all parameters, the LSTM's away from where they start, and how it adapts."""
    network, params, tasks = problem(**variant)
    config = TrainConfig("meta_lstm", "toy", inner_steps=steps, adapt_norm=adapt_norm)
    adaptation = ALGORITHMS["meta_lstm"].adaptation(config, network.layer_names)
    adaptation = dataclasses.replace(adaptation, layers=layers or adaptation.layers)
    generator = torch.Generator().manual_seed(7)
    xi = {
        full: (value + away * torch.randn(value.shape, generator=generator, dtype=value.dtype)).requires_grad_()
        for full, value in begin_rule(network, adaptation, config).items()
    }
    return network, {**params, **xi}, tasks, adaptation


def gradient_of(network, params, tasks, adaptation, transductive=True, sweep=False):
    return ALGORITHMS["meta_lstm"].meta_gradient(network, params, tasks, adaptation, transductive, sweep)


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
@pytest.mark.parametrize("steps", [1, 4])
def test_meta_gradient_equals_unrolled_autograd(steps, downsample, norm, sweep):
    network, params, tasks, adaptation = case(steps, downsample=downsample, norm=norm)
    ours = gradient_of(network, params, tasks, adaptation, norm == "transductive", sweep)
    own = network_part(params)
    options = (list(own), steps, downsample, norm == "transductive")
    loss, theirs = reference.meta_gradient(own, rule_part(params), tasks, *options)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert set(ours.gradients) == set(theirs) == set(params)
    assert worst(ours.gradients, theirs) < TOLERANCE
    learned = {full: float(theirs[full].abs().max()) for full in rule_part(params)}
    assert max(learned.values()) > 1e-3  # the agreement is not one of zeros
    assert min(learned.values()) > (1e-9 if steps > 1 else -1)  # in one step nothing comes back to the LSTM's h


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("kept", [{"adapt_norm": False}, {"layers": ("conv2", "head")}, {"layers": ("head",)}])
def test_what_does_not_adapt_has_the_gradient_of_the_queries(kept, sweep):
    network, params, tasks, adaptation = case(**kept)
    own = network_part(params)
    layers = kept.get("layers", network.layer_names)
    names = [n for n in own if n.partition(".")[0] in layers and (kept.get("adapt_norm", True) or ".norm." not in n)]
    ours = gradient_of(network, params, tasks, adaptation, sweep=sweep)
    loss, theirs = reference.meta_gradient(own, rule_part(params), tasks, names, 3, "max-pool", True)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert worst(ours.gradients, theirs) < TOLERANCE


def test_features_are_the_papers_by_cases():
    cut = math.exp(-10)
    x = torch.tensor([0.0, 1e-9, -1e-9, cut * 0.999, -cut * 1.001, 0.3, -7.0], dtype=torch.float64)
    assert float((_features(x) - reference.preprocessed(x)).abs().max()) < 1e-12


def test_it_starts_as_a_slow_descent_that_hardly_forgets():
    network, params, tasks, adaptation = case(steps=1, away=0.0)
    plain = dataclasses.replace(adaptation, rule="sgd", inner_lr=1.0)
    ours, theirs = (adapt_as(network, params, tasks.support, how).params for how in (adaptation, plain))
    for name, value in network_part(params).items():
        gradient = value.detach() - theirs[name]
        stays = torch.stack([0.98 * value, 0.994 * value]).detach()  # σ(4) and σ(5), and what the small weights add
        goes = torch.stack([0.0065 * gradient, 0.0185 * gradient])  # σ(−5) and σ(−4)
        assert bool((ours[name] >= stays.amin(0) - goes.amax(0)).all())
        assert bool((ours[name] <= stays.amax(0) - goes.amin(0)).all())
    assert max(float((ours[n] - v.detach()).abs().max()) for n, v in network_part(params).items()) > 1e-3


def test_a_loop_goes_on_from_what_it_carries():
    network, params, tasks, adaptation = case(steps=4)
    whole = adapt_as(network, params, tasks.support, adaptation, every_step=True)
    half = dataclasses.replace(adaptation, steps=2)
    first = adapt_as(network, params, tasks.support, half).states[-1]
    rest = adapt_as(network, {**params, **first}, tasks.support, half, first=2)
    assert worst(rest.params, whole.params) < 1e-12
    carried = {name for name in first if name.startswith("update_rule.")}
    assert carried == {f"update_rule.{kind} of {name}" for kind in WIDTHS for name in network_part(params)}
    for kind, width in WIDTHS.items():
        assert first[f"update_rule.{kind} of head.weight"].shape == (3, *params["head.weight"].shape, width)
    forgetful = adapt_as(network, {**params, **network_part(first)}, tasks.support, half, first=2)
    assert worst(forgetful.params, whole.params) > 1e-6  # what is carried matters


def test_tasks_and_their_carried_numbers_are_apart():
    network, params, tasks, adaptation = case(steps=4)
    together = adapt_as(network, params, tasks.support, adaptation).states[-1]
    for task in range(len(tasks)):
        alone = adapt_as(network, params, tasks.support[task : task + 1], adaptation).states[-1]
        assert max(float((together[n][task] - alone[n][0]).abs().max()) for n in together) < 1e-12


def test_the_sweep_holds_less():
    network, params, tasks, adaptation = case(steps=8)
    unrolled, swept = (
        graph_bytes(lambda sweep=sweep: gradient_of(network, params, tasks, adaptation, sweep=sweep))
        for sweep in (False, True)
    )
    assert swept < unrolled / 4


def test_it_learns_and_keeps_one_lstm_for_any_head(toy, tmp_path):
    config = completed(
        tiny("meta_lstm", iterations=60, val_every=60, val_tasks=40, filters=8, meta_batch=4, outer_lr=5e-3),
        lambda name: name == "inner_steps",
    )
    last = train(config, toy, tmp_path / "run")
    assert last.metrics["val_accuracy"] > 60  # chance is 33 %
    assert last.adaptation.rule == config.update_rule == "meta_lstm" and last.adaptation.first_order
    assert set(last.rule) == {
        f"update_rule.{name}"
        for name in ("lstm_inputs", "lstm_hidden", "lstm_bias", "forget", "forget_bias", "input", "input_bias")
    }
    wider = as_tested(last, Otherwise(n_way=4))
    assert all(torch.equal(wider.rule[full], value) for full, value in last.rule.items())
    sampler = sampler_for(wider, toy, n_query=2)
    assert evaluate(wider.network(), wider.start(), sampler, wider.adaptation, tasks=2).accuracy.shape == (2,)
    with pytest.raises(MetaprobeError, match=r"--inner-lr 0\.05 would change nothing: .* meta_lstm has learned"):
        as_tested(last, Otherwise(inner_lr=0.05))


def test_defaults_are_the_papers_steps():
    steps = {shot: completed(TrainConfig("meta_lstm", "toy", n_shot=shot), lambda name: False) for shot in (1, 5)}
    assert {shot: config.inner_steps for shot, config in steps.items()} == {1: 12, 5: 8}
    for config in steps.values():
        check_options(ALGORITHMS["meta_lstm"], config)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("meta_lstm", {}, "meta_lstm takes its inner steps by meta_lstm; got --update-rule sgd, leave it out"),
        ("meta_lstm", {"update_rule": "meta_sgd"}, "by meta_lstm; got --update-rule meta_sgd, leave it out"),
        ("meta_lstm", {"update_rule": "meta_lstm", "inner_lr": 0.4}, "--inner-lr 0.4 would change nothing: the rates"),
        ("fomaml", {"update_rule": "meta_lstm", "rates_start": 0.4}, "--rates-start is of update rules that learn"),
        ("meta_lstm", {"data": "sinusoid", "loss": "mse"}, "meta_lstm needs classes, and sinusoid asks for numbers"),
        ("maml", {"update_rule": "meta_lstm"}, "meta_lstm is not for maml: it takes inner gradients as constants"),
        ("anil", {"update_rule": "meta_lstm"}, "meta_lstm is not for anil: .* train meta_lstm"),
        ("meta_lstm", {"update_rule": "meta_lstm", "first_order_until": 5}, "--first-order-until is an option of"),
    ],
)
def test_what_a_run_cannot_have_is_refused(name, options, told):
    with pytest.raises(MetaprobeError, match=told):
        check_options(ALGORITHMS[name], TrainConfig(**{"algorithm": name, "data": "toy", **options}))


def test_a_derivative_through_its_gradients_is_refused():
    network, params, tasks, adaptation = case()
    second = dataclasses.replace(adaptation, first_order=False)
    with pytest.raises(MetaprobeError, match="meta_lstm takes inner gradients as constants; adapt with first_order"):
        adapt_as(network, params, tasks.support, second, create_graph=True)
