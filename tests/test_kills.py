"""Few kills of a training, and that the campaign `python -m tests.kills`, which makes many, sees what goes wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import kills
from tests.kills import Call, Kills, differing

ROOT = Path(__file__).resolve().parents[1]
SEED = 87  # draws SIGTERM, SIGKILL twice and SIGINT


def test_a_training_that_is_killed_ends_as_if_it_had_been_left_alone():
    words = ("--times", "4", "--only", "maml", "--seed", str(SEED))
    command = [sys.executable, "-m", "tests.kills", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "maml: 4 kills" in done.stdout
    assert "SIGKILL: " in done.stdout
    assert "SIGTERM: " in done.stdout and "SIGINT: " in done.stdout


RECORD = '{"iteration": 1, "train_loss": 2.5, "seconds": %s, "peak_memory_mb": 300}\n'


def files(folder, **contents):
    folder.mkdir()
    written = {"metrics.jsonl": RECORD % 0.5, "engine.toml": "chunk = 4\nseconds = 0.3\n", "last": "weights"} | contents
    for name, content in written.items():
        if content is not None:
            (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        ({}, []),
        ({"metrics.jsonl": RECORD % 7.25, "engine.toml": "chunk = 4\nseconds = 1.0\n"}, []),
        ({"metrics.jsonl": (RECORD % 0.5).replace("2.5", "2.6")}, ["metrics.jsonl differs"]),
        ({"metrics.jsonl": RECORD % 0.5 * 2}, ["metrics.jsonl differs"]),
        ({"engine.toml": "chunk = 2\nseconds = 0.3\n"}, ["engine.toml differs"]),
        ({"last": "other weights"}, ["last differs"]),
        ({"last": None}, ["last is missing"]),
        ({".last.abcd1234.part": "wei"}, [".last.abcd1234.part is left over"]),
    ],
)
def test_all_that_differs_is_told_but_times(tmp_path, contents, told):
    assert differing(files(tmp_path / "alone"), files(tmp_path / "killed", **contents)) == told


@pytest.mark.parametrize(
    ("status", "last", "log", "contents", "told"),
    [
        (130, 0, "", {}, []),
        (1, 0, "", {}, ["maml: exit status 1"]),
        (130, 2, "error: no", {}, ["maml: the last call ends with 2"]),
        (130, 0, "Traceback (most recent call last):", {}, ["maml: a traceback", "maml: the last call ends with 0"]),
        (130, 0, "", {"last": "other weights"}, ["maml: 1 files: last differs"]),
    ],
)
def test_what_goes_wrong_is_a_failure(tmp_path, monkeypatch, capsys, status, last, log, contents, told):
    def called(words, place, number=None, after=0.0):
        if number is not None:
            return Call(status, after, log)
        if not (place / "out").exists():
            files(place / "out", **(contents if "killed" in place.name else {}))
        return Call(last if "killed" in place.name else 0, 0.5, log)

    monkeypatch.setattr(kills, "call", called)
    monkeypatch.setattr("tests.fuzz.writing.pictures", lambda folder: None)
    monkeypatch.setattr("shutil.move", lambda source, target: None)
    campaign = Kills(tmp_path, ("maml",))
    campaign.once("maml", seed=1)
    assert sorted(set(campaign.failures)) == told
    assert ("again: python -m tests.kills --times 1 --only 'maml' --seed 1" in capsys.readouterr().out) == bool(told)
