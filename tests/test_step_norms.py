"""Norms with a scale and shift of their own for each step, alone and with all other parts of MAML++."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.task_optimum import descend
from metaprobe.analyses.clustering.task_views import Viewer, batches_of, collect_views
from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.steps import step_curves
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.config import Adaptation, TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from metaprobe.trainers.update_rules import network_part
from tests import reference_mamlpp as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_training import tiny

WEIGHTS = {1: (1.0,), 5: (0.3, 0.1, 0.25, 0.05, 0.3)}
PLAN = TestPlan(tasks=3, n_query=2)
NORMED = {"step_norms": True, "adapt_norm": False}


def case(steps=3, name="maml", rule=None, **shape):
    """A network and its tasks, how they adapt, and all parameters, those of steps away from where they start."""
    network, params, tasks = problem(**shape)
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps, update_rule=rule, **NORMED)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    own = {
        full: (value + 0.2 * torch.randn(value.shape, generator=generator, dtype=value.dtype)).requires_grad_()
        for full, value in begin_rule(network, adaptation, config).items()
    }
    return network, {**params, **own}, tasks, adaptation


def names_of(params):
    return [name for name in network_part(params) if ".norm." not in name]


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("name", ["maml", "fomaml"])
@pytest.mark.parametrize("together", [False, True], ids=["alone", "all parts together"])
def test_meta_gradient_equals_unrolled_autograd(together, name, steps, norm, sweep):
    downsample = "stride" if together and norm == "transductive" else "max-pool"
    shape = {"activation": "leaky-relu"} if together else {}
    network, params, tasks, adaptation = case(
        steps, name, "lslr" if together else None, norm=norm, downsample=downsample, **shape
    )
    weights = WEIGHTS[steps] if together else ()
    ours = ALGORITHMS[name].meta_gradient(
        network, params, tasks, dataclasses.replace(adaptation, loss_weights=weights), norm == "transductive", sweep
    )
    options = {"weights": weights, "first_order": name == "fomaml", "slope": 0.01 if together else 0.0}
    loss, right, theirs = reference.meta_gradient(
        params, tasks, names_of(params), 0.2, steps, norm == "transductive", downsample=downsample, **options
    )
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert float(ours.score) == pytest.approx(right, abs=TOLERANCE)
    assert set(ours.gradients) == set(theirs) and worst(ours.gradients, theirs) < TOLERANCE
    sets = [name for name in params if name.endswith(".steps")]
    assert len(sets) == (8 if steps > 1 else 0)
    assert min(float(theirs[name].abs().max()) for name in sets) > 1e-6 if sets else True


def test_sets_start_as_copies_and_a_step_takes_its_own_and_those_beyond_the_last():
    network, params, tasks, adaptation = case(3)
    config = TrainConfig("maml", "toy", inner_steps=3, **NORMED)
    begun = begin_rule(network, adaptation, config)
    for full, value in begun.items():
        own = params[full.removeprefix("update_rule.").removesuffix(".steps")]
        assert value.shape == (2, *own.shape) and all(torch.equal(one, own) for one in value)
    plain = dataclasses.replace(adaptation, step_norms=False)
    ours, theirs = (adapt_as(network, {**params, **begun}, tasks.support, how).params for how in (adaptation, plain))
    assert worst(ours, theirs) < 1e-12
    states = adapt_as(network, params, tasks.support, dataclasses.replace(adaptation, steps=5), every_step=True)
    expected = reference.path(params, tasks.support.images[0], tasks.support.labels[0], names_of(params), 0.2, 5)
    for ours, theirs in zip(states.trajectory[1:], expected, strict=True):
        assert max(float((ours[name][0] - theirs[name].detach()).abs().max()) for name in theirs) < TOLERANCE
    assert torch.equal(states.trajectory[0]["conv1.norm.bias"], params["conv1.norm.bias"])
    assert torch.equal(states.params["conv1.norm.bias"][1], params["update_rule.conv1.norm.bias.steps"][1])


@pytest.mark.parametrize("layers", [("conv3", "head"), ("head",), ("conv1", "conv2.conv", "head")])
def test_a_layer_that_stays_keeps_the_norms_of_the_network(layers):
    network, params, tasks, adaptation = case(3)
    narrow = dataclasses.replace(adaptation, layers=layers)
    found = adapt_as(network, params, tasks.support, narrow).params
    for name in network_part(params):
        moved = any(name == layer or name.startswith(f"{layer}.") for layer in layers)
        assert (found[name].shape != params[name].shape) == moved
        assert moved or torch.equal(found[name], params[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    out = tmp_path_factory.mktemp("norms") / "run"
    train(tiny(**NORMED, outer_lr=0.01), toy, out)
    return RunFolder(out)


def test_a_learner_goes_from_training_to_a_capture_and_a_freezing(run, toy, tmp_path):
    start, last = (load_checkpoint(run.checkpoint(name)) for name in ("start", "last"))
    norms = [f"conv{block}.norm.{what}" for block in range(1, 5) for what in ("weight", "bias")]
    assert set(last.rule) == {f"update_rule.{norm}.steps" for norm in norms}
    assert all(not torch.equal(last.rule[name], start.rule[name]) for name in last.rule)
    assert last.untrained().fingerprint == start.fingerprint
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    network, params = last.network(), last.start()
    states = adapt_as(network, params, tasks.support, last.adaptation, every_step=True).trajectory
    path = run.checkpoint("last")
    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all", raw=True)
    with open_store(store) as opened:
        for step, state in enumerate((params, *states[1:])):
            found = torch.stack([torch.from_numpy(opened.activations("head", step, task)) for task in range(3)])
            ours = forward_tasks(network, state, tasks.query.images).detach()
            torch.testing.assert_close(found, ours, atol=1e-5, rtol=1e-4)
    assert accuracy_of(last, toy, PLAN).rows[0].n == 3
    assert {row.frozen for row in freeze(path, toy, PLAN).rows} >= {"", "conv1", "conv1,conv2,conv3,conv4"}
    moved = {r.layer: r.value for r in weight_distance(path, toy, PLAN).rows if r.measure == "euclidean_distance"}
    squares = sum((states[-1][n] - params[n]).square().flatten(1).sum(1) for n in states[-1] if n.startswith("conv1."))
    assert moved["conv1"] == pytest.approx(float(squares.sqrt().mean()), rel=1e-4)


def test_a_killed_run_ends_with_the_same_bytes(run, toy, tmp_path, monkeypatch):
    config, folder, append = tiny(**NORMED, outer_lr=0.01), RunFolder(tmp_path / "run"), RunFolder.append_metrics

    def killed(self, record):
        if record["iteration"] == 6:
            raise KeyboardInterrupt
        append(self, record)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config, toy, folder.path)
    train(config, toy, folder.path)
    for name in CHECKPOINT_NAMES:
        assert folder.checkpoint(name).read_bytes() == run.checkpoint(name).read_bytes()


def test_inspect_and_diff_show_the_sets(run, toy, tmp_path):
    path = run.checkpoint("last")
    found = inspect_file(path, stats=True)
    assert found.fingerprint_matches and found.rates == ()
    assert {layer.name for layer in found.layers} >= {"conv1", "update_rule.conv1"}
    train(tiny(adapt_norm=False, outer_lr=0.01), toy, tmp_path / "plain")
    plain = RunFolder(tmp_path / "plain").checkpoint("last")
    assert "step_norms" not in to_mapping(load_checkpoint(plain).adaptation)
    difference = diff_files(path, plain)
    assert "update_rule.conv1.norm.bias.steps" in {tensor.name for tensor in difference.only_a}
    assert any(key.key == "adaptation.step_norms" and key.counts for key in difference.keys)


def test_a_checkpoint_without_its_sets_or_that_contradicts_itself_is_refused(run, tmp_path):
    whole, name = load_checkpoint(run.checkpoint("last")), "update_rule.conv1.norm.bias.steps"
    for rule, told in (
        ({n: v for n, v in whole.rule.items() if n != name}, f"{name} is not there, expected F32"),
        ({**whole.rule, name: torch.ones(2, 4)}, rf"{name} is F32 \(2, 4\), expected F32 \(1, 4\)"),
    ):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, rule=rule))
        with pytest.raises(UnreadableInput, match=told):
            load_checkpoint(tmp_path / "bad.safetensors")
    other = dataclasses.replace(whole.adaptation, step_norms=False)
    with pytest.raises(MetaprobeError, match="adaptation step_norms is False, by its config True"):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, adaptation=other))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("maml", {"step_norms": True}, "--step-norms and --adapt-norm contradict each other.*add --no-adapt-norm"),
        ("anil", NORMED, "--step-norms is an option of maml; anil has none"),
        ("maml", NORMED | {"norm_affine": "none"}, "no layer that adapts has any"),
        ("maml", NORMED | {"blocks": 0}, "no layer that adapts has any"),
    ],
)
def test_what_a_run_cannot_have_is_refused(name, options, told, toy, tmp_path):
    with pytest.raises(MetaprobeError, match=told):
        train(tiny(name, **options), toy, tmp_path / "run")


def test_one_step_needs_no_more_sets_than_the_network_has(toy, tmp_path):
    one = train(tiny(**NORMED, inner_steps=1, iterations=2), toy, tmp_path / "one")
    plain = train(tiny(adapt_norm=False, inner_steps=1, iterations=2), toy, tmp_path / "plain")
    assert one.rule == {}
    for name, value in plain.params.items():  # (sums over tasks are made in another order)
        torch.testing.assert_close(one.params[name], value, atol=1e-5, rtol=1e-4)
    assert load_checkpoint(RunFolder(tmp_path / "one").checkpoint("last")).adaptation.step_norms
    with pytest.raises(MetaprobeError, match="contradict each other"):
        Adaptation(("head",), 0.1, 5, step_norms=True)


def test_clusters_curves_and_optima_take_such_a_learner(run, toy):
    last = load_checkpoint(run.checkpoint("last"))
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    adapted = adapt_as(last.network(), last.start(), tasks.support, last.adaptation).params
    viewer = Viewer.of(last)
    views = collect_views(viewer, batches_of(sampler_for(last, toy, n_query=2), 2, 1), 2)
    flat = torch.cat([(adapted[name] - last.params[name]).flatten(1) for name in viewer.columns[0]], dim=1)
    np.testing.assert_allclose(views.moved, flat[:2], atol=1e-5)
    ended, _ = descend(last.network(), last.start(), tasks.support, tasks.query, last.adaptation, 0.1, 3)
    assert torch.equal(ended["conv1.norm.bias"], adapted["conv1.norm.bias"])  # of the last step, and not moved from it
    assert not torch.equal(ended["conv1.conv.weight"], adapted["conv1.conv.weight"])
    curve = {row.step: row.value for row in step_curves(last, toy, PLAN, 3).rows if row.measure == "query_accuracy"}
    assert curve[2] == accuracy_of(last, toy, PLAN).rows[0].value
