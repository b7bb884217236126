"""How long a study takes, as `--dry-run` tells it."""

import dataclasses
from pathlib import Path

import pytest

from metaprobe.probe.cli import main
from metaprobe.reports.study.estimate import estimated
from metaprobe.reports.study.run import plan_study
from metaprobe.trainers.interrupt import Interrupted
from tests.tiny_study import THIRD, planned_third, working_in, write_pictures


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    base = tmp_path_factory.mktemp("estimate")
    write_pictures(base)
    with working_in(base):
        yield base


@pytest.fixture(scope="module")
def found(place):
    planned = planned_third(Path("made"), iterations=3000, tasks=400, seeds=2)
    names, told = [step.name for step in planned.steps], []
    seconds = estimated(planned, names, lambda *reached: told.append(reached))
    assert told == [(done, len(names)) for done in range(1, len(names) + 1)]
    return planned, seconds


def test_every_step_is_timed_in_a_folder_that_is_gone_afterwards(found, place):
    planned, seconds = found
    assert list(seconds) == [step.name for step in planned.steps]
    assert all(isinstance(one, float) and one > 0 for one in seconds.values()), seconds
    assert not (place / "made").exists()


def test_what_is_asked_for_is_what_it_scales_with(found, place):
    _, seconds = found
    few = plan_study(THIRD, dataclasses.replace(THIRD.preset("quick"), iterations=30, tasks=40), Path("few"))
    fewer = estimated(few, ["train maml-seed0", "freezing of maml-seed0"])
    assert seconds["train maml-seed0"] > 20 * fewer["train maml-seed0"]
    assert seconds["train maml-seed0"] == seconds["train maml-seed1"]
    assert seconds["freezing of maml-seed0"] > 3 * fewer["freezing of maml-seed0"]


def test_a_stop_ends_it(place, monkeypatch):
    def stopped(*arguments):
        raise Interrupted("stopped")

    monkeypatch.setattr("metaprobe.reports.study.estimate._Rehearsal._rehearsed", stopped)
    planned = planned_third(Path("stopped"))
    with pytest.raises(Interrupted):
        estimated(planned, [planned.steps[-1].name])


def test_what_cannot_be_timed_is_named_with_its_reason(place, monkeypatch, capsys):
    told = {"capture of maml-seed0": "no such luck"}
    times = "metaprobe.reports.study.estimate.estimated"
    monkeypatch.setattr(times, lambda planned, names, progress: dict.fromkeys(names, 7200.0) | told)
    assert main(["study", "third", "--out", "asked", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "train maml-seed0\tto do\t2.0 h\n" in told and "capture of maml-seed0\tto do\t\n" in told
    assert "time\tabout 16.0 h of one core, as timed here; half or twice may be\n" in told
    assert "not timed\tcapture of maml-seed0: no such luck" in told
    assert not (place / "asked").exists()
