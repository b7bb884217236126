"""The files of a run, read back: metrics and config, whole or damaged."""

import hashlib
import json
import math
import os

import pytest

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.run import TASK_ACCURACY, TASK_LOSS, RunFolder

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
