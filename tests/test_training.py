"""The outer loop: learning, checkpoints, interruption, divergence."""

import hashlib
import json
import math
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from tests.conftest import make_imageset
from trainers.checkpoint import load_checkpoint
from trainers.config import TrainConfig
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.evaluate import Evaluation
from trainers.files import alone_in, replacing
from trainers.interrupt import Interrupted
from trainers.outer_loop import Diverged, train
from trainers.run import CHECKPOINT_NAMES, TASK_ACCURACY, TASK_LOSS, RunFolder


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


def test_a_finished_run_keeps_saying_what_made_it(tmp_path, toy, monkeypatch):
    train(tiny(), toy, tmp_path / "run")
    before = RunFolder(tmp_path / "run").checkpoint("last").read_bytes()
    monkeypatch.setattr("trainers.outer_loop.provenance", lambda data, *_: {"data_fingerprint": data, "torch": "99"})
    train(tiny(), toy, tmp_path / "run")
    assert RunFolder(tmp_path / "run").checkpoint("last").read_bytes() == before


def test_a_crash_between_resume_state_and_last_is_mended(tmp_path, toy):
    folder = RunFolder(tmp_path / "run")
    train(tiny(), toy, folder.path)
    finished = folder.checkpoint("last").read_bytes()
    shutil.copy(folder.checkpoint("third"), folder.checkpoint("last"))
    train(tiny(), toy, folder.path)
    assert folder.checkpoint("last").read_bytes() == finished


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


def test_another_config_in_the_same_folder_is_refused(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    with pytest.raises(MetaprobeError, match=r"another config \(inner_lr: 0.1 there, 0.2 asked\)"):
        train(tiny(inner_lr=0.2), toy, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(MetaprobeError, match=r"files in it but no config.toml"):
        train(tiny(), toy, tmp_path / "other")


def test_other_images_under_the_same_name_are_refused(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    with pytest.raises(MetaprobeError, match=r"was trained on other images: data fingerprint"):
        train(tiny(), make_imageset(seed=9), tmp_path / "run")


def test_a_damaged_resume_state_is_told(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    file = RunFolder(tmp_path / "run").resume_file
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged \(.*changed after the file was written: .*goes on from"):
        train(tiny(), toy, tmp_path / "run")


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


RECORD = {"iteration": 1, "train_loss": 1.0, "train_accuracy": 20.0, "seconds": 0.1}
VALIDATED = {"val_iteration": 1, "val_loss": 1.0, "val_loss_half_width": 0.1}
VALIDATED |= {"val_accuracy": 20.0, "val_accuracy_half_width": 2.0}


def test_metrics_with_a_torn_last_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append_metrics(RECORD)
    with folder.metrics_file.open("a") as file:
        file.write('{"iteration": 2, "trai')
    assert folder.read_metrics() == [RECORD]


def test_metrics_of_single_tasks_are_kept_when_a_run_is_resumed_and_older_runs_have_none(tmp_path):
    folder, known = RunFolder(tmp_path), RECORD | VALIDATED
    folder.append_metrics(known)
    folder.append_metrics(known | {"iteration": 2, TASK_ACCURACY: [20.0, 13.3333]})
    digest = folder.metrics_digest()
    told = {name: value for name, value in known.items() if name != "seconds"}
    lines = [[told, []], [told | {"iteration": 2}, [20.0, 13.3333]]]  # as ever: what was measured on older runs stays
    assert digest == hashlib.sha256(json.dumps(lines, sort_keys=True).encode()).hexdigest()
    folder.append_metrics(known | {"iteration": 3, TASK_ACCURACY: [20.0, 13.3333], TASK_LOSS: [1.5, 1.25]})
    assert folder.metrics_digest() != digest
    before = folder.metrics_file.read_bytes()
    folder.append_metrics(RECORD | {"iteration": 4})
    assert folder.rewind_metrics(3) == folder.read_metrics() == [known | {"iteration": at} for at in (1, 2, 3)]
    assert folder.metrics_file.read_bytes() == before
    assert folder.read_tasks(TASK_ACCURACY) == {2: [20.0, 13.3333], 3: [20.0, 13.3333]}
    assert folder.read_tasks(TASK_LOSS) == {3: [1.5, 1.25]}


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b'"val_iteration"',
        b'{"iteration": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"iteration":' * 100_000,
        json.dumps(RECORD | {"seconds": 10**400}).encode(),
        b'{"iteration": ' + b"9" * 5000 + b"}",
        b'{"seconds": 1.0, ' + json.dumps(RECORD).encode()[1:],
        json.dumps(RECORD | VALIDATED | {"val_task_accuracy": [[20.0]]}).encode(),
        json.dumps(RECORD | {"seconds": math.inf}).encode(),
        json.dumps(RECORD | {"val_task_accuracy": [20.0]}).encode(),
        json.dumps(RECORD | VALIDATED | {"val_task_accuracy": [20.0, None]}).encode(),
        json.dumps(RECORD | VALIDATED | {"val_task_accuracy": 20.0}).encode(),
        json.dumps(RECORD | VALIDATED | {"val_task_loss": [1.5, "no"]}).encode(),
    ],
)
def test_damaged_metrics_are_told_with_their_line(tmp_path, line):
    folder = RunFolder(tmp_path)
    folder.metrics_file.write_bytes(line + b"\n")
    with pytest.raises(UnreadableInput, match=r"metrics.jsonl:1: not a metrics record"):
        folder.read_metrics()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"algorithm = ", "not TOML: Invalid value"),
        (b"\xff", "not TOML: .*utf-8"),
        (b"filters = " + b"[" * 8000, "nested more than 16 deep"),
        (b"filters = " + b"{a=" * 4000, "nested more than 16 deep"),
        (b"filters." * 1000 + b"a = 1", "nested more than 16 deep"),
        (b"filters = " + b"9" * 5000, "not TOML: Exceeds the limit"),
        (b"#" * 20_000, "more than 16,384 bytes"),
    ],
)
def test_a_damaged_config_is_told(tmp_path, content, told):
    folder = RunFolder(tmp_path)
    folder.config_file.write_bytes(content)
    with pytest.raises(UnreadableInput, match=rf"config\.toml: .*{told}"):
        folder.read_config()


def test_a_config_that_is_a_pipe_is_not_waited_for(tmp_path):
    folder = RunFolder(tmp_path)
    os.mkfifo(folder.config_file)
    with pytest.raises(UnreadableInput, match=r"config\.toml: expected a file, got a pipe"):
        folder.read_config()


def test_divergence_seen_only_in_validation_saves_nothing(tmp_path, toy, monkeypatch):
    lost = Evaluation(np.full(4, 20.0), np.full(4, np.nan), 12)
    monkeypatch.setattr("trainers.outer_loop.evaluate", lambda *_, **__: lost)
    with pytest.raises(Diverged, match=r"validation loss is nan at iteration 4 of 9"):
        train(tiny(), toy, tmp_path / "run")
    assert not RunFolder(tmp_path / "run").checkpoint("last").exists()


def lost(folder, *names):
    for name in names:
        file = folder.resume_file if name == "resume" else folder.checkpoint(name)
        file.write_bytes(file.read_bytes()[:-9])


def test_a_run_that_was_killed_before_its_first_save_begins_anew_and_ends_the_same(tmp_path, toy):
    train(tiny(val_every=5), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.checkpoint("last").read_bytes()
    for file in (folder.resume_file, folder.checkpoint("last"), folder.checkpoint("best")):
        file.unlink()  # as of a process that was killed when it had written `third`, of iteration 3
    folder.metrics_file.write_text("".join(folder.metrics_file.read_text().splitlines(keepends=True)[:4]))
    train(tiny(val_every=5), toy, tmp_path / "run")
    assert folder.checkpoint("last").read_bytes() == before


def test_a_damaged_last_checkpoint_is_written_anew_from_the_resume_state(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.checkpoint("last").read_bytes()
    lost(folder, "last")
    with pytest.warns(UserWarning, match=r"last.safetensors.*; it is written anew from last.resume.safetensors"):
        train(tiny(), toy, tmp_path / "run")
    assert folder.checkpoint("last").read_bytes() == before


@pytest.mark.parametrize("algorithm", ["maml", "multiclass"])
def test_a_run_goes_on_from_the_newest_whole_checkpoint_and_says_so(tmp_path, toy, algorithm):
    train(tiny(algorithm, val_every=5), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    lost(folder, "resume", "last", "best")
    if algorithm == "multiclass":  # whose head of all classes is in no checkpoint
        with pytest.raises(UnreadableInput, match=r"last.resume.* is damaged .* no checkpoint holds classes.weight"):
            train(tiny(algorithm, val_every=5), toy, tmp_path / "run")
        return
    start = folder.checkpoint("start").read_bytes()
    folder.checkpoint("best").write_bytes(start)  # which no validation has measured
    with pytest.warns(UserWarning, match=r"goes on from the newest whole checkpoint, of iteration 6, with a new opt"):
        train(tiny(val_every=5), toy, tmp_path / "run")
    last = load_checkpoint(folder.checkpoint("last"))
    assert (last.iteration, last.provenance["resumed"]) == (9, "iteration 6 with a new optimiser")
    folder.checkpoint("last").unlink()  # written anew by another call: what was lost is still told
    assert train(tiny(val_every=5), toy, tmp_path / "run").provenance["resumed"] == last.provenance["resumed"]
    assert [record["iteration"] for record in folder.read_metrics()] == list(range(1, 10))
    lost(folder, "resume", *CHECKPOINT_NAMES)
    with pytest.raises(UnreadableInput, match=r"no whole checkpoint is left \(.*; bring a file back, or"):
        train(tiny(val_every=5), toy, tmp_path / "run")


def test_a_lost_resume_state_does_not_restart_the_run(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.checkpoint("last").read_bytes()
    folder.resume_file.unlink()
    with pytest.warns(UserWarning, match=r"last.resume.safetensors is missing; goes on from .* of iteration 9, with"):
        train(tiny(), toy, tmp_path / "run")
    assert folder.checkpoint("last").read_bytes() == before


def test_what_a_kill_left_half_written_does_not_stop_a_run(tmp_path, toy):
    (tmp_path / "run").mkdir()
    left = tmp_path / "run" / ".config.toml.metaprobe-abcd1234.part"
    left.write_text("algor")
    mine = tmp_path / "run" / "checkpoints" / ".diary.part"
    train(tiny(iterations=1), toy, tmp_path / "run")
    mine.write_text("dear")
    train(tiny(iterations=1), toy, tmp_path / "run")
    assert not left.exists()
    assert mine.read_text() == "dear"


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with replacing(tmp_path / "a") as first:
        with replacing(tmp_path / "a") as second:
            second.write_text("second")
        first.write_text("first")
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_another_engine_than_a_run_was_computed_with_is_told(tmp_path, toy):
    train(tiny(), toy, tmp_path / "run")
    file = RunFolder(tmp_path / "run").engine_file
    file.write_text(file.read_text().replace("chunk = 4", "chunk = 3"))
    with pytest.raises(UnreadableInput, match=r"engine.toml says chunks of 3 .*was computed with chunks of 4 "):
        train(tiny(), toy, tmp_path / "run")


def test_two_trainings_in_one_folder_are_refused(tmp_path, toy):
    with alone_in(tmp_path / "run"), pytest.raises(MetaprobeError, match=r"another process writes in .*run; wait"):
        train(tiny(), toy, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    assert train(tiny(iterations=1), toy, tmp_path / "run").iteration == 1


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
