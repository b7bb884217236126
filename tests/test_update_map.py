"""What a learned rule makes of gradients, against the same from plain autograd and numpy."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from analyses.testing import TestPlan
from analyses.update_map import effective_rank, update_map
from tests.test_training import tiny
from trainers.checkpoint import load_checkpoint
from trainers.errors import MetaprobeError
from trainers.evaluate import sampler_for
from trainers.networks import forward_tasks
from trainers.outer_loop import train
from trainers.run import RunFolder

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
