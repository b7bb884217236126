"""An interrupt during a capture: it is whole, or nothing of it is left; never a store with other numbers."""

import os
import signal

import pytest
import torch

from metaprobe import probe
from metaprobe.probe.store.unfailing import UnfailingFile
from metaprobe.trainers.interrupt import Interrupted, stop_on_interrupt
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.captures import ADAPTATION, small_network
from tests.conftest import make_imageset


@pytest.fixture(scope="module")
def batches():
    sampler = EpisodeSampler(make_imageset(n_classes=12, per_class=8, size=16), "test", 3, 1, 4, 7)
    return [sampler.batch([i]) for i in range(4)]


def captured(batches, out, advance=None):
    network = small_network(dtype=torch.float32)
    return probe.capture(network, None, batches, out=out, adaptation=ADAPTATION, raw=True, n_tasks=4, advance=advance)


@pytest.fixture(scope="module")
def whole(batches, tmp_path_factory):
    return captured(batches, tmp_path_factory.mktemp("whole") / "a.h5").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_between_tasks_leaves_nothing_and_the_same_capture_begins_anew(batches, whole, tmp_path, number):
    with pytest.raises(Interrupted, match=r"stopped after 1 of 4 tasks; nothing is left of this capture, the same"):
        captured(batches, tmp_path / "a.h5", advance=lambda done: os.kill(os.getpid(), number))
    assert list(tmp_path.iterdir()) == []
    assert captured(batches, tmp_path / "a.h5").read_bytes() == whole


def test_a_stop_in_the_last_task_leaves_a_whole_store_and_stops_what_comes_after(batches, whole, tmp_path):
    done = []
    with pytest.raises(Interrupted, match=r"a.h5 had just been captured, and is whole"):
        captured(batches, tmp_path / "a.h5", advance=lambda n: done.append(n) or len(done) < 4 or raise_signal())
    assert (tmp_path / "a.h5").read_bytes() == whole


def raise_signal():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("place", [0, 1, 30, 200])
def test_signals_while_hdf5_writes_are_never_swallowed(batches, tmp_path, monkeypatch, place):
    calls, write = [], UnfailingFile.write

    def interrupted(self, buffer):
        calls.append(None)
        if len(calls) == place + 1:  # HDF5 calls this, and would swallow what is raised here
            raise_signal()
            raise_signal()
        return write(self, buffer)

    monkeypatch.setattr(UnfailingFile, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        captured(batches, tmp_path / "a.h5")
    assert len(calls) > place
    assert list(tmp_path.iterdir()) == []


def test_a_second_signal_waits_for_the_end_of_what_may_not_be_interrupted():
    seen = []

    def work(stop):
        with stop.held():
            raise_signal()
            with stop.held():
                raise_signal()
            seen.append(stop.asked)

    with stop_on_interrupt() as stop, pytest.raises(KeyboardInterrupt):
        work(stop)
    assert seen == [True]
