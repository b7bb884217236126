"""Several ranks on this machine, as torchrun would start them: `metaprobe train … --workers N`. No torch."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import IO

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.torchrun import LEASH, LOST_STATUS

__all__ = ["GRACE", "launch"]

GRACE = 30.0
"""Seconds that the other ranks have, once one failed, to notice it and to save; then they are stopped."""


def launch(workers: int, arguments: Sequence[str]) -> int:
    """Run one command line as several ranks on this machine and wait for them.

    Rank 0 has the terminal; what another rank wrote to stderr is shown if it failed in another way than rank 0.
    SIGINT, SIGTERM and SIGHUP reach each rank once, as SIGTERM; so does a second one, and a third one kills.

    Args:
        workers: how many ranks.
        arguments: the command line without the program's name; a rank knows by `trainers.torchrun.launched`.

    Returns:
        The exit status: rank 0's own, 1 when a rank was lost, 130 when interrupted.

    Raises:
        MetaprobeError: fewer than one worker, or torchrun started this process.
    """
    if workers < 1:
        raise MetaprobeError(f"--workers must be at least 1; got {workers}")
    if workers > 1 and (found := [name for name in ("RANK", "WORLD_SIZE") if name in os.environ]):
        raise MetaprobeError(
            f"--workers {workers} starts ranks itself, but {' and '.join(found)} in the environment says that torchrun "
            "started this one; use either --workers or torchrun"
        )
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_signals())
        environment, leash = _environment(workers, stack)
        # The current folder is on the import path of the ranks where it is on that of this process, and not otherwise.
        safely = [] if sys.path[0] in ("", os.getcwd()) else ["-P"]
        ranks = list[subprocess.Popen[bytes]]()
        words = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(workers)]  # rank 0 uses the terminal
        for rank in range(workers):
            process = subprocess.Popen(
                [sys.executable, *safely, "-m", "metaprobe", *arguments],
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if rank else None,
                stderr=words[rank] if rank else None,
                pass_fds=(leash,),
                start_new_session=True,  # else Ctrl-C would reach it twice, and the second time interrupts at once
            )
            stack.callback(process.wait)
            stack.callback(process.kill)  # nothing to one that ended
            ranks.append(process)
        stopped = _wait(ranks, signals)
        return _status([rank.returncode for rank in ranks], words, stopped, bool(signals))


def _environment(workers: int, stack: contextlib.ExitStack) -> tuple[dict[str, str], int]:
    """Return what all ranks share of torchrun's variables, and the end of the leash that they hold."""
    # The port stays bound, though nobody listens, until rank 0 listens: no other program takes it in between.
    held = stack.enter_context(socket.socket())
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = str(held.getsockname()[1])
    leash, own_end = os.pipe()
    stack.callback(os.close, leash)
    stack.callback(os.close, own_end)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // workers))}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # on this machine, whatever its name resolves to
    else:
        held.close()  # elsewhere a bound socket would take the connections
    environment |= os.environ  # the user's own values count
    environment |= {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers)}
    return environment | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, LEASH: str(leash)}, leash


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect the signals that ask for a stop."""
    seen: list[int] = []
    nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = (signal.SIGINT, signal.SIGTERM) if nohup else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: seen.append(number)) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(ranks: Sequence[subprocess.Popen[bytes]], signals: Sequence[int]) -> set[int]:
    """Wait for all and pass signals on; return which had to be stopped, long after another had failed."""
    passed, deadline, stopped = 0, float("inf"), set[int]()
    while None in [rank.poll() for rank in ranks]:
        while passed < len(signals):
            passed += 1
            for rank in ranks:
                rank.send_signal(signal.SIGTERM if passed < 3 else signal.SIGKILL)
        if deadline == float("inf") and any(rank.returncode for rank in ranks):
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            for rank in ranks:
                rank.send_signal(signal.SIGKILL if stopped else signal.SIGTERM)
            stopped |= {number for number, rank in enumerate(ranks) if rank.returncode is None}
            deadline = time.monotonic() + GRACE
        time.sleep(0.05)
    return stopped


def _status(codes: Sequence[int], words: Sequence[IO[bytes]], stopped: set[int], interrupted: bool) -> int:
    """Say what rank 0 could not, and return the exit status."""
    lead, told = codes[0], []
    if interrupted:
        if lead < 0:
            sys.stderr.write("error: interrupted\n")
        return 130 if lead < 0 or lead == LOST_STATUS else lead
    status = 1 if lead < 0 or lead == LOST_STATUS or 0 in stopped else lead
    for number, code in enumerate(codes):
        name = f"rank {number} of {len(codes)}"
        if number in stopped:
            told.append(f"error: {name} was stopped: it went on for {GRACE:g} s after another had failed")
        elif code < 0:
            why = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
            by = signal.Signals(-code).name + why
            told.append(f"error: {name} was killed by {by}; the same command goes on from what was last saved")
            status = 1
        elif number and code not in (0, lead, LOST_STATUS):
            words[number].seek(0)
            said = words[number].read().decode("utf-8", "replace").splitlines()
            told += [f"error: {name} ended with exit status {code} and said:", *map(visible, said)]
            status = status or code
    sys.stderr.writelines(f"{line}\n" for line in told)
    return status
