"""A full disk: which run, that what was saved is whole, that the same command goes on; one line, and it is true."""

import errno
import os
from types import SimpleNamespace

import pytest

from metaprobe.probe.cli import main
from metaprobe.reports.study import run
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.disk import DiskFull, told_when_full
from metaprobe.trainers.execution.workers import attempt
from metaprobe.trainers.files import replacing
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder

SMALL = {"n_way": 3, "n_query": 2, "iterations": 4, "meta_batch": 2, "inner_steps": 1, "filters": 4, "val_tasks": 2}
CONFIG = TrainConfig("maml", "toy", **SMALL, val_every=2, chunk=1, gradient="unrolled")
WHOLE = "What was saved before is whole: make room, and the same command goes on from there"


def full(*_, number=errno.ENOSPC):
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("at", [1, 3])
def test_a_run_goes_on_where_the_disk_was_full_and_ends_the_same(toy, tmp_path, monkeypatch, at):
    append = RunFolder.append_metrics
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append_metrics", lambda s, r: full() if r["iteration"] == at else append(s, r))
        with pytest.raises(DiskFull) as told:
            train(CONFIG, toy, tmp_path / "run")
    assert str(told.value) == f"the run {tmp_path / 'run'} could not be saved: No space left on device. {WHOLE}"
    train(CONFIG, toy, tmp_path / "run")
    train(CONFIG, toy, tmp_path / "other")
    one, other = (RunFolder(tmp_path / name).checkpoint("last").read_bytes() for name in ("run", "other"))
    assert one == other


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(tmp_path, number):
    (tmp_path / "last").write_text("before")

    def write():
        with told_when_full("it"), replacing(tmp_path / "last") as temporary:
            temporary.write_text("half")
            full(number=number)

    with pytest.raises(DiskFull, match=r"^it could not be saved"):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]
    with pytest.raises(PermissionError), told_when_full("it"):
        full(number=errno.EACCES)


def test_the_command_line_says_it_in_one_line(tmp_path, monkeypatch, capsys, toy):
    monkeypatch.setattr("metaprobe.probe.cli.training.load_data", lambda *_: toy)
    monkeypatch.setattr(RunFolder, "append_metrics", full)
    words = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["train", "maml", "--data", "glyphs", "--chunk", "1", "--out", str(tmp_path / "run"), *words]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last == f"error: the run {tmp_path / 'run'} could not be saved: No space left on device. {WHOLE}"


def test_a_step_of_a_study_says_it_without_a_trace():
    outcome = attempt(full)
    assert (outcome.ending, outcome.trace) == ("failed", "")
    assert outcome.reason == f"its result could not be saved: No space left on device. {WHOLE}"


def test_a_study_whose_page_finds_no_room_says_it(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "run_steps", full)
    with pytest.raises(DiskFull, match=f"the study {tmp_path} could not be saved: No space left"):
        run.run_study(SimpleNamespace(out=tmp_path, steps=(), images=None))
