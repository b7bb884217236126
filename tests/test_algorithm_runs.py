"""Every algorithm from training to a capture: what moves, what a new head stands on, what breaks off and goes on."""

import functools
import math

import numpy as np
import pytest
import torch

from metaprobe import probe
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.evaluate import evaluate, sampler_for
from metaprobe.trainers.networks import layer_of
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset
from tests.test_algorithms import NORMS


@pytest.fixture(scope="session")
def images():
    return make_imageset(24, 20, 20)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, images):
    """A function that returns the folder of a tiny run of an algorithm, made when it is first asked for."""

    @functools.cache
    def folder(name, norm):
        algorithm = ALGORITHMS[name]
        options = {"base": str(folder("maml", norm).checkpoint("last"))} if algorithm.needs_base else {}
        options |= {"clusters": 2, "cluster_tasks": 12} if algorithm.cluster is not None else {}
        options |= {"update_rule": "meta_lstm"} if name == "meta_lstm" else {}
        config = TrainConfig(
            name, "toy", n_way=3, n_query=3, iterations=2, meta_batch=2, inner_steps=2, filters=8, val_tasks=2,
            val_every=1, chunk=2, norm=norm, **options,
        )  # fmt: skip
        run = RunFolder(tmp_path_factory.mktemp(f"{name}-{norm}") / "run")
        train(config, images, run.path)
        return run

    return folder


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("head", ["own", "nil", "matching"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_from_training_to_a_capture(name, head, norm, trained, images, tmp_path):
    run = trained(name, norm)
    (*_, record) = run.read_metrics()
    assert record["iteration"] == 2
    assert math.isfinite(record["train_loss"]) and 0 <= record["val_accuracy"] <= 100

    path = run.checkpoint("last")
    checkpoint = load_checkpoint(path)
    network = checkpoint.network()
    assert set(checkpoint.params) == {parameter for parameter, _ in network.named_parameters()}
    assert all(bool(value.isfinite().all()) for value in checkpoint.params.values())
    assert checkpoint.adaptation == ALGORITHMS[name].adaptation(checkpoint.config, network.layer_names)
    assert (checkpoint.clusters is not None) == (ALGORITHMS[name].cluster is not None)

    sampler = sampler_for(checkpoint, images, n_query=4)
    transductive = checkpoint.config.norm == NORMS[0]
    scores = evaluate(
        network, checkpoint.start(), sampler, checkpoint.adaptation, tasks=3, head=head, transductive=transductive
    )
    assert scores.accuracy.shape == scores.loss.shape == (3,)
    assert (scores.loss > 0).all() and np.isfinite(scores.loss).all()
    assert ((scores.accuracy >= 0) & (scores.accuracy <= 100)).all()

    out = probe.capture_checkpoint(path, images, tmp_path / "store.h5", tasks=2, n_query=2, steps="all")
    with probe.open_store(out) as store:
        assert store.layers == network.layer_names
        assert store.steps == (1, 2)
        assert store.metadata.normalisation == norm


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("maml", ()),
        ("reptile", ()),
        ("multitask", ()),
        ("nil", ("head",)),
        ("matching", ("head",)),
        ("hsml", ()),
        ("meta_lstm", ()),
        ("multiclass", ("head",)),
        ("maml_head", ("conv1", "conv2", "conv3", "conv4")),
        ("random", ("conv1", "conv2", "conv3", "conv4", "head")),
    ],
)
def test_training_moves_what_it_says_and_nothing_else(name, stays, norm, trained):
    start, last = (load_checkpoint(trained(name, norm).checkpoint(which)) for which in ("start", "last"))
    moved = {p for p in start.params if not torch.equal(start.params[p], last.params[p])}
    assert moved == {p for p in start.params if layer_of(p) not in stays}


@pytest.mark.parametrize("norm", NORMS)
def test_a_new_head_stands_on_the_body_of_the_base(norm, trained):
    base = load_checkpoint(trained("maml", norm).checkpoint("last"))
    start = load_checkpoint(trained("maml_head", norm).checkpoint("start"))
    taken = {p for p in base.params if torch.equal(base.params[p], start.params[p])}
    assert taken == {p for p in base.params if layer_of(p) != "head"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_run_that_breaks_off_and_goes_on_ends_with_the_same_bytes(name, trained, images, tmp_path, monkeypatch):
    alone, broken = trained(name, NORMS[0]), RunFolder(tmp_path / "run")
    validations = []

    def breaking(*arguments, **options):
        validations.append(1)
        if len(validations) == 2:
            raise RuntimeError("power cut")
        return evaluate(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("metaprobe.trainers.outer_loop.evaluate", breaking)
        with pytest.raises(RuntimeError, match="power cut"):
            train(alone.read_config(), images, broken.path)
    assert load_checkpoint(broken.checkpoint("last")).iteration == 1
    train(alone.read_config(), images, broken.path)
    assert broken.checkpoint("last").read_bytes() == alone.checkpoint("last").read_bytes()
