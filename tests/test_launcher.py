"""The launcher of ranks: what it shows, how it stops them, and what it refuses."""

import os
import signal
import subprocess
import sys
import time

import pytest

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.launcher import launch
from metaprobe.trainers.ranks import RankLost
from metaprobe.trainers.torchrun import LOST_STATUS
from tests.rank_processes import ALONE, NAMES, ROOT, SECONDS


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_a_launched_rank_tells_its_launcher_that_it_lost_another(monkeypatch):
    assert RankLost("x").exit_code == 1
    monkeypatch.setenv("METAPROBE_LEASH", "9")
    assert RankLost("x").exit_code == LOST_STATUS != 1


# In a folder with a metaprobe of its own, that is what the ranks run; all but its beginning is the real one's.

_LAUNCH = "import sys; from metaprobe.trainers import launcher; {}; sys.exit(launcher.launch({}, ['train', 'é']))"
_RANK = """
import os, signal, sys, time
from pathlib import Path
from metaprobe.trainers.interrupt import stop_on_interrupt
from metaprobe.trainers.torchrun import end_with_launcher, launched, place_here
rank, size, _, _ = place_here()
assert sys.argv[1:] == ["train", "é"] and launched()

def die(status, *words):
    print(*words, file=sys.stderr)
    sys.exit(status)

"""


class Launched:
    """A launcher in a process of its own, whose ranks run the code."""

    def __init__(self, folder, workers, code, before="pass", **environment):
        stub = folder / "metaprobe"
        stub.mkdir(exist_ok=True)
        (stub / "__init__.py").write_text("import pkgutil; __path__ = pkgutil.extend_path(__path__, __name__)")
        (stub / "__main__.py").write_text(_RANK + code, encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH.format(before, workers)], cwd=folder, text=True, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ALONE | {"PYTHONWARNINGS": "error"} | environment,
        )  # fmt: skip

    def end(self):
        """Wait; return the exit status, stdout and stderr."""
        try:
            words = self.process.communicate(timeout=SECONDS)
        finally:
            self.process.kill()
        return self.process.returncode, *words


def wait_for(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_rank_0_has_the_terminal_and_its_status_is_the_launchers(tmp_path):
    code = """
print(rank, size, os.environ["OMP_NUM_THREADS"])
print("progress of", rank, file=sys.stderr)
(Path(f"{rank}.session")).write_text(str(os.getsid(0) == os.getpid()))
"""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    environment = {name: value for name, value in ALONE.items() if name != "OMP_NUM_THREADS"}
    assert Launched(tmp_path, 3, code, **{"OMP_NUM_THREADS": "7"}).end() == (0, "0 3 7\n", "progress of 0\n")
    assert [(tmp_path / f"{rank}.session").read_text() for rank in range(3)] == ["True"] * 3
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCH.format("pass", 3)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"0 3 {max(1, cores // 3)}\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("die(2, 'error: as all of them')", 2, "error: as all of them\n"),
        ("die(*((4, 'lost') if rank == 0 else (3, f'bad \\x1b disk {rank}')))", 1,
         "lost\nerror: rank 1 of 2 ended with exit status 3 and said:\nbad \\x1b disk 1\n"),
        ("die(*((3, 'bad disk') if rank == 0 else (4, 'lost')))", 3, "bad disk\n"),
        ("rank and die(3, 'bad disk')", 3, "error: rank 1 of 2 ended with exit status 3 and said:\nbad disk\n"),
        ("rank or die(4, 'lost')\nos.kill(os.getpid(), signal.SIGSEGV)", 1,
         "lost\nerror: rank 1 of 2 was killed by SIGSEGV; the same command goes on from what was last saved\n"),
        ("rank and die(4, 'lost')\nos.kill(os.getpid(), signal.SIGKILL)", 1,
         "error: rank 0 of 2 was killed by SIGKILL, as the system does when memory runs out; the same command goes on "
         "from what was last saved\n"),
    ],
)  # fmt: skip
def test_what_the_launcher_says_when_ranks_fail(tmp_path, code, status, said):
    assert Launched(tmp_path, 2, code).end() == (status, "", said)


def test_ranks_that_go_on_without_a_failed_one_are_stopped(tmp_path):
    code = "if rank == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    time.sleep(60)\nsys.exit(3)"
    status, _, said = Launched(tmp_path, 2, code, before="launcher.GRACE = 1").end()
    assert status == 1
    assert "error: rank 0 of 2 was stopped: it went on for 1 s after another had failed\n" in said
    assert "error: rank 1 of 2 ended with exit status 3" in said


_STOPS = """
with stop_on_interrupt() as stop:
    Path(f"{rank}.ready").touch()
    while not stop.asked:
        time.sleep(0.01)
    time.sleep(0.3)  # a second signal would interrupt here
die(130, "stopped and saved")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_each_rank_once(tmp_path, number):
    heard = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)"  # also where tests run under nohup
    launched = Launched(tmp_path, 2, _STOPS, before=heard if number == signal.SIGHUP else "pass")
    wait_for(lambda: len(list(tmp_path.glob("*.ready"))) == 2)
    os.killpg(launched.process.pid, number)  # as a terminal sends it
    assert launched.end() == (130, "", "stopped and saved\n")


def test_a_signal_before_ranks_listen_interrupts_and_a_third_one_kills(tmp_path):
    launched = Launched(tmp_path, 2, 'Path(f"{rank}.ready").touch()\ntime.sleep(60)')
    wait_for(lambda: len(list(tmp_path.glob("*.ready"))) == 2)
    launched.process.send_signal(signal.SIGTERM)
    assert launched.end() == (130, "", "error: interrupted\n")
    for file in tmp_path.glob("*.ready"):
        file.unlink()
    deaf = 'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nPath(f"{rank}.ready").touch()\ntime.sleep(60)'
    launched = Launched(tmp_path, 2, deaf)
    wait_for(lambda: len(list(tmp_path.glob("*.ready"))) == 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        launched.process.send_signal(number)
        time.sleep(0.2)
    assert launched.end() == (130, "", "error: interrupted\n")


def test_no_rank_outlives_a_killed_launcher(tmp_path):
    code = 'end_with_launcher()\nPath(f"{rank}.pid").write_text(f"{os.getpid()}\\n")\ntime.sleep(60)'
    launched = Launched(tmp_path, 2, code)
    wait_for(lambda: sum(file.read_text().endswith("\n") for file in tmp_path.glob("*.pid")) == 2)
    launched.process.kill()
    launched.end()  # returns when nobody holds rank 0's stdout any more
    wait_for(lambda: not any(alive(int(file.read_text())) for file in tmp_path.glob("*.pid")))


def alive(process):
    """Tell whether a process runs; one that ended but was not waited for does not."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return not told.stdout.startswith("Z") and bool(told.stdout.strip())


def test_a_killed_rank_ends_a_launched_run(tmp_path):
    code = """
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.ranks import Ranks
try:
    with Ranks.here() as ranks:
        ranks.broadcast("all are here")
        if rank:
            os.kill(os.getpid(), signal.SIGKILL)
        while True:
            ranks.any(False)
except MetaprobeError as error:
    die(error.exit_code, f"error: {error}")
"""
    status, _, said = Launched(tmp_path, 2, code).end()
    assert status == 1
    lost, killed = said.splitlines()
    assert lost.startswith("error: rank 0 of 2 lost another")
    assert killed.startswith("error: rank 1 of 2 was killed by SIGKILL")


def test_the_launcher_refuses_what_it_cannot_do(monkeypatch):
    with pytest.raises(MetaprobeError, match=r"--workers must be at least 1; got 0"):
        launch(0, [])
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MetaprobeError, match=r"--workers 2 .* RANK and WORLD_SIZE .* either --workers or torchrun"):
        launch(2, [])


def test_the_launcher_needs_no_torch():
    code = "import sys, metaprobe.trainers.launcher; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
