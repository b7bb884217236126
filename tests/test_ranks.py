"""Ranks: real processes that add up in a fixed order, notice a lost one, and the launcher that starts and ends them."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.ranks import Ranks
from metaprobe.trainers.torchrun import Place, place_here
from tests.rank_processes import NAMES, run_ranks


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


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
from metaprobe.trainers.ranks import RankLost, Ranks
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
from metaprobe.trainers import ranks as joined
joined.TIMEOUT = datetime.timedelta(seconds=4.5)
folder = Path(sys.argv[1])
(folder / os.environ["RANK"]).touch()
while len(list(folder.iterdir())) < 2:  # the timeout is for the meeting too, and a start is slow
    time.sleep(0.01)
with joined.Ranks.here() as ranks:
    if ranks.rank == 1:
        while not (folder / "noticed").exists():
            time.sleep(0.01)
    else:
        try:
            ranks.any(False)
        except joined.RankLost as error:
            print(error)
        (folder / "noticed").touch()
"""


def test_a_hung_rank_is_noticed_after_the_timeout(tmp_path):
    (status, words, _), _ = run_ranks(2, _HANGS, tmp_path)
    assert status == 0
    assert "rank 0 of 2 lost another: it ended, or did not answer for 0.075 minutes" in words


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="finds threads through Linux's /proc")
def test_nothing_of_the_group_outlives_it_whatever_was_imported_meanwhile():
    for status, out, err in run_ranks(2, _IMPORTS):
        assert (status, out.split()) == (0, ["True", "gloo", "False"]), err


_IMPORTS = """
from pathlib import Path
import torch
from metaprobe.trainers.ranks import Ranks
def threads():
    return "gloo" if any("gloo" in path.read_text() for path in Path("/proc/self/task").glob("*/comm")) else ""
with Ranks.here() as ranks:
    print(ranks.any(ranks.leads), threads())
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # which imports much of torch
print("gloo" in threads())
"""


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
