"""The outer loop: learning, checkpoints, interruption, divergence."""

import math
import os
import signal

import numpy as np
import pytest
import torch

from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import Evaluation
from metaprobe.trainers.interrupt import Interrupted
from metaprobe.trainers.outer_loop import Diverged, train
from metaprobe.trainers.run import CHECKPOINT_NAMES, TASK_ACCURACY, TASK_LOSS, RunFolder
from tests.conftest import make_imageset


def tiny(algorithm="maml", **changes):
    options = {
        "n_way": 3, "n_query": 2, "iterations": 9, "meta_batch": 2, "inner_steps": 2, "filters": 4, "val_tasks": 4,
        "val_every": 4, "chunk": 4,
    }  # fmt: skip
    return TrainConfig(algorithm, "toy", **options | changes)


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "anil"])
def test_training_learns(algorithm, tmp_path, toy):
    config = tiny(
        algorithm, iterations=60, val_every=60, val_tasks=40, filters=16, meta_batch=4, outer_lr=5e-3, inner_lr=0.5
    )
    last = train(config, toy, tmp_path / "run")
    assert last.metrics["val_accuracy"] > 60  # chance is 33 %
    adapted = ("head",) if algorithm == "anil" else ("conv1", "conv2", "conv3", "conv4", "head")
    assert last.adaptation.layers == adapted


def test_a_run_leaves_what_it_says(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    iterations = {name: load_checkpoint(folder.checkpoint(name)).iteration for name in CHECKPOINT_NAMES}
    assert (iterations["start"], iterations["third"], iterations["two-thirds"], iterations["last"]) == (0, 3, 6, 9)
    records = folder.read_metrics()
    assert [record["iteration"] for record in records] == list(range(1, 10))
    validated = {r["iteration"]: r["val_accuracy"] for r in records if "val_accuracy" in r}
    assert set(validated) == set(folder.read_tasks(TASK_ACCURACY)) == set(folder.read_tasks(TASK_LOSS)) == {4, 8, 9}
    best = load_checkpoint(folder.checkpoint("best"))
    assert best.metrics["val_accuracy"] == max(validated.values())
    assert folder.read_config() == tiny()
    assert not list(tmp_path.rglob("*.part"))


def test_same_config_gives_the_same_bytes(tmp_path, toy):
    for name in ("a", "b"):
        train(tiny(), toy, tmp_path / name)
    for name in CHECKPOINT_NAMES:
        a, b = (RunFolder(tmp_path / run).checkpoint(name).read_bytes() for run in "ab")
        assert a == b
    train(tiny(seed=1), toy, tmp_path / "c")
    assert RunFolder(tmp_path / "c").checkpoint("last").read_bytes() != a


def test_chunks_change_only_the_rounding(tmp_path, toy):
    one, all_at_once = (train(tiny(chunk=chunk, iterations=1), toy, tmp_path / str(chunk)) for chunk in (1, 2))
    for name, value in one.params.items():
        torch.testing.assert_close(value, all_at_once.params[name], atol=3e-3, rtol=0)  # Adam steps ± outer_lr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_saves_and_says_how_to_go_on(number, tmp_path, toy, monkeypatch):
    folder, append = RunFolder(tmp_path / "run"), RunFolder.append_metrics

    def interrupted(self, record):
        append(self, record)
        if record["iteration"] == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", interrupted)
        with pytest.raises(Interrupted, match="at iteration 4 of 9; everything is saved"):  # the step under way is done
            train(tiny(), toy, folder.path)
    assert load_checkpoint(folder.checkpoint("last")).iteration == folder.read_metrics()[-1]["iteration"] == 4
    train(tiny(), toy, folder.path)
    train(tiny(), toy, tmp_path / "alone")
    alone = RunFolder(tmp_path / "alone")
    assert folder.checkpoint("last").read_bytes() == alone.checkpoint("last").read_bytes()


def test_divergence_is_told_with_iteration_checkpoint_and_advice(tmp_path, toy):
    told = r"at iteration \d+ of 60.*last good checkpoint is .*(start|last)\.safetensors.*--outer-lr"
    with pytest.raises(Diverged, match=told):
        train(tiny(iterations=60, outer_lr=1e30), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    params = load_checkpoint(folder.checkpoint("start")).params
    assert all(bool(value.isfinite().all()) for value in params.values())


def test_the_number_of_threads_changes_no_bit(tmp_path, toy):
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            results.append(train(tiny(meta_batch=6, chunk=2), toy, tmp_path / str(threads)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert results[0].fingerprint == results[1].fingerprint


def test_schedule_and_clip_do_what_they_say(tmp_path, toy):
    train(tiny(iterations=1, clip=1e-9), toy, tmp_path / "clipped")
    train(tiny(iterations=1), toy, tmp_path / "free")
    clipped, free = (load_checkpoint(RunFolder(tmp_path / n).checkpoint("last")).params for n in ("clipped", "free"))
    assert any(not torch.equal(clipped[name], free[name]) for name in free)
    train(tiny(iterations=9, schedule="cosine"), toy, tmp_path / "cosine")
    train(tiny(iterations=9), toy, tmp_path / "constant")
    a, b = (load_checkpoint(RunFolder(tmp_path / n).checkpoint("last")).params for n in ("cosine", "constant"))
    assert any(not torch.equal(a[name], b[name]) for name in a)


def test_cuda_that_is_not_there_is_told(tmp_path, toy):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(MetaprobeError, match=r"sees 0 CUDA devices"):
        train(tiny(device="cuda"), toy, tmp_path / "run")


def test_divergence_seen_only_in_validation_saves_nothing(tmp_path, toy, monkeypatch):
    lost = Evaluation(np.full(4, 20.0), np.full(4, np.nan), 12)
    monkeypatch.setattr("metaprobe.trainers.outer_loop.evaluate", lambda *_, **__: lost)
    with pytest.raises(Diverged, match=r"validation loss is nan at iteration 4 of 9"):
        train(tiny(), toy, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").checkpoint("last").exists()


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_shortest_runs_have_every_checkpoint(iterations, tmp_path, toy):
    train(tiny(iterations=iterations), toy, tmp_path / "run")
    for name in CHECKPOINT_NAMES:
        assert load_checkpoint(RunFolder(tmp_path / "run").checkpoint(name)).iteration <= iterations


@pytest.mark.parametrize(
    "wrong",
    [{"seed": -1}, {"filters": 0}, {"val_tasks": 1}, {"n_way": 1}, {"inner_lr": math.nan}, {"seed": 2**40}],
)
def test_impossible_configs_are_told(wrong):
    with pytest.raises(MetaprobeError, match=f"--{next(iter(wrong)).replace('_', '-')} must be"):
        tiny(**wrong)


def test_too_few_classes_or_images_are_told_with_their_numbers(tmp_path):
    small = make_imageset(n_classes=6, per_class=4)
    with pytest.raises(MetaprobeError, match=r"train split of toy has 2 classes, fewer than n_way=3"):
        train(tiny(), small, tmp_path / "a")
    with pytest.raises(MetaprobeError, match=r"has 4 images; n_shot=1 \+ n_query=5 needs 6"):
        train(tiny(n_way=2, n_query=5), small, tmp_path / "b")
    assert not os.path.exists(tmp_path / "a")
