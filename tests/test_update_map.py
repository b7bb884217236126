"""What a learned rule makes of gradients, against the same from plain autograd and numpy."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.update_map import effective_rank, update_map
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.update_rules import UPDATE_RULES
from tests.test_training import tiny

PLAN = TestPlan(tasks=5, n_query=2, per_task=True)


def trained(toy, folder, **changes):
    train(tiny(outer_lr=0.2, **changes), toy, folder)
    return load_checkpoint(RunFolder(folder).checkpoint("last"))


def test_cosine_and_ratio_are_those_of_plain_autograd(toy, tmp_path):
    checkpoint = trained(toy, tmp_path / "r", update_rule="meta_curvature")
    rows = {(r.layer, r.measure, r.task): r.value for r in update_map(checkpoint, toy, PLAN).rows}
    network = checkpoint.network().double()
    tasks = sampler_for(checkpoint, toy, n_query=2).batch(range(5))
    own = {name.removeprefix("update_rule."): value.double().numpy() for name, value in checkpoint.rule.items()}
    for task in range(5):
        support = tasks.support.images[task].double()[None]
        logits = forward_tasks(network, dict(network.named_parameters()), support)[0]
        loss = functional.cross_entropy(logits, tasks.support.labels[task])
        names = ("head.weight", "head.bias")
        weight, bias = (g.numpy() for g in torch.autograd.grad(loss, [network.get_parameter(n) for n in names]))
        stepped = own["head.weight.out"] @ weight @ own["head.weight.in"]
        u = np.concatenate([stepped.ravel(), own["head.bias.scale"] * bias])
        g = np.concatenate([weight.ravel(), bias])
        cosine, ratio = u @ g / np.linalg.norm(u) / np.linalg.norm(g), np.linalg.norm(u) / np.linalg.norm(g)
        assert rows["head", "update_cosine", task] == pytest.approx(cosine, abs=2e-5)
        assert rows["head", "update_norm_ratio", task] == pytest.approx(ratio, rel=2e-4)
    matrices = [own["head.weight.out"], own["head.weight.in"]]
    singular = [np.linalg.svd(m, compute_uv=False) for m in matrices]
    shares = [s / s.sum() for s in singular]
    wanted = np.mean([np.exp(-(p * np.log(p)).sum()) / len(p) for p in shares])
    assert rows["head", "update_effective_rank", None] == pytest.approx(wanted, rel=1e-6)


def test_plain_steps_are_themselves(toy, tmp_path):
    table = update_map(trained(toy, tmp_path / "r"), toy, PLAN)
    assert {row.layer for row in table.rows} == {"conv1", "conv2", "conv3", "conv4", "head"}
    assert {row.measure for row in table.rows} == {"update_cosine", "update_norm_ratio"}
    assert [row.value for row in table.rows] == pytest.approx([1.0] * len(table), abs=1e-6)


def drawn(rule, steps=3, filters=4, **how):
    """A learner at its start, with nothing trained: a checkpoint of a rule."""
    network = NetworkConfig("conv4", 3, 1, 28, filters, "stride", "transductive")
    config = TrainConfig(
        "maml",
        "toy",
        n_way=3,
        n_query=2,
        inner_steps=steps,
        filters=filters,
        downsample="stride",
        update_rule=rule,
        **how,
    )
    built = build_network(network, seed=4)
    adaptation = ALGORITHMS["maml"].adaptation(config, built.layer_names)
    if rule == "meta_lstm":
        adaptation = dataclasses.replace(adaptation, first_order=True)
    params = {name: value.detach() for name, value in built.named_parameters()}
    return Checkpoint(params, config, network, adaptation, 0, rule=begin_rule(built, adaptation, config))


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_every_rule_starts_as_it_says_and_matrices_alone_have_a_rank(rule, toy):
    table = update_map(drawn(rule), toy, TestPlan(tasks=3, n_query=2))
    found = {(row.layer, row.measure): row.value for row in table.rows}
    layers = ("conv1", "conv2", "conv3", "conv4", "head")
    ranks = [found.get((layer, "update_effective_rank")) for layer in layers]
    if rule == "meta_lstm":
        assert all((found[layer, "update_norm_ratio"] or 0) > 0 for layer in layers)
    else:  # gradient descent
        for measure in ("update_cosine", "update_norm_ratio"):
            assert [found[layer, measure] for layer in layers] == pytest.approx([1] * 5, abs=1e-5)
    if rule in ("meta_curvature", "t_nets", "meta_kfo", "meta_kfo_free"):
        assert ranks == pytest.approx([1] * 5)
    elif (
        rule == "meta_kfo_nonlinear"
    ):  # of the head: weight and bias have three left factors, one at 0; right ones of 4
        assert ranks[-1] == pytest.approx((2 * 2 + 3) / 9)
    else:
        assert ranks == [None] * 5


def test_a_meta_lstms_ratio_is_its_rate_and_no_rate_of_the_run(toy):
    checkpoint = drawn("meta_lstm")
    one = {(r.layer, r.measure): r.value for r in update_map(checkpoint, toy, PLAN).rows if r.task is None}
    other = dataclasses.replace(checkpoint.adaptation, inner_lr=0.7)
    again = update_map(dataclasses.replace(checkpoint, adaptation=other), toy, PLAN).rows
    assert {(r.layer, r.measure): r.value for r in again if r.task is None} == one
    network, name = checkpoint.network(), "conv2.norm.bias"  # starts at 0: nothing to forget
    tasks = sampler_for(checkpoint, toy, n_query=2).batch(range(1))
    steps = [
        adapt_as(network, {**checkpoint.params, **checkpoint.rule}, tasks.support, how).params[name]
        for how in (
            dataclasses.replace(checkpoint.adaptation, steps=1),
            Adaptation(network.layer_names, 1.0, 1),
        )
    ]
    rate = float(torch.sigmoid(checkpoint.rule["update_rule.input_bias"]))
    assert float(steps[0].norm() / steps[1].norm()) == pytest.approx(rate, rel=0.05)


@pytest.mark.parametrize(
    ("steps", "how"), [(5, {"step_norms": True, "adapt_norm": False}), (3, {"step_statistics": "running"})]
)
def test_norms_of_each_step_are_no_matrices_of_a_rule(steps, how, toy):
    checkpoint = drawn("sgd", steps, **how)
    assert any(value.shape == (4, 4) for value in checkpoint.rule.values())  # as many sets as channels
    assert {row.measure for row in update_map(checkpoint, toy, PLAN).rows} == {"update_cosine", "update_norm_ratio"}


def test_a_step_that_vanishes_is_undefined_and_who_takes_none_is_refused(toy, tmp_path):
    checkpoint = trained(toy, tmp_path / "r", update_rule="meta_sgd")
    still = {n: torch.zeros_like(v) if ".conv1." in f".{n}" else v for n, v in checkpoint.rule.items()}
    still = {n: torch.zeros_like(v) if n.startswith("update_rule.conv1.") else v for n, v in still.items()}
    rows = update_map(dataclasses.replace(checkpoint, rule=still), toy, PLAN).rows
    first = next(row for row in rows if row.layer == "conv1" and row.task is None)
    assert first.status == "undefined" and "vanishes in 5 of 5 tasks" in first.reason
    no_steps = dataclasses.replace(checkpoint, adaptation=dataclasses.replace(checkpoint.adaptation, steps=0))
    with pytest.raises(MetaprobeError, match="takes no inner steps"):
        update_map(no_steps, toy, PLAN)


def test_effective_rank_counts_equal_directions():
    assert effective_rank(torch.eye(5)) == pytest.approx(5)
    assert effective_rank(torch.diag(torch.tensor([2.0, 2.0, 0.0]))) == pytest.approx(2)
    assert effective_rank(torch.zeros(3, 3)) == 0
