"""Freed memory is kept while steps are in work, and given back between them."""

import os
import platform
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from metaprobe.trainers.allocator import give_back_freed_memory, keep_freed_memory
from metaprobe.trainers.execution.workers import Processes

GLIBC = platform.libc_ver()[0] == "glibc"


def in_a_process(script):
    """What a script prints in a process of its own: settings of the allocator last."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(GLIBC, reason="needs another C library than glibc")
def test_elsewhere_nothing_is_done():
    assert keep_freed_memory() is False
    give_back_freed_memory()


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_freed_memory_is_kept_on_glibc():
    script = """
import resource
from metaprobe.trainers.allocator import keep_freed_memory
assert keep_freed_memory() is True
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fill():
    block = bytearray(64 << 20)
    del block
fill()
before = faults()
fill()
print(faults() - before)
"""
    assert int(in_a_process(script)) < 1000  # of 16,384 pages


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
def test_freed_memory_is_given_back_on_glibc():
    script = """
import psutil
from metaprobe.trainers.allocator import give_back_freed_memory, keep_freed_memory
keep_freed_memory()
def mib():
    return psutil.Process().memory_info().rss >> 20
before = mib()
block = bytearray(b"x" * (200 << 20))
del block
kept = mib() - before
give_back_freed_memory()
left = mib() - before
block = bytearray(200 << 20)
flags = [line.split() for line in open("/proc/self/smaps") if line.startswith(("VmFlags:", "Size:"))]
advised = sum(int(size[1]) for size, flag in zip(flags[::2], flags[1::2]) if "hg" in flag)
print(kept, left, advised >> 10)
"""
    kept, left, advised = map(int, in_a_process(script).split())
    assert kept > 190
    assert left < 10
    if Path("/sys/kernel/mm/transparent_hugepage").exists():
        assert advised >= 1024  # what the heap grows by again is asked for in huge pages, as at first


@pytest.mark.skipif(not GLIBC, reason="needs glibc")
@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="needs huge pages")
def test_workers_have_arenas_of_their_own_in_huge_pages():
    """By the mappings that their tensors lie in, whose flags say hg; they come alive at once, else one does it all."""
    script = """
import re, threading, torch
from pathlib import Path
from metaprobe.trainers.allocator import keep_freed_memory
from metaprobe.trainers.parallel import TaskWorkers
keep_freed_memory()
torch.set_num_threads(2)
both = threading.Barrier(2)
def mapped(network, _):
    both.wait()
    block = torch.ones(1 << 20)
    both.wait()
    for part in re.split(r"\\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text()):
        first, last = (int(end, 16) for end in part.split()[0].split("-"))
        if first <= block.data_ptr() < last:
            return first, "hg" in part.rpartition("VmFlags:")[2].split()
with TaskWorkers(torch.nn.Linear(1, 1)) as workers:
    (one, advised), (other, too) = workers.map(mapped, [0, 1])
print(one != other, advised, too)
"""
    assert in_a_process(script).split() == ["True"] * 3


@dataclass(frozen=True)
class Large:
    """A step that takes as much memory as it is told to, for a moment longer than loky waits between two looks."""

    mib: int
    told: Path

    def is_done(self, data):
        return False

    def do(self, data):
        block = bytearray(b"x" * (self.mib << 20))
        time.sleep(1.2)
        del block
        with self.told.open("a") as file:
            file.write(f"{os.getpid()}\n")


def test_a_process_outlives_a_step_that_took_much(tmp_path):
    """loky ends one that holds 300 MB more after a step than after its first, and warns of it."""
    told, steps = tmp_path / "told", {"first": 1, "large": 500, "last": 1}
    with warnings.catch_warnings(record=True) as warned, Processes(None, 1) as workers:  # pyright: ignore
        warnings.simplefilter("always")  # an error would end the thread that warns, and nobody would be told of an end
        for name, mib in steps.items():
            workers.begin(name, Large(mib, told), lambda: None)
        while workers.running:
            assert all(outcome.good for _, outcome in workers.ended())
    assert not warned
    assert len(set(told.read_text().split())) == 1
