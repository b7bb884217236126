"""MAML++: all parts by one word, each left out by telling it otherwise, and the whole path of such a learner."""

import dataclasses
import json

import pytest
import torch

from metaprobe.analyses.freezing import TestPlan, freeze
from metaprobe.analyses.similarity import measures_named, similarity
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.cli import main
from metaprobe.probe.inspection.diff import diff_files
from metaprobe.trainers.algorithms import ALGORITHMS, check_options
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.conventions import completed
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.otherwise import Otherwise
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import reference_mamlpp as reference
from tests.test_training import tiny

PARTS = {"update_rule": "lslr", "step_norms": True, "adapt_norm": False, "rotate_classes": True, "schedule": "cosine"}
PARTS |= {"multi_step_loss": 1000, "first_order_until": 3333, "outer_lr_floor": 1e-5}
PARTS |= {"like": "antoniou2019", "activation": "leaky-relu"}
TRAIN = [
    "train", "maml_pp", "--data", "toy", "--iterations", "6", "--n-way", "3", "--n-query", "2", "--meta-batch", "2",
    "--filters", "4", "--val-tasks", "2", "--inner-steps", "2", "--chunk", "2", "--gradient", "sweep",
]  # fmt: skip


def asked(**told):
    return completed(TrainConfig("maml_pp", "toy", **told), told.__contains__)


def test_one_word_is_all_parts():
    assert asked() == dataclasses.replace(TrainConfig("maml_pp", "toy"), **PARTS)
    maml = completed(TrainConfig("maml", "toy"), {}.__contains__)
    assert maml == TrainConfig("maml", "toy")
    layers = ("conv1", "head")
    same = dataclasses.replace(asked(), algorithm="maml")  # what it adapts by is what maml does with these options
    assert ALGORITHMS["maml_pp"].adaptation(asked(), layers) == ALGORITHMS["maml"].adaptation(same, layers)
    assert ALGORITHMS["maml_pp"].meta_gradient is ALGORITHMS["maml"].meta_gradient


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"update_rule": "sgd"}, {"update_rule": None}),
        ({"update_rule": "lslr_layer"}, {}),
        ({"multi_step_loss": 0}, {"multi_step_loss": None}),
        ({"first_order_until": 0}, {"first_order_until": None}),
        ({"step_norms": False}, {}),
        ({"rotate_classes": False}, {}),
        ({"schedule": "constant"}, {"outer_lr_floor": None}),
        ({"activation": "relu"}, {"activation": None}),
        ({"like": "finn2017"}, {"activation": None}),
        ({"iterations": 100}, {"multi_step_loss": 10, "first_order_until": 33}),
        ({"outer_lr": 1e-6}, {"outer_lr_floor": 1e-6}),
        ({"base": "other.safetensors"}, {"like": None, "activation": None}),
    ],
)
def test_what_is_told_wins(told, left):
    assert asked(**told) == dataclasses.replace(TrainConfig("maml_pp", "toy"), **PARTS | told | left)


@pytest.fixture(scope="module")
def run(tmp_path_factory, toy):
    """A run of the command line, on a set that need not be made."""
    out = tmp_path_factory.mktemp("maml_pp") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metaprobe.probe.cli.training.load_data", lambda *_: toy)
        assert main([*TRAIN, "--out", str(out)]) == 0
        before = RunFolder(out).checkpoint("last").read_bytes()
        assert main([*TRAIN, "--out", str(out)]) == 0  # the same run, and done already
        assert main([*TRAIN, "--no-step-norms", "--out", str(out)]) == 2  # another one
        assert RunFolder(out).checkpoint("last").read_bytes() == before
    return RunFolder(out)


def test_a_run_goes_from_training_to_all_tests(run, toy, tmp_path, capsys):
    path, plan = run.checkpoint("last"), TestPlan(tasks=3, n_query=2)
    last = load_checkpoint(path)
    assert last.config.multi_step_loss == 1 and last.config.first_order_until == 2
    assert (last.adaptation.rule, last.adaptation.step_norms) == ("lslr", True)
    assert last.network_config.activation == "leaky-relu"
    assert accuracy_of(last, toy, plan).rows[0].value == pytest.approx(mean_accuracy(last, toy), abs=1e-4)
    assert "steps beyond" not in accuracy_of(last, toy, plan).rows[0].reason
    more = accuracy_of(last, toy, plan, inner_steps=5).rows[0]
    assert more.n == 3 and "steps beyond the 2 of training take what was learned for the last" in more.reason
    other = dataclasses.replace(plan, norm="non-transductive", otherwise=Otherwise(n_way=4))
    assert accuracy_of(last, toy, other, head="nil").rows[0].n == 3
    assert {row.frozen for row in freeze(path, toy, plan).rows} >= {"", "conv1", "conv1,conv2,conv3,conv4"}
    assert weight_distance(path, toy, plan).rows[0].value > 0
    store = capture_checkpoint(path, toy, tmp_path / "store.h5", tasks=3, n_query=2, steps="all")
    assert similarity(store, measures_named(["linear_cka"])).rows
    assert diff_files(path, path).same
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {len(one["rates"]) for one in told["rates"]} == {2} and len(told["rates"]) == 6  # norms have none
    with pytest.raises(MetaprobeError, match=r"--inner-lr 0.5 would change nothing"):
        as_tested(last, Otherwise(inner_lr=0.5))


def mean_accuracy(checkpoint, imageset):
    """Of the reference, one task at a time, in float64."""
    tasks = EpisodeSampler(imageset, "test", 3, 1, 2, seed=0, dtype=torch.float64).batch(range(3))
    leaves = {name: value.double().requires_grad_() for name, value in checkpoint.start().items()}
    names = [name for name in checkpoint.params if ".norm." not in name]
    right = 0.0
    for task in range(3):
        support = tasks.support.images[task], tasks.support.labels[task]
        state = reference.path(leaves, *support, names, 0.1, 2, slope=0.01)[-1]
        found = reference.conv4(state, tasks.query.images[task], "max-pool", 0.01).argmax(1)
        right += float((found == tasks.query.labels[task]).double().mean())
    return 100 * right / 3


def test_it_starts_from_a_base_with_its_network(toy, tmp_path):
    train(tiny(iterations=1), toy, tmp_path / "maml")
    base = RunFolder(tmp_path / "maml").checkpoint("last")
    config = dataclasses.replace(tiny("maml_pp", iterations=2, base=str(base)))
    last = train(completed(config, {"iterations", "base"}.__contains__), toy, tmp_path / "run")
    assert last.adaptation.step_norms and last.network_config == load_checkpoint(base).network_config


def test_a_regression_and_compiling_are_refused():
    with pytest.raises(MetaprobeError, match="maml_pp needs classes"):
        check_options(ALGORITHMS["maml_pp"], TrainConfig("maml_pp", "sinusoid", loss="mse"))
    with pytest.raises(MetaprobeError, match="leave --compile out, or say --multi-step-loss 0"):
        check_options(ALGORITHMS["maml_pp"], dataclasses.replace(asked(), compile=True))
