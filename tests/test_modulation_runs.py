"""Runs of modulated learners: from training to what tests show, resumed, inspected, refused where they must be."""

import dataclasses

import pytest
import torch

from metaprobe.analyses.clustering.task_views import Viewer, batches_of, collect_views
from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.steps import step_curves
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.testing.plan import UNMODULATED
from metaprobe.analyses.testing.reuse import reuse_of_learners, reuse_table
from metaprobe.analyses.update_map import update_map
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe import open_store
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.views import inspection_grids
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import load_checkpoint, save_checkpoint
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.networks import forward_tasks, norm_parameters
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.test_training import tiny

NAMES = ("mmaml", "hsml")
PLAN = TestPlan(tasks=3, n_query=2)


def config_of(name):
    told = {"outer_lr": 0.01, "adapt_norm": name == "hsml"}
    return tiny(name, **told)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, toy):
    """The folder of a tiny run of each."""
    root, found = tmp_path_factory.mktemp("modulated"), {}
    for name in NAMES:
        train(config_of(name), toy, root / name)
        found[name] = RunFolder(root / name)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_modulation_is_trained_and_kept(name, runs):
    start, last = (load_checkpoint(runs[name].checkpoint(which)) for which in ("start", "last"))
    assert last.adaptation.modulation == {"mmaml": "film", "hsml": "tree"}[name]
    assert set(last.rule) == set(start.rule) and all(full.startswith("modulation.") for full in last.rule)
    moved = {full for full in last.rule if not torch.equal(last.rule[full], start.rule[full])}
    assert moved == set(last.rule)
    assert last.untrained().fingerprint == start.fingerprint  # what is drawn is drawn again
    if name == "mmaml":  # whose norms have no scale and shift but the task's
        for full in norm_parameters(last.network()):
            assert bool((last.params[full] == (1.0 if full.endswith("weight") else 0.0)).all())
        assert completed(TrainConfig("mmaml", "toy"), lambda name: False).adapt_norm is False


@pytest.mark.parametrize("name", NAMES)
def test_before_is_theta_and_after_what_the_task_got(name, runs, toy, tmp_path):
    path = runs[name].checkpoint("last")
    last = load_checkpoint(path)
    tasks = sampler_for(last, toy, n_query=2).batch(range(3))
    network, params = last.network(), last.start()
    adapted = adapt_as(network, params, tasks.support, last.adaptation).params
    other = adapt_as(network, params, tasks.support, dataclasses.replace(last.adaptation, modulation="")).params
    assert max(float((adapted[full] - other[full]).abs().max()) for full in adapted) > 1e-4  # it is used

    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all", raw=True)
    with open_store(store) as opened:
        assert opened.steps == (1, 2)
        for step, at in ((0, last.params), (2, adapted)):
            kept = torch.stack([torch.from_numpy(opened.activations("head", step, task)) for task in range(3)])
            ours = forward_tasks(network, at, tasks.query.images).detach()
            torch.testing.assert_close(kept, ours, atol=1e-4, rtol=1e-4)

    rows = [row for row in weight_distance(path, toy, PLAN).rows if row.measure == "euclidean_distance"]
    moved = {row.layer: row.value for row in rows}
    squares = sum((adapted[n] - params[n]).square().flatten(1).sum(1) for n in adapted if n.startswith("conv1."))
    assert moved["conv1"] == pytest.approx(float(squares.sqrt().mean()), rel=1e-4)
    views = collect_views(Viewer.of(last), batches_of(sampler_for(last, toy, n_query=2), 2, 1), 2)
    assert views.moved.shape[0] == 2 and abs(views.moved).max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_all_that_tests_a_learner_tests_it(name, runs, toy):
    path = runs[name].checkpoint("last")
    last = load_checkpoint(path)
    for head in ("own", "nil", "matching"):
        assert accuracy_of(last, toy, PLAN, head=head).rows[0].n == 3
    table = freeze(path, toy, dataclasses.replace(PLAN, per_task=True), nil_head=True)
    assert {row.frozen for row in table.rows} >= {"", "conv1", "conv1,conv2,conv3,conv4"}
    assert {row.algorithm for row in table.rows} == {name, "random"}
    body = [f"conv{number}" for number in range(1, 5)]
    assert "reuse_index" in {row.measure for row in reuse_of_learners(table, body, 2).rows}
    assert {row.step for row in step_curves(last, toy, PLAN, steps=2).rows} == {0, 1, 2}
    with pytest.raises(MetaprobeError, match="begins at what its task makes of the weights"):
        update_map(last, toy, PLAN)


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_ends_with_the_same_bytes_and_a_lost_state_goes_on(name, runs, toy, tmp_path):
    folder, alone, append = RunFolder(tmp_path / "run"), runs[name], RunFolder.append_metrics

    def killed(self, record):
        if record["iteration"] == 6:
            raise KeyboardInterrupt
        append(self, record)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", killed)
        with pytest.raises(KeyboardInterrupt):
            train(config_of(name), toy, folder.path)
    train(config_of(name), toy, folder.path)
    assert folder.checkpoint("last").read_bytes() == alone.checkpoint("last").read_bytes()
    folder.resume_file.unlink()
    folder.checkpoint("last").unlink()
    with pytest.warns(UserWarning, match="goes on from the newest whole checkpoint"):
        last = train(config_of(name), toy, folder.path)
    assert last.iteration == 9 and set(last.rule) == set(load_checkpoint(alone.checkpoint("last")).rule)


def test_inspect_and_diff_show_the_modulation(runs):
    film, tree = (runs[name].checkpoint("last") for name in NAMES)
    found, checkpoint = inspect_file(tree, stats=True), load_checkpoint(tree)
    assert {layer.name for layer in found.layers} >= {
        "conv1",
        "modulation.conv1",
        "modulation.tree",
        "modulation.reader",
    }
    facts = dict(inspection_grids(found)[0].rows)
    assert facts["parameters"] == sum(value.numel() for value in checkpoint.params.values())
    assert facts["numbers of its modulation"] == sum(value.numel() for value in checkpoint.rule.values())
    assert "numbers of its update rule" not in facts
    difference = diff_files(film, tree)
    assert "modulation.conv1.norm.film.weight" in {tensor.name for tensor in difference.only_a}
    assert any(key.key == "adaptation.modulation" for key in difference.keys)


def test_more_ways_fit_an_embedding_that_reads_no_labels_alone(runs, toy):
    film, tree = (load_checkpoint(runs[name].checkpoint("last")) for name in NAMES)
    wider = as_tested(film, Otherwise(n_way=5))
    assert wider.params["head.bias"].shape == (5,)
    assert all(torch.equal(wider.rule[full], value) for full, value in film.rule.items())
    assert accuracy_of(film, toy, dataclasses.replace(PLAN, otherwise=Otherwise(n_way=5))).rows[0].n == 3
    with pytest.raises(MetaprobeError, match=r"--n-way 5 does not fit: hsml embeds .* 3 classes; test it at 3"):
        as_tested(tree, Otherwise(n_way=5))
    with pytest.raises(MetaprobeError, match=r"a symmetric head makes no path the same .* gates each row"):
        Moves(tree.adaptation, symmetric_head=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"update_rule": "meta_sgd"}, "--update-rule is an option of maml; {} has none"),
        ({"step_norms": True, "adapt_norm": False}, "--step-norms is an option of .*; {} has none"),
        ({"multi_step_loss": 5}, "--multi-step-loss is an option of maml; {} has none"),
        ({"data": "sinusoid", "loss": "mse"}, "{} needs classes, and sinusoid asks for numbers"),
        ({"compile": True}, "--compile is not for {}, whose embedding of tasks is not compiled"),
    ],
)
def test_what_a_run_cannot_have_is_refused(name, options, told):
    config = TrainConfig(**{"algorithm": name, "data": "toy", **options})
    with pytest.raises(MetaprobeError, match=told.format(name)):
        check_options(ALGORITHMS[name], config)


def test_a_checkpoint_without_its_modulation_is_refused(runs, tmp_path):
    whole, bad = load_checkpoint(runs["hsml"].checkpoint("last")), tmp_path / "bad.safetensors"
    name = "modulation.tree.centres"
    for rule, told in (
        ({full: v for full, v in whole.rule.items() if full != name}, f"modulation tree is incomplete: {name} is not"),
        ({**whole.rule, name: torch.eye(2)}, rf"{name} is F32 \(2, 2\), expected F32 \(4, 128\)"),
        ({**whole.rule, "modulation.conv9": torch.eye(2)}, "modulation.conv9 is F32 .* expected no such parameter"),
    ):
        save_checkpoint(bad, dataclasses.replace(whole, rule=rule))
        with pytest.raises(UnreadableInput, match=told):
            load_checkpoint(bad)
    plain = dataclasses.replace(whole.adaptation, modulation="")
    with pytest.raises(MetaprobeError, match="adaptation modulation is , by its config tree"):
        save_checkpoint(bad, dataclasses.replace(whole, adaptation=plain))


def test_a_base_gives_its_weights_and_no_modulation(runs, toy, tmp_path):
    base = runs["hsml"].checkpoint("last")
    changes = {"iterations": 1, "val_every": 1, "base": str(base)}
    train(tiny("maml", **changes), toy, tmp_path / "maml")
    start, theirs = (load_checkpoint(path) for path in (RunFolder(tmp_path / "maml").checkpoint("start"), base))
    assert not start.rule and all(torch.equal(start.params[full], value) for full, value in theirs.params.items())
    with pytest.raises(MetaprobeError, match=r"begins at what each task makes of its weights: its body by"):
        train(tiny("maml_head", **changes), toy, tmp_path / "head")
    with pytest.raises(
        MetaprobeError,
        match=r"\(hsml\) begins at what each task makes of its weights, and tsa_maml has no setting for that: name",
    ):
        train(tiny("tsa_maml", clusters=2, cluster_tasks=4, **changes), toy, tmp_path / "tsa")


@pytest.mark.parametrize("algorithm", ["mmaml", "hsml"])
def test_no_reuse_index_is_told_of_a_body_that_no_task_begins_with(algorithm, runs, toy):
    plan = dataclasses.replace(PLAN, per_task=True)
    table = freeze(runs[algorithm].checkpoint("last"), toy, plan, nil_head=True)
    told = {(bool(row.frozen), UNMODULATED in (row.reason or "")) for row in table.rows}
    assert told == {(True, True), (False, False)}
    steps = load_checkpoint(runs[algorithm].checkpoint("last")).adaptation.steps
    found = reuse_table(table, ("conv1", "conv2", "conv3", "conv4"), steps).rows
    assert found and {row.status for row in found} == {"undefined"}
    assert all("is not the one that its tasks begin with" in (row.reason or "") for row in found)
