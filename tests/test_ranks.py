"""Ranks: real processes that add up in a fixed order, notice a lost one, and the launcher that starts and ends them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from trainers.errors import MetaprobeError
from trainers.launcher import launch
from trainers.ranks import RankLost, Ranks
from trainers.torchrun import LOST_STATUS, Place, place_here

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = {name: value for name, value in os.environ.items() if name not in NAMES}
QUIET = ALONE | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def quiet():
    """Return the environment of a rank: with the tests' own cache, which is known when they run."""
    return QUIET | {"METAPROBE_CACHE": os.environ["METAPROBE_CACHE"]}


SECONDS = 180  # to wait for processes that import torch on a busy machine


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def run_ranks(size, code, *arguments):
    """Run the code in processes as torchrun starts them; return each one's exit status, stdout and stderr."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": held.getsockname()[1]}
        processes = []
        for rank in range(size):
            variables = shared | {"RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1"}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", code, *map(str, arguments)],
                    cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env=quiet() | {name: str(value) for name, value in variables.items()},
                )
            )  # fmt: skip
        try:
            said = [process.communicate(timeout=SECONDS) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def numbers_of(rank):
    """Three ranks' numbers whose sum depends on the order, in single and in double precision."""
    generator = np.random.default_rng(rank)
    single = (generator.standard_normal((3, 1001)) * 10.0 ** generator.integers(-6, 6, (3, 1001))).astype(np.float32)
    return single, generator.standard_normal(99) * 10.0 ** generator.integers(-12, 12, 99)


_COLLECTIVES = """
import json, os, signal, time
import numpy as np
import torch
from tests.test_ranks import numbers_of
from trainers.ranks import RankLost, Ranks
with Ranks.here() as ranks:
    single, double = numbers_of(ranks.rank)
    tensors = [torch.from_numpy(single), torch.tensor(ranks.rank, dtype=torch.uint8), torch.from_numpy(double)]
    before = [tensor.clone() for tensor in tensors]
    sums = ranks.sum(tensors)
    assert all(torch.equal(a, b) for a, b in zip(tensors, before))
    again = ranks.sum(tensors)
    assert all(torch.equal(a, b) for a, b in zip(sums, again))
    mine = ranks.slice_of(11)
    whole = ranks.gather(np.arange(22.0).reshape(2, 11)[:, mine.start : mine.stop])
    assert ranks.gather(np.zeros((2, 0))).shape == (2, 0)
    flags = [ranks.any(False), ranks.any(ranks.rank == 2), ranks.any(True)]
    texts = [ranks.broadcast("{'Größe': '初め'}" if ranks.leads else f"not {ranks.rank}"), ranks.broadcast("")]
    print(json.dumps({
        "place": [ranks.rank, ranks.size, ranks.neighbours, ranks.leads], "whole": whole.tolist(), "flags": flags,
        "sums": [value.numpy().tobytes().hex() for value in sums], "shapes": [list(value.shape) for value in sums],
        "texts": texts,
    }), flush=True)
    ranks.broadcast("all have told")
    if ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    began = time.monotonic()
    try:
        while True:
            ranks.sum(tensors)
    except RankLost as error:
        assert isinstance(error.__cause__, RuntimeError) and error.exit_code == 1
        print(time.monotonic() - began)
        print(error)
"""


@pytest.fixture(scope="module")
def three():
    """What three ranks said, of which one was killed in the end: exit status, stdout, stderr."""
    return run_ranks(3, _COLLECTIVES)


def test_three_ranks_add_in_rank_order_and_agree_on_everything(three):
    assert [status for status, _, _ in three] == [0, -signal.SIGKILL, 0], three
    assert [errors for _, _, errors in three] == [""] * 3
    told = [json.loads(words.splitlines()[0]) for _, words, _ in three]
    assert [one.pop("place") for one in told] == [[0, 3, 3, True], [1, 3, 3, False], [2, 3, 3, False]]
    assert told[0] == told[1] == told[2]
    one = told[0]
    parts = [numbers_of(rank) for rank in range(3)]
    in_order = [(a + b) + c for a, b, c in zip(*parts, strict=True)]
    otherwise = [a + (b + c) for a, b, c in zip(*parts, strict=True)]
    found = [bytes.fromhex(one["sums"][place]) for place in (0, 2)]
    assert found == [value.tobytes() for value in in_order]
    assert all(a != b.tobytes() for a, b in zip(found, otherwise, strict=True))
    assert one["sums"][1] == "03"
    assert one["shapes"] == [[3, 1001], [], [99]]
    assert one["whole"] == np.arange(22.0).reshape(2, 11).tolist()
    assert one["flags"] == [False, True, True]
    assert one["texts"] == ["{'Größe': '初め'}", ""]


def test_the_others_notice_a_killed_rank_at_once(three):
    lead, killed, last = three
    assert killed[0] == -signal.SIGKILL
    for rank, (_, words, _) in ((0, lead), (2, last)):
        seconds, message = words.splitlines()[1:]
        assert float(seconds) < 20
        assert message.startswith(
            f"rank {rank} of 3 lost another: it ended, or did not answer for 10 minutes; the same"
        )


_HANGS = """
import datetime, os, sys, time
import torch.distributed
from pathlib import Path
import trainers.ranks
trainers.ranks.TIMEOUT = datetime.timedelta(seconds=4.5)
folder = Path(sys.argv[1])
(folder / os.environ["RANK"]).touch()
while len(list(folder.iterdir())) < 2:  # the timeout is for the meeting too, and a start is slow
    time.sleep(0.01)
with trainers.ranks.Ranks.here() as ranks:
    if ranks.rank == 1:
        while not (folder / "noticed").exists():
            time.sleep(0.01)
    else:
        try:
            ranks.any(False)
        except trainers.ranks.RankLost as error:
            print(error)
        (folder / "noticed").touch()
"""


def test_a_hung_rank_is_noticed_after_the_timeout(tmp_path):
    (status, words, _), _ = run_ranks(2, _HANGS, tmp_path)
    assert status == 0
    assert "rank 0 of 2 lost another: it ended, or did not answer for 0.075 minutes" in words


def test_one_rank_changes_nothing_and_meets_nobody():
    tensors, array = [torch.zeros(3)], np.zeros((2, 3))
    with Ranks.here() as ranks:
        assert (ranks.rank, ranks.size, ranks.leads, ranks.neighbours) == (0, 1, True, 1)
        assert ranks.device == torch.device("cpu")
        assert ranks.sum(tensors)[0] is tensors[0]
        assert ranks.gather(array) is array
        assert (ranks.any(True), ranks.any(False), ranks.broadcast("é")) == (True, False, "é")
        assert ranks.slice_of(5) == range(5)
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(("count", "size"), [(4, 2), (5, 2), (32, 3), (3, 3), (7, 5)])
def test_slices_cover_all_tasks_once_and_evenly(count, size):
    slices = [Ranks(rank, size, torch.device("cpu")).slice_of(count) for rank in range(size)]
    assert [task for part in slices for task in part] == list(range(count))
    assert {len(part) for part in slices} <= {count // size, count // size + 1}


def test_fewer_tasks_than_ranks_are_told():
    with pytest.raises(MetaprobeError, match=r"2 tasks cannot be shared by 3 ranks.*--meta-batch"):
        Ranks(0, 3, torch.device("cpu")).slice_of(2)


GOOD = dict(zip(NAMES, ("1", "2", "1", "2", "localhost", "29500"), strict=True))


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RANK", "2", r"RANK, which torchrun sets, must be a number from 0 to 1; got '2'"),
        ("RANK", "-1", r"RANK.*got '-1'"),
        ("RANK", None, r"RANK.*got nothing"),
        ("WORLD_SIZE", "two", r"WORLD_SIZE.*from 1 to \d+; got 'two'"),
        ("WORLD_SIZE", "0", r"WORLD_SIZE.*got '0'"),
        ("WORLD_SIZE", "", r"WORLD_SIZE.*got ''"),
        ("WORLD_SIZE", "9" * 5000, r"WORLD_SIZE.*got '9"),
        ("WORLD_SIZE", None, r"WORLD_SIZE.*got nothing"),
        ("LOCAL_RANK", "2", r"LOCAL_RANK.*from 0 to 1"),
        ("LOCAL_WORLD_SIZE", "3", r"LOCAL_WORLD_SIZE.*from 1 to 2"),
        ("MASTER_PORT", "http", r"MASTER_PORT.*got 'http'"),
        ("MASTER_PORT", "70000", r"MASTER_PORT.*to 65535"),
        ("MASTER_ADDR", None, r"MASTER_ADDR.*must be the address of rank 0's machine; got nothing"),
    ],
)
def test_a_wrong_environment_is_told(name, value, told, monkeypatch):
    for variable, good in GOOD.items():
        monkeypatch.setenv(variable, good)
    assert place_here() == Place(1, 2, 1, 2)
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(MetaprobeError, match=told):
        Ranks.here()


def test_a_world_of_one_is_one_process(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Ranks.here().size == 1


def test_several_ranks_need_several_gpus(monkeypatch):
    for variable, value in GOOD.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Ranks.here("cuda").device == torch.device("cuda:1")
    with pytest.raises(MetaprobeError, match=r"--device cuda:0 is one GPU, and each of 2 ranks needs one; say cuda"):
        Ranks.here("cuda:0")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(MetaprobeError, match=r"--device cuda:1 was asked for"):
        Ranks.here("cuda")


def test_a_launched_rank_tells_its_launcher_that_it_lost_another(monkeypatch):
    assert RankLost("x").exit_code == 1
    monkeypatch.setenv("METAPROBE_LEASH", "9")
    assert RankLost("x").exit_code == LOST_STATUS != 1


# The launcher. In a folder with a probe.py of its own, that is what the ranks run.

_LAUNCH = "import sys; from trainers import launcher; {}; sys.exit(launcher.launch({}, ['train', 'é']))"
_RANK = """
import os, signal, sys, time
from pathlib import Path
from trainers.interrupt import stop_on_interrupt
from trainers.torchrun import end_with_launcher, launched, place_here
rank, size, _, _ = place_here()
assert sys.argv[1:] == ["train", "é"] and launched()

def die(status, *words):
    print(*words, file=sys.stderr)
    sys.exit(status)

"""


class Launched:
    """A launcher in a process of its own, whose ranks run the code."""

    def __init__(self, folder, workers, code, before="pass", **environment):
        (folder / "probe.py").write_text(_RANK + code, encoding="utf-8")
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
from trainers.errors import MetaprobeError
from trainers.ranks import Ranks
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
    code = "import sys, trainers.launcher; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
