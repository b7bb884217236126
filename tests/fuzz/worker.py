"""Processes that judge mutants, many each; what takes too long or dies is a failure, and a new one takes its place."""

from __future__ import annotations

import contextlib
import multiprocessing
import resource
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.fuzz.campaign import SECONDS, Campaign, Mutant
from tests.fuzz.outcome import DIED, HANG, Outcome
from tests.kills import LATE

_ADDRESSES = 8 << 30  # bytes that a worker may ask for on top: a claim of terabytes fails at once


def _work(root: Path, name: str, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the campaign, which ends its workers
    torch.set_num_threads(1)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ADDRESSES, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    campaign = Campaign(root, name)
    while (task := pipe.recv()) is not None:
        method, arguments = task
        pipe.send(getattr(campaign, method)(*arguments))


class Worker:
    """A campaign in another process, begun anew where it dies or hangs."""

    def __init__(self, root: Path, name: str) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.fuzz.worker", *LATE])
        self._root, self._name = root, name
        self._begin()

    def _begin(self) -> None:
        self._pipe, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_work, args=(self._root, self._name, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def judge(self, mutant: Mutant) -> tuple[Outcome, list[str]]:
        """Return how a mutant ends there."""
        began = time.monotonic()
        self._pipe.send(("judge", (mutant,)))
        with contextlib.suppress(EOFError, ConnectionResetError):
            # Six times as long: what keeps the processor busy is told there, unless it is in a library; this is for
            # what waits, for ever, on a machine that may be busy with other things.
            if self._pipe.poll(6 * SECONDS):
                return self._pipe.recv()
        hung = time.monotonic() - began >= 6 * SECONDS
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        self._pipe.close()
        self._begin()
        return Outcome(HANG, told="waits, or is in a library") if hung else Outcome(DIED, told=f"exit code {code}"), []

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what a method of the campaign there returns."""
        self._pipe.send((method, arguments))
        return self._pipe.recv()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()


def side_by_side(workers: list[Worker], work: Callable[[Worker], bool]) -> None:
    """Call `work` with each worker, in a thread each, until it returns False or raises."""
    errors: list[BaseException] = []

    def go_on(worker: Worker) -> None:
        try:
            while not errors and work(worker):
                pass
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=go_on, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    except KeyboardInterrupt as error:
        errors.append(error)
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
