"""Ranks as processes, as tests start them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = {name: value for name, value in os.environ.items() if name not in NAMES}
QUIET = ALONE | {"PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


def quiet():
    """Return the environment of a rank: with the tests' own cache, which is known when they run."""
    return QUIET | {"METAPROBE_CACHE": os.environ["METAPROBE_CACHE"]}


SECONDS = 180  # to wait for processes that import torch on a busy machine


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
