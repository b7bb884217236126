"""Runs that were killed, lost files or changed go on from what is whole, or say why not."""

import shutil

import pytest

from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import alone_in, replacing
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import CHECKPOINT_NAMES, RunFolder
from tests.conftest import make_imageset
from tests.test_training import tiny


@pytest.fixture(scope="module")
def finished(tmp_path_factory, toy):
    path = tmp_path_factory.mktemp("finished") / "run"
    train(tiny(), toy, path)
    return path


@pytest.fixture
def folder(finished, tmp_path):
    """A run that was trained to its end, to be damaged."""
    shutil.copytree(finished, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def lost(folder, *names):
    for name in names:
        file = folder.resume_file if name == "resume" else folder.checkpoint(name)
        file.write_bytes(file.read_bytes()[:-9])


def test_a_finished_run_keeps_saying_what_made_it(folder, toy, monkeypatch):
    before = folder.checkpoint("last").read_bytes()
    monkeypatch.setattr(
        "metaprobe.trainers.outer_loop.provenance", lambda data, *_: {"data_fingerprint": data, "torch": "99"}
    )
    train(tiny(), toy, folder.path)
    assert folder.checkpoint("last").read_bytes() == before


def test_a_crash_between_resume_state_and_last_is_mended(folder, toy):
    finished = folder.checkpoint("last").read_bytes()
    shutil.copy(folder.checkpoint("third"), folder.checkpoint("last"))
    train(tiny(), toy, folder.path)
    assert folder.checkpoint("last").read_bytes() == finished


def test_another_config_in_the_same_folder_is_refused(folder, toy):
    with pytest.raises(MetaprobeError, match=r"another config \(inner_lr: 0.1 there, 0.2 asked\)"):
        train(tiny(inner_lr=0.2), toy, folder.path)
    (folder.path.parent / "other").mkdir()
    (folder.path.parent / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(MetaprobeError, match=r"files in it but no config.toml"):
        train(tiny(), toy, folder.path.parent / "other")


def test_other_images_under_the_same_name_are_refused(folder, toy):
    with pytest.raises(MetaprobeError, match=r"was trained on other images: data fingerprint"):
        train(tiny(), make_imageset(seed=9), folder.path)


def test_a_damaged_resume_state_is_told(folder, toy):
    file = folder.resume_file
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged \(.*changed after the file was written: .*goes on from"):
        train(tiny(), toy, folder.path)


def test_a_run_that_was_killed_before_its_first_save_begins_anew_and_ends_the_same(tmp_path, toy):
    train(tiny(val_every=5), toy, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    before = folder.checkpoint("last").read_bytes()
    for file in (folder.resume_file, folder.checkpoint("last"), folder.checkpoint("best")):
        file.unlink()  # as of a process that was killed when it had written `third`, of iteration 3
    folder.metrics_file.write_text("".join(folder.metrics_file.read_text().splitlines(keepends=True)[:4]))
    train(tiny(val_every=5), toy, tmp_path / "run")
    assert folder.checkpoint("last").read_bytes() == before


def test_a_damaged_last_checkpoint_is_written_anew_from_the_resume_state(folder, toy):
    before = folder.checkpoint("last").read_bytes()
    lost(folder, "last")
    with pytest.warns(UserWarning, match=r"last.safetensors.*; it is written anew from last.resume.safetensors"):
        train(tiny(), toy, folder.path)
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


def test_a_lost_resume_state_does_not_restart_the_run(folder, toy):
    before = folder.checkpoint("last").read_bytes()
    folder.resume_file.unlink()
    with pytest.warns(UserWarning, match=r"last.resume.safetensors is missing; goes on from .* of iteration 9, with"):
        train(tiny(), toy, folder.path)
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


def test_another_engine_than_a_run_was_computed_with_is_told(folder, toy):
    file = folder.engine_file
    file.write_text(file.read_text().replace("chunk = 4", "chunk = 3"))
    with pytest.raises(UnreadableInput, match=r"engine.toml says chunks of 3 .*was computed with chunks of 4 "):
        train(tiny(), toy, folder.path)


def test_two_trainings_in_one_folder_are_refused(tmp_path, toy):
    with alone_in(tmp_path / "run"), pytest.raises(MetaprobeError, match=r"another process writes in .*run; wait"):
        train(tiny(), toy, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())
    assert train(tiny(iterations=1), toy, tmp_path / "run").iteration == 1
