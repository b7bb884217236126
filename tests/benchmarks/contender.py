"""One contender of a benchmark in a process of its own, asked over stdin and answering over stdout, a JSON line each.

    python -m tests.benchmarks.contender '{"name": "higher", "threads": 2, "device": "cpu", …}'

So its peak memory is its own, and what it tells the allocator, torch's thread pools or cuDNN stays with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.profiler import ProfilerActivity

from metaprobe.trainers.allocator import keep_freed_memory
from metaprobe.trainers.device import exact_float32
from tests.benchmarks.ours import Ours
from tests.benchmarks.peers import PEERS
from tests.benchmarks.work import Work

ROOT = Path(__file__).resolve().parents[2]
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@dataclass(frozen=True)
class Contender:
    """Who competes: "ours", optionally with an engine ("ours:sweep:1"), a peer, or "matmul", the yardstick.

    `keeps` gives the process our allocator's settings; `tf32` allows that mode to every matmul and convolution. An
    iteration is repeated until a timing took `seconds`: the first after a pause finds caches cold.
    """

    name: str
    threads: int = 1
    device: str = "cpu"
    keeps: bool = False
    tf32: bool = False
    seconds: float = 1.0

    @property
    def ours(self) -> bool:
        """Whether it is this project's code."""
        return self.name.partition(":")[0] == "ours"

    @property
    def label(self) -> str:
        """What tables call it."""
        return f"{self.name} ×{self.threads}" if self.device == "cpu" else self.name

    def build(self, work: Work) -> Ours | Matmul | Callable[[], Any]:
        """Return what does the work once when it is called."""
        if self.name == "matmul":
            return Matmul(self.device)
        if self.ours:
            return Ours(work, self.name.partition(":")[2], self.threads)
        return PEERS[self.name](work)


class Matmul:
    """The square product of two matrices in float32: what a machine can do at best."""

    def __init__(self, device: str) -> None:
        self.size = 1024 if device == "cpu" else 8192
        self.left, self.right = torch.rand(2, self.size, self.size, device=device)

    def __call__(self) -> torch.Tensor:
        """Multiply once."""
        return self.left @ self.right


class Session:
    """The contender's side: what it built, and answers to requests."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.built: dict[Work, tuple[Callable[[], Any], int]] = {}  # and how often a timing repeats it
        if contender.keeps:
            keep_freed_memory()
        torch.set_num_threads(contender.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = contender.tf32
        self._stack = contextlib.ExitStack()
        if contender.ours:  # as `train` does it
            self._stack.enter_context(exact_float32(but_tf32=contender.tf32))

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked: prepare, time, profile or forget; the reply says why if it failed."""
        try:
            if request["do"] == "forget":
                return self.forget()
            answers = {"prepare": self.prepare, "time": self.time, "profile": self.profile}
            work = Work(**request["work"])
            return answers[request["do"]](work)
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def prepare(self, work: Work) -> dict[str, Any]:
        """Build and warm up; tell by how much the process grew from the first iteration on."""
        torch.set_num_threads(self.contender.threads)
        self._once(work.smallest())  # imports, and what torch sets up once in a process
        torch.set_num_threads(self.contender.threads)
        iterate = self.contender.build(work)
        peak = PeakMemory(work.device)
        if isinstance(iterate, Ours):
            iterate.choose()
        iterate()
        once = self._seconds(iterate, 1)
        self.built[work] = iterate, max(1, math.ceil(self.contender.seconds / once))
        told: dict[str, Any] = {"peak": peak.bytes(), "engine": getattr(iterate, "told", None)}
        return told | ({"flops": 2 * iterate.size**3} if isinstance(iterate, Matmul) else {})

    def time(self, work: Work) -> dict[str, Any]:
        """Time an iteration: the mean of as many as take the contender's seconds."""
        return {"seconds": self._seconds(*self.built[work])}

    def profile(self, work: Work) -> dict[str, Any]:
        """Tell which operations an iteration spends its time in, all threads together: (name, share)."""
        everywhere = _ExperimentalConfig(profile_all_threads=True)
        cuda = self.contender.device != "cpu"
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
        with torch.profiler.profile(activities=activities, experimental_config=everywhere) as profiler:
            self._seconds(self.built[work][0], 1)
        spent = {e.key: e.self_device_time_total if cuda else e.self_cpu_time_total for e in profiler.key_averages()}
        most = sorted(spent.items(), key=lambda item: -item[1])[:12]
        return {"profile": [(name, time / sum(spent.values())) for name, time in most]}

    def forget(self) -> dict[str, Any]:
        """Drop what was built."""
        for iterate, _ in self.built.values():
            if isinstance(iterate, Ours):
                iterate.close()
        self.built.clear()
        return {}

    def _once(self, work: Work) -> None:
        iterate = self.contender.build(work)
        iterate()
        if isinstance(iterate, Ours):
            iterate.close()

    def _seconds(self, iterate: Callable[[], Any], times: int) -> float:
        wait = torch.cuda.synchronize if self.contender.device != "cpu" else lambda: None
        wait()
        began = time.perf_counter()
        for _ in range(times):
            iterate()
        wait()
        return (time.perf_counter() - began) / times


class PeakMemory:
    """By how much a process, or its memory on a GPU, grew at most since this was made. On a CPU it takes Linux."""

    def __init__(self, device: str) -> None:
        gc.collect()
        self.cuda = device != "cpu"
        self.before: int | None = None
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
            return
        with contextlib.suppress(OSError, AttributeError):  # another system, or one that does not allow it
            ctypes.CDLL(None).malloc_trim(0)  # what earlier work left free would hide growth
            CLEAR_REFS.write_text("5")  # VmHWM := VmRSS; see proc(5)
            self.before = self._status("VmRSS")

    def bytes(self) -> int | None:
        """Return the growth so far; None where it cannot be told."""
        if self.before is None:
            return None
        return (torch.cuda.max_memory_allocated() if self.cuda else self._status("VmHWM")) - self.before

    def _status(self, field: str) -> int:
        lines = STATUS.read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


class Process:
    """The benchmark's side: starts a contender, asks it, ends it."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        command = [sys.executable, "-m", "tests.benchmarks.contender", json.dumps(dataclasses.asdict(contender))]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def ask(self, do: str, work: Work | None = None) -> dict[str, Any]:
        """Send a request and wait for the reply; {"error": …} when the contender failed or is gone."""
        request = {"do": do} | ({"work": dataclasses.asdict(work)} if work else {})
        assert self._popen.stdin and self._popen.stdout
        try:
            self._popen.stdin.write(json.dumps(request) + "\n")
            self._popen.stdin.flush()
            line = self._popen.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": f"its process ended with status {self._popen.wait()}"}

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._popen.communicate()


def main() -> None:
    """Answer requests until there are no more."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no reply
    session = Session(Contender(**json.loads(sys.argv[1])))
    for line in sys.stdin:
        print(json.dumps(session.answer(json.loads(line))), file=replies, flush=True)
    session.forget()


if __name__ == "__main__":
    main()
