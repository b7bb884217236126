"""Running statistics of norms for each number of inner steps: collected in training, normalised by at a test."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.task_optimum import descend
from metaprobe.analyses.clustering.task_views import Viewer, batches_of, collect_views
from metaprobe.analyses.freezing import TestPlan, freeze
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
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.engine import Engine
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.networks import forward_tasks
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from metaprobe.trainers.step_statistics import MOMENTUM, follow
from tests import reference_mamlpp as reference
from tests.test_meta_gradients import TOLERANCE, problem, worst
from tests.test_step_norms import names_of
from tests.test_training import tiny

KEPT = {"step_statistics": "running"}
NORMED = {"step_norms": True, "adapt_norm": False}
PLAN = TestPlan(tasks=3, n_query=2)
WEIGHTS = {1: (1.0,), 5: (0.3, 0.1, 0.25, 0.05, 0.3)}


def case(steps=3, name="maml", n_tasks=3, norm="transductive", downsample="max-pool", **options):
    """A network, all parameters with sets away from where they start, tasks, and how its learners adapt."""
    network, params, tasks = problem(downsample, norm, n_tasks)
    config = TrainConfig(name, "toy", inner_lr=0.2, inner_steps=steps, **KEPT, **options)
    adaptation = ALGORITHMS[name].adaptation(config, network.layer_names)
    generator = torch.Generator().manual_seed(7)
    begun = begin_rule(network, adaptation, config)
    own = {n: v + 0.3 * torch.rand(v.shape, generator=generator, dtype=v.dtype) for n, v in begun.items()}
    learned = {n: v.requires_grad_(not n.endswith((".mean", ".variance"))) for n, v in own.items()}
    return network, {**params, **learned}, tasks, adaptation


def moving(params, options):
    return names_of(params) if options else [name for name in params if not name.startswith("update_rule.")]


@pytest.mark.parametrize("sweep", [False, True], ids=["unrolled", "sweep"])
@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
@pytest.mark.parametrize(("name", "steps", "options"), [("maml", 1, {}), ("maml", 5, NORMED), ("fomaml", 5, {})])
def test_statistics_are_collected_beside_a_meta_gradient_that_knows_nothing_of_them(name, steps, options, norm, sweep):
    network, params, tasks, adaptation = case(steps, name, norm=norm, **options)
    weighted = dataclasses.replace(adaptation, loss_weights=WEIGHTS[steps])
    ours = ALGORITHMS[name].meta_gradient(network, params, tasks, weighted, norm == "transductive", sweep)
    sets = {n: v for n, v in params.items() if n.endswith((".mean", ".variance"))}
    leaves, names = {n: v for n, v in params.items() if n not in sets}, moving(params, options)
    told = {"weights": WEIGHTS[steps], "first_order": name == "fomaml"}
    asked = (tasks, names, 0.2, steps, norm == "transductive")
    loss, _, theirs = reference.meta_gradient(leaves, *asked, **told)
    assert float(ours.loss) == pytest.approx(loss, abs=TOLERANCE)
    assert set(ours.gradients) == set(theirs) and worst(ours.gradients, theirs) < TOLERANCE
    expected = reference.batch_statistics(leaves, *asked)
    assert set(ours.statistics) == set(expected) == set(sets) and len(sets) == 8
    assert worst(ours.statistics, expected) < TOLERANCE
    assert all(value.shape == (steps + 1, 4) and not value.requires_grad for value in ours.statistics.values())
    assert not network.training or all(norm.seen is None for norm in network.modules() if hasattr(norm, "seen"))


def test_chunks_and_workers_add_up_to_the_same_sums():
    network, params, tasks, adaptation = case(2, n_tasks=5)
    expected = reference.batch_statistics(params, tasks, moving(params, {}), 0.2, 2)
    with TaskWorkers(network) as workers:
        executor = Executor(ALGORITHMS["maml"], adaptation, True, workers)
        for chunk in (1, 2, 5):
            found = executor.gradient(params, tasks, Engine(chunk, "unrolled"))
            assert worst(found.statistics, expected) < TOLERANCE


def test_sets_follow_the_means_of_meta_batches():
    params = {"update_rule.conv1.norm.mean": torch.tensor([[1.0, 2.0]], dtype=torch.float64)}
    expected = params["update_rule.conv1.norm.mean"].clone()
    for mean in ([[3.0, 0.0]], [[-1.0, 5.0]]):
        follow(params, {"update_rule.conv1.norm.mean": torch.tensor(mean, dtype=torch.float64)})
        expected = (1 - MOMENTUM) * expected + MOMENTUM * torch.tensor(mean, dtype=torch.float64)
    torch.testing.assert_close(params["update_rule.conv1.norm.mean"], expected, rtol=0, atol=1e-15)
    assert MOMENTUM == 0.1


@pytest.mark.parametrize("options", [{}, NORMED], ids=["plain", "norms of steps"])
@pytest.mark.parametrize("transductive", [True, False])
@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
def test_every_pass_of_a_test_is_normalised_by_the_set_of_its_step(downsample, transductive, options):
    network, params, tasks, adaptation = case(3, downsample=downsample, **options)
    further = dataclasses.replace(adaptation, steps=5)  # the last two by the last set
    found = adapt_as(network, params, tasks.support, further, every_step=True)
    assert worst(adapt_as(network, params, tasks.support, further).params, found.params) == 0
    for task in range(3):
        support, query = tasks.support, tasks.query
        asked = (support.images[task], support.labels[task], query.images[task], moving(params, options), 0.2, 5)
        theirs = reference.logits_by_sets(params, *asked, downsample).detach()
        for state, expected in zip(found.trajectory, theirs, strict=True):
            ours = query_logits(network, state, support, query, transductive=transductive).detach()
            assert float((ours[task] - expected).abs().max()) < TOLERANCE
    pre = [query_logits(network, at, tasks.support, tasks.query) for at in (params, found.trajectory[0])]
    torch.testing.assert_close(*pre, rtol=0, atol=1e-12)
    batch = dataclasses.replace(further, step_statistics="batch")
    other = adapt_as(network, params, tasks.support, batch).params
    assert not [name for name in other if name.startswith("update_rule.")]
    assert not torch.allclose(other["head.weight"], found.params["head.weight"])


@pytest.mark.parametrize(("layers", "still"), [(("conv3", "head"), 2), (("head",), 4), ((), 4), (("conv1",), 0)])
def test_what_comes_before_the_first_layer_that_adapts_keeps_the_first_set(layers, still):
    network, params, tasks, adaptation = case(3)
    narrow = dataclasses.replace(adaptation, layers=layers)
    found = adapt_as(network, params, tasks.support, narrow).params
    for block in range(1, 5):
        name = f"update_rule.conv{block}.norm.mean"
        assert torch.equal(found[name], params[name][:1] if block <= still else params[name][3:])
    first = tuple(f"update_rule.conv{block}." for block in range(1, still + 1))
    sets = {name: value[:1] for name, value in params.items() if name.startswith(first)}
    body = [name for name in params if name.partition(".")[0] in layers]
    asked = (tasks.support.images[1], tasks.support.labels[1], tasks.query.images[1], body, 0.2, 3 if layers else 0)
    at = reference.logits_by_sets(params | sets, *asked, "max-pool").detach()
    ours = query_logits(network, found, tasks.support, tasks.query).detach()
    assert float((ours[1] - at[-1]).abs().max()) < TOLERANCE


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
