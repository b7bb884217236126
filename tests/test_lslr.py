"""Learned rates a step: steps beyond those trained, what a layer's tensors share, and the table that shows them."""

import dataclasses
import json

import pytest
import torch

from metaprobe.probe.cli import main
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.rates import RatesReport, rate_grids
from metaprobe.probe.inspection.views import inspection_grids
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.update_rules import UPDATE_RULES, network_part, rule_part
from tests import reference_rules as reference
from tests.test_meta_gradients import TOLERANCE
from tests.test_training import tiny
from tests.test_update_rules import case


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    out = tmp_path_factory.mktemp("lslr") / "run"
    train(tiny(update_rule="lslr", outer_lr=0.01, inner_lr=0.2), toy, out)
    return RunFolder(out)


@pytest.mark.parametrize("rule", ["lslr", "lslr_layer"])
def test_steps_beyond_the_last_trained_one_take_its_rate(rule):
    network, params, tasks, _ = case(rule, steps=2)
    theirs, _ = reference.adapt(
        rule, network_part(params), rule_part(params), tasks.support.images[0], tasks.support.labels[0],
        list(network_part(params)), 0.2, 5, False, "max-pool",
    )  # fmt: skip
    ours = adapt(network, params, tasks.support, inner_lr=0.2, steps=5, rule=UPDATE_RULES[rule])
    assert max(float((ours.params[name][0] - theirs[name].detach()).abs().max()) for name in theirs) < TOLERANCE
    parts = adapt(network, params, tasks.support, inner_lr=0.2, steps=1, rule=UPDATE_RULES[rule])
    again = adapt(
        network, {**params, **parts.params}, tasks.support, inner_lr=0.2, steps=4, rule=UPDATE_RULES[rule], first=1
    )
    assert max(float((ours.params[name] - again.params[name]).abs().max()) for name in theirs) < TOLERANCE


def test_a_rate_is_a_tensors_or_a_layers():
    _, params, _, _ = case("lslr", steps=4)
    assert {tuple(value.shape) for value in rule_part(params).values()} == {(4,)}
    assert set(rule_part(params)) == {f"update_rule.{name}.rates" for name in network_part(params)}
    _, params, _, _ = case("lslr_layer", steps=4)
    layers = ("conv1", "conv2", "conv3", "conv4", "head")
    assert set(rule_part(params)) == {f"update_rule.{layer}.rates" for layer in layers}


def test_inspect_shows_rates_as_a_table_of_tensors_and_steps(run, capsys):
    path, last = run.checkpoint("last"), load_checkpoint(run.checkpoint("last"))
    found = inspect_file(path)
    assert found.fingerprint_matches  # values that are shown are checked
    grid = next(grid for grid in inspection_grids(found) if grid.title == "learned rates")
    assert grid.columns == ("tensor", "step 1", "step 2")
    for place, *rates in grid.rows:
        assert rates == last.rule[f"update_rule.{place}.rates"].tolist()
    assert len(grid.rows) == len(last.params) and any(one != two for _, one, two in grid.rows)
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["rates"]
    assert [(one["place"], *one["rates"]) for one in told] == list(grid.rows)


def test_a_long_table_of_rates_is_cut_and_says_so():
    (grid,) = rate_grids((RatesReport("conv1", tuple(map(float, range(50)))), RatesReport("head", (1.0,))))
    assert grid.title == "learned rates, the first 20 steps of 50"
    assert grid.columns[0] == "layer" and grid.rows[1][:3] == ("head", 1.0, None) and len(grid.rows[0]) == 21
    assert rate_grids(()) == ()


def test_a_rule_without_steps_has_no_such_table(toy, tmp_path):
    last = train(tiny(update_rule="meta_sgd", iterations=1), toy, tmp_path / "run")
    save_checkpoint(tmp_path / "one.safetensors", last)
    assert inspect_file(tmp_path / "one.safetensors").rates == ()


def test_rates_of_more_or_fewer_steps_than_trained_are_no_learners(run, tmp_path):
    last = load_checkpoint(run.checkpoint("last"))
    false = dataclasses.replace(last, rule={n: torch.cat([v, v]) for n, v in last.rule.items()})
    save_checkpoint(tmp_path / "false.safetensors", false)
    with pytest.raises(
        UnreadableInput, match=r"update rule lslr is incomplete: .*rates is F32 \(4,\), expected F32 \(2,\)"
    ):
        load_checkpoint(tmp_path / "false.safetensors")
