"""The steps of a study: order, skipping, failing, jobs side by side, and what a killed call leaves."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from metaprobe.reports.study.engine import LostEvidence, Step, run_steps, states
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.interrupt import Interrupted
from tests.conftest import make_imageset

IMAGES = make_imageset(n_classes=4, per_class=3, size=8)


@dataclasses.dataclass(frozen=True)
class Write:
    """Writes the sum of what it needs, plus one, and the number of its process's threads."""

    path: Path
    reads: tuple[Path, ...] = ()
    fails: str = ""

    def is_done(self, imageset) -> bool:
        return self.path.exists()

    def do(self, imageset) -> None:
        import torch

        if self.fails == "ours":
            raise MetaprobeError("no such luck")
        if self.fails == "bug":
            raise ZeroDivisionError("by nothing")
        if self.fails == "stop":
            raise Interrupted("stopped")
        total = sum(int(path.read_text().split()[0]) for path in self.reads) + 1
        self.path.write_text(f"{total} {os.getpid()} {torch.get_num_threads()}")


def chain(folder: Path, fails: str = "") -> list[Step]:
    """a, b → c → d, and e apart; with `fails`, b does."""
    path = {name: folder / name for name in "abcde"}
    return [
        Step("d", Write(path["d"], (path["c"],)), ("c",)),
        Step("a", Write(path["a"])),
        Step("b", Write(path["b"], fails=fails)),
        Step("c", Write(path["c"], (path["a"], path["b"])), ("a", "b")),
        Step("e", Write(path["e"]), alone=True),
    ]


def endings(results):
    return {name: outcome.ending for name, outcome in results.outcomes.items()}


def test_steps_that_cannot_be_ordered_are_refused(tmp_path):
    one, other = (Step(name, Write(tmp_path / name), (need,)) for name, need in ("ab", "ba"))
    wrong = {"'a' needs 'b', which is no step": [one], "used twice: a": [one, one], "cycle": [one, other]}
    for told, steps in wrong.items():
        with pytest.raises(ValueError, match=told):
            run_steps(steps, IMAGES)


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_is_done_once_and_the_result_does_not_depend_on_jobs(tmp_path, jobs):
    results = run_steps(chain(tmp_path), IMAGES, jobs)
    assert endings(results) == dict.fromkeys("dabce", "done")
    assert list(results.outcomes) == list("dabce")
    found = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert {name: int(words[0]) for name, words in found.items()} == {"a": 1, "b": 1, "c": 3, "d": 4, "e": 1}
    if jobs == 2:
        assert os.getpid() not in {int(found[name][1]) for name in "ab"}
        assert {found[name][2] for name in "ab"} == {"1"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = run_steps(chain(tmp_path), IMAGES, jobs)
    assert endings(again) == dict.fromkeys("dabce", "kept")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert len(list(again.works())) == 5


@pytest.mark.parametrize(
    ("fails", "told", "jobs"), [("ours", "no such luck", 1), ("bug", "ZeroDivisionError: by nothing", 2)]
)
def test_a_step_that_fails_takes_with_it_only_what_needs_it(tmp_path, jobs, fails, told):
    results = run_steps(chain(tmp_path, fails), IMAGES, jobs)
    assert endings(results) == {"a": "done", "b": "failed", "c": "not run", "d": "not run", "e": "done"}
    assert results.outcomes["b"].reason == told
    assert ("Traceback" in results.outcomes["b"].trace) == (fails == "bug")
    assert results.outcomes["c"].reason == "needs “b”, which failed"
    assert results.outcomes["d"].reason == "needs “c”, which was not run"
    assert {name for name, _ in results.missing()} == {"b", "c", "d"}
    again = run_steps(chain(tmp_path), IMAGES, jobs)
    assert not again.missing()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stop_ends_all(tmp_path, jobs):
    with pytest.raises(Interrupted, match="stopped"):
        run_steps(chain(tmp_path, "stop"), IMAGES, jobs)


def test_what_needs_a_damaged_result_is_not_to_do(tmp_path):
    class Damaged(Write):
        def is_done(self, imageset) -> bool:
            raise UnreadableInput(f"{self.path}: damaged")

    steps = chain(tmp_path)
    steps[2] = Step("b", Damaged(tmp_path / "b"))
    (tmp_path / "e").touch()
    assert states(steps, IMAGES) == {"d": "not run", "a": "to do", "b": "failed", "c": "not run", "e": "kept"}
    assert states(chain(tmp_path), IMAGES) == dict.fromkeys("dabc", "to do") | {"e": "kept"}


def test_a_lost_result_ends_all_before_a_page_could_shrink(tmp_path):
    class Lost(Write):
        def is_done(self, imageset) -> bool:
            raise LostEvidence(f"{self.path} is missing")

    with pytest.raises(LostEvidence, match="a is missing"):
        run_steps([Step("a", Lost(tmp_path / "a"))], IMAGES)


def test_a_damaged_file_of_one_step_fails_that_step_alone(tmp_path):
    class Damaged(Write):
        def is_done(self, imageset) -> bool:
            raise UnreadableInput(f"{self.path} is damaged")

    results = run_steps([Step("a", Damaged(tmp_path / "a")), Step("b", Write(tmp_path / "b"))], IMAGES)
    assert [outcome.ending for outcome in results.outcomes.values()] == ["failed", "done"]
    assert results.outcomes["a"].reason.endswith("a is damaged")


def test_a_process_that_dies_fails_its_step_and_not_the_study(tmp_path):
    steps = [
        Step("a", Dies(tmp_path / "a")),
        Step("b", Write(tmp_path / "b")),
        Step("c", Write(tmp_path / "c"), ("b",)),
    ]
    results = run_steps(steps, IMAGES, 2)
    assert results.outcomes["a"].ending == "failed"
    assert "died" in results.outcomes["a"].reason
    again = run_steps(steps[1:], IMAGES, 2)
    assert not again.missing()


def test_a_step_begins_when_its_needs_are_done_and_one_that_is_alone_when_nothing_runs(tmp_path):
    """c needs the quick a alone, so it does not wait for b, which waits for c's result; e sees both ended."""
    path = {name: tmp_path / name for name in "abce"}
    steps = [
        Step("e", WaitsFor(path["e"], (path["b"], path["c"])), alone=True),
        Step("a", Write(path["a"])),
        Step("b", WaitsFor(path["b"], (path["c"],))),
        Step("c", Write(path["c"]), ("a",)),
    ]
    assert endings(run_steps(steps, IMAGES, 2)) == dict.fromkeys("eabc", "done")
    assert int(path["e"].read_text().split()[1]) == os.getpid()


def test_fewer_than_one_job_is_refused(tmp_path):
    with pytest.raises(MetaprobeError, match="--jobs must be at least 1; got 0"):
        run_steps(chain(tmp_path), IMAGES, 0)


def test_jobs_end_with_the_process_that_began_them(tmp_path):
    """A killed study leaves no process that goes on writing beside the one that resumes it."""
    script = f"""
import time
from pathlib import Path
from metaprobe.reports.study.engine import Step, run_steps
from tests.test_study_engine import IMAGES, Tick
run_steps([Step(name, Tick(Path({str(tmp_path)!r}) / name)) for name in "ab"], IMAGES, 2)
"""
    process = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).resolve().parents[1])
    ticks = [tmp_path / name for name in "ab"]
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in ticks) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert all(path.exists() for path in ticks)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2.5)
    before = [path.read_text() for path in ticks]
    time.sleep(1.5)
    assert [path.read_text() for path in ticks] == before


class Dies(Write):
    """Is killed, as by a system that has no memory left, once the step beside it has had time to end."""

    def do(self, imageset) -> None:
        time.sleep(1.0)
        os._exit(9)


class WaitsFor(Write):
    """Waits until what it reads is there."""

    def do(self, imageset) -> None:
        deadline = time.monotonic() + 30
        while not all(path.exists() for path in self.reads):
            if time.monotonic() > deadline:
                raise MetaprobeError("waited in vain")
            time.sleep(0.05)
        super().do(imageset)


class Tick(Write):
    """Writes the time over and over."""

    def do(self, imageset) -> None:
        for _ in range(600):
            self.path.write_text(str(time.monotonic()))
            time.sleep(0.1)
