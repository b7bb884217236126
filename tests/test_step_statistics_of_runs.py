"""Runs, tests and files of learners whose norms keep statistics a step."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.task_optimum import descend
from metaprobe.analyses.clustering.task_views import Viewer, batches_of, collect_views
from metaprobe.analyses.freezing import freeze
from metaprobe.analyses.steps import step_curves
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.update_map import update_map
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import inspection_grids
from metaprobe.reports.study.gather import _learner
from metaprobe.reports.study.plan import Run
from metaprobe.reports.study.study import Learner
from metaprobe.trainers.adapt import adapt_as, query_logits
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from tests import reference_mamlpp as reference
from tests.test_step_statistics import KEPT, NORMED, PLAN
from tests.test_training import tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    out = tmp_path_factory.mktemp("statistics") / "run"
    train(tiny(**KEPT, **NORMED, outer_lr=0.01, update_rule="lslr", multi_step_loss=4), toy, out)
    return RunFolder(out)


def test_a_run_keeps_the_running_means_of_its_batches(toy, tmp_path):
    config = tiny(**KEPT, iterations=1)
    last = train(config, toy, tmp_path / "run")
    start = load_checkpoint(RunFolder(tmp_path / "run").checkpoint("start"))
    tasks = ALGORITHMS["maml"].batches(config, toy, torch.device("cpu")).batch(range(2))
    double = dataclasses.replace(
        tasks,
        support=dataclasses.replace(tasks.support, images=tasks.support.images.double()),
        query=dataclasses.replace(tasks.query, images=tasks.query.images.double()),
    )
    leaves = {name: value.double().requires_grad_() for name, value in start.params.items()}
    shape = start.network_config
    sums = reference.batch_statistics(leaves, double, list(leaves), 0.1, 2, downsample=shape.downsample)
    for name, total in sums.items():
        begun = torch.zeros_like(total) if name.endswith(".mean") else torch.ones_like(total)
        assert torch.equal(start.rule[name].double(), begun)
        torch.testing.assert_close(last.rule[name].double(), 0.9 * begun + 0.1 * total / 2, atol=1e-5, rtol=1e-4)
    plain = train(dataclasses.replace(config, step_statistics=None), toy, tmp_path / "plain")
    assert plain.rule == {} and all(torch.equal(plain.params[name], last.params[name]) for name in plain.params)
    assert plain.metrics["val_loss"] != last.metrics["val_loss"]


def test_a_learner_goes_from_training_to_a_capture_and_a_freezing(run, toy, tmp_path):
    start, last = (load_checkpoint(run.checkpoint(name)) for name in ("start", "last"))
    sets = {f"update_rule.conv{block}.norm.{what}" for block in range(1, 5) for what in ("mean", "variance")}
    assert sets <= set(last.rule) and all(last.rule[name].shape == (3, 4) for name in sets)
    assert last.norm == "running" and last.untrained().fingerprint == start.fingerprint
    assert last.untrained().norm == "transductive" and not sets & set(last.untrained().start())
    assert start.norm == "transductive" and not sets & set(start.start())  # its file goes by batches, too
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    network, params = last.network(), last.start()
    states = adapt_as(network, params, tasks.support, last.adaptation, every_step=True).trajectory
    path = run.checkpoint("last")
    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all", raw=True)
    with open_store(store) as opened:
        assert opened.metadata.normalisation == "running"
        for step, state in enumerate(states):
            found = torch.stack([torch.from_numpy(opened.activations("head", step, task)) for task in range(3)])
            ours = forward_tasks(network, state, tasks.query.images).detach()
            torch.testing.assert_close(found, ours, atol=1e-5, rtol=1e-4)
    assert {row.frozen for row in freeze(path, toy, PLAN).rows} >= {"", "conv1", "conv1,conv2,conv3,conv4"}
    assert {row.layer for row in weight_distance(path, toy, PLAN).rows} == {*network.layer_names}
    assert {row.layer for row in update_map(last, toy, PLAN).rows} >= {"conv1", "head"}
    curve = {row.step: row.value for row in step_curves(last, toy, PLAN, 3).rows if row.measure == "query_accuracy"}
    assert curve[2] == accuracy_of(last, toy, PLAN).rows[0].value


def test_a_test_may_ask_for_other_statistics(run, toy):
    last = load_checkpoint(run.checkpoint("last"))
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    by = {None: accuracy_of(last, toy, PLAN)}
    by |= {
        n: accuracy_of(last, toy, dataclasses.replace(PLAN, norm=n)) for n in ("running", "transductive", "one-query")
    }
    assert by[None].frame().equals(by["running"].frame())
    assert "normalised" not in by[None].rows[0].reason
    assert "with their own statistics, other than in training" in by["transductive"].rows[0].reason
    assert "one by one" in by["one-query"].rows[0].reason
    loss = {name: [row.value for row in table.rows if row.measure == "loss"] for name, table in by.items()}
    batch = dataclasses.replace(last.adaptation, step_statistics="batch")
    params = adapt_as(last.network(), last.start(), tasks.support, batch).params
    logits = query_logits(last.network(), params, tasks.support, tasks.query).detach()
    ours = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tasks.query.labels.flatten())
    assert loss["transductive"][0] == pytest.approx(float(ours), rel=1e-5)
    assert loss["transductive"] != loss["running"]


def test_a_killed_run_ends_with_the_same_bytes(run, toy, tmp_path, monkeypatch):
    config, folder, append = run.read_config(), RunFolder(tmp_path / "run"), RunFolder.append_metrics

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


def test_running_statistics_are_counted_as_no_parameters(run):
    last = load_checkpoint(run.checkpoint("last"))
    sizes = {name: value.numel() for name, value in last.rule.items()}
    kept = sum(size for name, size in sizes.items() if name.endswith((".mean", ".variance")))
    steps = sum(size for name, size in sizes.items() if name.endswith(".steps"))
    rates = sum(size for name, size in sizes.items() if name.endswith(".rates"))
    assert min(kept, rates) > 0 and kept + steps + rates == sum(sizes.values())
    facts = {row[0]: row[1] for row in inspection_grids(inspect_file(run.checkpoint("last")))[0].rows}
    assert (facts["numbers of running statistics"], facts["numbers of its update rule"]) == (kept, rates)
    assert facts.get("numbers of its norms of each step", 0) == steps
    trained = _learner(Run(Learner("maml", "MAML", "maml"), 0, run.path, last.config, "maml"))
    assert trained.parameters == sum(value.numel() for value in last.params.values()) + steps + rates


def test_inspect_diff_and_damage_know_the_sets(run, toy, tmp_path):
    path, name = run.checkpoint("last"), "update_rule.conv1.norm.mean"
    train(tiny(iterations=1), toy, tmp_path / "plain")
    plain = RunFolder(tmp_path / "plain").checkpoint("last")
    assert inspect_file(path, stats=True).fingerprint_matches
    assert name in {both.a.name for both in diff_files(path, run.checkpoint("third")).tensors if not both.equal}
    assert "step_statistics" in {key.key.rpartition(".")[2] for key in diff_files(path, plain).keys if key.counts}
    whole = load_checkpoint(path)
    for rule, told in (
        ({n: v for n, v in whole.rule.items() if n != name}, f"{name} is not there, expected F32"),
        ({**whole.rule, name: torch.ones(2, 4)}, rf"{name} is F32 \(2, 4\), expected F32 \(3, 4\)"),
    ):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, rule=rule))
        with pytest.raises(UnreadableInput, match=told):
            load_checkpoint(tmp_path / "bad.safetensors")
    other = dataclasses.replace(whole.adaptation, step_statistics="batch")
    with pytest.raises(MetaprobeError, match="adaptation step_statistics is batch, by its config running"):
        save_checkpoint(tmp_path / "bad.safetensors", dataclasses.replace(whole, adaptation=other))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("anil", {}, "--step-statistics is an option of maml.*; anil has none"),
        ("reptile", {}, "--step-statistics is an option of maml.*; reptile has none"),
        ("maml", {"blocks": 0}, "--step-statistics running are of batch norms, and the network has none"),
        ("maml", {"compile": True}, "--compile makes a program of gradients alone.*leave one out"),
    ],
)
def test_what_a_run_cannot_have_is_refused(name, options, told, toy, tmp_path):
    with pytest.raises(MetaprobeError, match=told):
        train(tiny(name, **KEPT, **options), toy, tmp_path / "run")


@pytest.mark.parametrize("rule", ["t_nets", "meta_kfo"])
def test_rules_with_maps_or_steps_of_their_own_go_with_them(rule, toy, tmp_path):
    last = train(tiny(**KEPT, update_rule=rule, iterations=2), toy, tmp_path / "run")
    kept = last.rule["update_rule.conv1.norm.variance"]
    assert kept.shape == (3, 4) and accuracy_of(last, toy, PLAN).rows[0].n == 3


def test_clusters_and_optima_take_such_a_learner(run, toy):
    last = load_checkpoint(run.checkpoint("last"))
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    adapted = adapt_as(last.network(), last.start(), tasks.support, last.adaptation).params
    viewer = Viewer.of(last)
    views = collect_views(viewer, batches_of(sampler_for(last, toy, n_query=2), 2, 1), 2)
    flat = torch.cat([(adapted[name] - last.params[name]).flatten(1) for name in viewer.columns[0]], dim=1)
    np.testing.assert_allclose(views.moved, flat[:2], atol=1e-5)
    body = last.network().layer_names[:-1]
    maps = [forward_tasks(last.network(), last.start(), e.images, layers=body) for e in (tasks.support, tasks.query)]
    mean = last.network().features(torch.cat(maps, dim=1)).detach().mean(dim=1)
    np.testing.assert_allclose(views.features, mean[:2], atol=1e-5)
    ended, _ = descend(last.network(), last.start(), tasks.support, tasks.query, last.adaptation, 0.1, 3)
    name = "update_rule.conv1.norm.mean"
    assert torch.equal(ended[name], adapted[name]) and torch.equal(adapted[name], last.rule[name][2:])
