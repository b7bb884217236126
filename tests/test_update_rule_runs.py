"""Runs with an update rule: from training to a capture, resumed, inspected, compared, refused where they must be."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.task_views import Viewer, batches_of, collect_views
from metaprobe.analyses.compare import compare
from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.similarity import similarity
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import inspection_grids
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from metaprobe.trainers.update_rules import UPDATE_RULES
from tests.test_training import tiny

LEARNED = [name for name in UPDATE_RULES if name != "sgd"]
LEARNER = dict.fromkeys(LEARNED, "maml") | {"meta_lstm": "fomaml"}
PLAN = TestPlan(tasks=3, n_query=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy):
    """The last checkpoint of a tiny run with each rule."""
    root, found = tmp_path_factory.mktemp("rules"), {}
    for rule in LEARNED:
        train(tiny(LEARNER[rule], update_rule=rule, outer_lr=0.01), toy, root / rule)
        found[rule] = RunFolder(root / rule)
    return found


@pytest.mark.parametrize("rule", LEARNED)
def test_a_rule_goes_from_training_to_a_capture(rule, runs, toy, tmp_path):
    start, last = (load_checkpoint(runs[rule].checkpoint(name)) for name in ("start", "last"))
    assert last.adaptation.rule == rule
    assert set(last.rule) == set(start.rule) and last.rule
    assert any(not torch.equal(last.rule[name], start.rule[name]) for name in last.rule)
    path = runs[rule].checkpoint("last")
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    network, params = last.network(), last.start()
    adapted = adapt_as(network, params, tasks.support, last.adaptation).params
    plain = dataclasses.replace(last.adaptation, rule="sgd")
    other = adapt_as(network, params, tasks.support, plain).params
    apart = max(float((adapted[name] - other[name]).abs().max()) for name in adapted)
    assert apart > 1e-5  # the rule is used

    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all", raw=True)
    with open_store(store) as opened:
        before = torch.stack([torch.from_numpy(opened.activations("head", 0, task)) for task in range(3)])
    ours = forward_tasks(network, params, tasks.query.images)
    torch.testing.assert_close(before, ours.detach(), atol=1e-5, rtol=1e-4)

    rows = accuracy_of(last, toy, PLAN).rows
    assert rows[0].measure == "accuracy" and rows[0].n == 3
    assert {row.frozen for row in freeze(path, toy, PLAN).rows} >= {"", "conv1", "conv1,conv2,conv3,conv4"}
    moved = {
        row.layer: row.value for row in weight_distance(path, toy, PLAN).rows if row.measure == "euclidean_distance"
    }
    squares = sum((adapted[n] - params[n]).square().flatten(1).sum(1) for n in adapted if n.startswith("conv1."))
    assert moved["conv1"] == pytest.approx(float(squares.sqrt().mean()), rel=1e-4)
    compared = similarity(store, replicates=0, permutations=0).rows
    compared += compare(store, store, replicates=0, permutations=0).rows
    assert {row.update_rule for row in (*rows, *freeze(path, toy, PLAN).rows, *compared)} == {rule}
    assert {row.other_update_rule for row in compared} == {None, rule}
    viewer = Viewer.of(last)
    views = collect_views(viewer, batches_of(sampler_for(last, toy, n_query=2), 2, 1), 2)
    flat = torch.cat([(adapted[n] - params[n]).flatten(1) for n in viewer.columns[0]], dim=1)
    np.testing.assert_allclose(views.moved, flat[:2], atol=1e-5)


@pytest.mark.parametrize("rule", ["meta_kfo", "t_nets"])
def test_a_killed_run_ends_with_the_same_bytes(rule, runs, toy, tmp_path):
    config = tiny(update_rule=rule, outer_lr=0.01)
    folder, alone, append = RunFolder(tmp_path / "run"), runs[rule], RunFolder.append_metrics

    def killed(self, record):
        if record["iteration"] == 6:
            raise KeyboardInterrupt
        append(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, toy, folder.path)
    assert load_checkpoint(folder.checkpoint("last")).iteration == 4
    train(config, toy, folder.path)
    for name in CHECKPOINT_NAMES:
        assert folder.checkpoint(name).read_bytes() == alone.checkpoint(name).read_bytes()


def test_a_lost_resume_state_is_taken_from_a_checkpoint_where_that_holds_all(runs, toy, tmp_path):
    for rule in ("meta_curvature", "t_nets"):
        folder = RunFolder(tmp_path / rule)
        shutil.copytree(runs[rule].path, folder.path)
        folder.resume_file.unlink()
        folder.checkpoint("last").unlink()
        if rule == "t_nets":
            with pytest.raises(UnreadableInput, match="no checkpoint holds weights and maps apart"):
                train(tiny(update_rule=rule, outer_lr=0.01), toy, folder.path)
        else:
            with pytest.warns(UserWarning, match="goes on from the newest whole checkpoint"):
                last = train(tiny(update_rule=rule, outer_lr=0.01), toy, folder.path)
            assert last.iteration == 9 and last.rule


def test_inspect_and_diff_show_the_rule(runs):
    kfo, sgd = (runs[rule].checkpoint("last") for rule in ("meta_kfo", "meta_sgd"))
    found = inspect_file(kfo, stats=True)
    assert found.fingerprint_matches
    assert {layer.name for layer in found.layers} >= {"conv1", "update_rule.conv1", "update_rule.head"}
    checkpoint = load_checkpoint(kfo)
    facts = dict(inspection_grids(found)[0].rows)
    assert facts["parameters"] == sum(value.numel() for value in checkpoint.params.values())
    assert facts["numbers of its update rule"] == sum(value.numel() for value in checkpoint.rule.values())
    assert diff_files(kfo, kfo).same
    difference = diff_files(kfo, sgd)
    assert "update_rule.conv1.conv.weight.left" in {tensor.name for tensor in difference.only_a}
    assert any(key.key == "adaptation.rule" and key.counts for key in difference.keys)


def test_clamped_rates_stay_in_their_limits(toy, tmp_path):
    options = {"update_rule": "meta_sgd", "outer_lr": 0.05, "inner_lr": 0.1}
    free, held = (
        train(tiny(**options), toy, tmp_path / "free"),
        train(tiny(**options, rates_clamp=(0.0, 0.12)), toy, tmp_path / "held"),
    )
    rates = torch.cat([value.flatten() for value in free.rule.values()])
    assert float(rates.min()) < 0 and float(rates.max()) > 0.12
    rates = torch.cat([value.flatten() for value in held.rule.values()])
    assert float(rates.min()) == 0 and float(rates.max()) == pytest.approx(0.12)


def test_an_untrained_learner_and_a_new_head_start_the_rule_anew(runs):
    last = load_checkpoint(runs["meta_kfo"].checkpoint("last"))
    start = load_checkpoint(runs["meta_kfo"].checkpoint("start"))
    untrained = last.untrained()
    assert untrained.fingerprint == start.fingerprint
    wider = as_tested(last, Otherwise(n_way=5))
    assert wider.rule["update_rule.head.weight.left"].shape == (5, 5)
    assert torch.equal(wider.rule["update_rule.head.weight.left"], torch.eye(5))
    assert torch.equal(
        wider.rule["update_rule.conv1.conv.weight.left"], last.rule["update_rule.conv1.conv.weight.left"]
    )
    rated = load_checkpoint(runs["meta_sgd"].checkpoint("last"))
    with pytest.raises(MetaprobeError, match=r"--inner-lr 0\.05 would change nothing"):
        as_tested(rated, Otherwise(inner_lr=0.05))


def test_anil_learns_a_rule_for_its_head_alone(toy, tmp_path):
    last = train(tiny("anil", update_rule="meta_kfo"), toy, tmp_path / "run")
    assert {name.split(".")[1] for name in last.rule} == {"head"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("anil", "t_nets", {}), "t_nets is not for anil: a T-Net has a map behind every layer.*adapts head alone"),
        (("fomaml", "t_nets", {}), "t_nets is not for fomaml: .*train with maml"),
        (("reptile", "meta_sgd", {}), "--update-rule is an option of maml; reptile has none"),
        (("maml", "meta_kf", {}), "unknown update rule 'meta_kf'.*Did you mean meta_kfo"),
        (("maml", "meta_kfo", {"rates_start": 0.3}), "--rates-start is of update rules that learn rates"),
        (("maml", None, {"rates_clamp": (0.0, 1.0)}), "--rates-clamp is of update rules that learn rates"),
    ],
)
def test_what_a_run_cannot_have_is_refused(options, told, toy, tmp_path):
    name, rule, more = options
    with pytest.raises(MetaprobeError, match=told):
        train(tiny(name, update_rule=rule, **more), toy, tmp_path / "run")


def test_limits_must_be_two_numbers_in_order():
    with pytest.raises(MetaprobeError, match="--rates-clamp needs two numbers"):
        TrainConfig("maml", "toy", update_rule="meta_sgd", rates_clamp=(1.0, 0.0))
    assert TrainConfig("maml", "toy", update_rule="sgd") == TrainConfig("maml", "toy")


def test_a_checkpoint_without_its_rule_is_refused(runs, tmp_path):
    whole = load_checkpoint(runs["meta_kfo"].checkpoint("last"))
    name = "update_rule.conv1.conv.weight.left"
    for rule, told in (
        (
            {n: v for n, v in whole.rule.items() if n != name},
            f"update rule meta_kfo .* {name} is not there, expected F32",
        ),
        ({**whole.rule, name: torch.eye(2)}, rf"{name} is F32 \(2, 2\), expected F32 \(1, 1\)"),
        ({**whole.rule, "update_rule.conv9.left": torch.eye(2)}, "conv9.left is F32.*expected no such parameter"),
    ):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, rule=rule))
        with pytest.raises(UnreadableInput, match=told):
            load_checkpoint(tmp_path / "bad.safetensors")
    sgd = dataclasses.replace(whole.adaptation, rule="sgd")
    with pytest.raises(MetaprobeError, match="adaptation rule is sgd, by its config meta_kfo"):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, adaptation=sgd))
