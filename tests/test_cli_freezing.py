"""`metaprobe freeze`."""

import json

import pytest

from metaprobe.probe.cli import main
from metaprobe.trainers.checkpoint import load_checkpoint
from tests.freezing_runs import IMAGESET, trained_anil, trained_maml


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained_maml(tmp_path_factory.mktemp("freezing") / "run")


@pytest.fixture(scope="module")
def anil(tmp_path_factory):
    return trained_anil(tmp_path_factory.mktemp("freezing") / "anil")


def asked(capsys, *words):
    assert main(["freeze", *words, "--json", "--tasks", "3", "--n-query", "4"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def toy_data(monkeypatch):
    monkeypatch.setattr("metaprobe.trainers.tasks.load_data_for", lambda *_, **__: IMAGESET)


@pytest.mark.usefixtures("toy_data")
def test_the_command_takes_several_checkpoints_and_every_option(run, anil, capsys):
    maml, other = str(run.checkpoint("last")), str(anil.checkpoint("last"))
    found = asked(capsys, maml, str(run.checkpoint("third")), "--inner-steps", "2", "4", "--other-steps", "all")
    accuracies = [row for row in found if row["measure"] == "accuracy" and row["algorithm"] == "maml"]
    assert {row["iteration"] for row in accuracies} == {1, 3}
    assert len(accuracies) == 2 * (2 * 5 + 1)  # blocks at two numbers of steps, and the NIL head
    index = [(row["iteration"], row["head"], row["inner_steps"]) for row in found if row["measure"] == "reuse_index"]
    assert index == [(at, head, steps) for at in (3, 1) for head, steps in (("own", 2), ("own", 4), ("nil", 0))]
    every = asked(capsys, maml, "--all-subsets")
    assert len({row["frozen"] for row in every if row["measure"] == "accuracy" and row["head"] == "own"}) == 16
    tasks = asked(capsys, maml, "--sets", "conv1", "--per-task")
    assert {row["task"] for row in tasks} == {None, 0, 1, 2}
    trained = asked(capsys, other)
    assert "adapts" not in trained[0]
    assert not [row for row in trained if row["measure"] == "reuse_index"]  # freezing the body changes nothing there
    everything = asked(capsys, other, "--adapts", "all")
    assert [row["adapts"] for row in everything if row["measure"] == "reuse_index"] == ["all", None]


@pytest.mark.usefixtures("toy_data")
def test_the_command_refuses_sets_beside_all_subsets(run, capsys):
    assert main(["freeze", str(run.checkpoint("last")), "--sets", "conv1", "--all-subsets"]) == 2
    assert "--sets names sets of layers, --all-subsets takes every one; leave one out" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["freeze", "distance"])
def test_checkpoints_whose_rows_would_not_say_which_they_are_of_are_told(command, run, capsys, tmp_path):
    last, copy = run.checkpoint("last"), tmp_path / "copy.safetensors"
    copy.write_bytes(last.read_bytes())
    assert main([command, str(last), str(copy)]) == 2
    told = f"error: {copy} has the weights of {last} ({load_checkpoint(last).fingerprint[:12]}), its algorithm and its"
    assert f"{told} seed, so rows would not say which they are of; give them one at a time" in capsys.readouterr().err
    assert main([command, str(last), str(last)]) == 2
    assert f"{last} is given twice; name each checkpoint once" in capsys.readouterr().err
