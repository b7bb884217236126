"""A scheduler of dask and its workers on loopback, as processes that tests may kill, and steps that are tried there."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


@contextlib.contextmanager
def scheduler_on(port):
    """Run a scheduler on a port of this machine; yields its address and its process."""
    address = f"tcp://127.0.0.1:{port}"
    with _process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard") as process:
        wait_for(lambda: _listens(port))
        yield address, process


@contextlib.contextmanager
def workers_of(address, count, *options):
    """Run workers of a scheduler, each with one thread."""
    with contextlib.ExitStack() as stack:
        started = ("dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *options)
        yield [stack.enter_context(_process(*started)) for _ in range(count)]


def with_tests():
    """Return a PYTHONPATH that leads another process to these tests, too, whose steps it is to do."""
    return os.pathsep.join(filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH"))))


@contextlib.contextmanager
def _process(command, *words):
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{command}", *words],
        env=os.environ | {"PYTHONPATH": with_tests()}, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def free_port():
    """Return a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _listens(port):
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds, seconds=120.0):
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclasses.dataclass(frozen=True)
class Note:
    """Writes the process that did it; where it stands at first: "killed" in its middle, or "slow", or "done"."""

    path: Path
    first: str = "done"

    def is_done(self, data):
        return self.path.exists()

    def do(self, data):
        begun = self.path.with_suffix(".begun")
        if not begun.exists():
            begun.write_text(str(os.getpid()))
            if self.first == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.first == "slow":
                time.sleep(30)
        self.path.write_text(str(os.getpid()))
