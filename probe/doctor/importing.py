"""Whether modules can be imported, tried in a process of its own: a broken library may end the process that tries."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["tried"]

_SECONDS = 900.0  # for all; torch, umap and scikit-learn take a few each, on a cold disk and busy cores minutes


def tried(modules: Sequence[str]) -> tuple[dict[str, str], dict[str, Any]]:
    """Import modules elsewhere; return why each fails, "" where it does not, and what that process says of threads.

    Args:
        modules: their names.

    Returns:
        Errors by module; and `torch`, `blas`, `devices` as the last of the processes had them (see `_machine`).
    """
    errors, left = dict[str, str](), list(modules)
    while True:
        answers, ended = _in_a_process(left)
        for module, answer in zip(left, answers, strict=False):
            errors[module] = answer
        if not ended:
            return errors, answers[-1]
        if len(answers) > len(left):
            return errors, answers[-1] | {"error": f"leaving Python after all imports {ended}"}
        if len(answers) == len(left):
            error = f"asking for threads and devices {ended}"
            return errors, {"torch": {}, "blas": [], "devices": [], "error": error}
        errors[left[len(answers)]] = f"importing it {ended}"
        left = left[len(answers) + 1 :]


def _in_a_process(modules: Sequence[str]) -> tuple[list[Any], str]:
    """Return an answer a module, then one of the machine; and how the process ended if that was too early."""
    safely = [] if sys.path[0] in ("", os.getcwd()) else ["-P"]  # the current folder is on its path if it is on ours
    words = [sys.executable, *safely, "-m", "metaprobe.probe.doctor.importing", *modules]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False)
        told, said, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as error:
        told, said, status = error.stdout or b"", b"", None
    answers = [json.loads(line) for line in told.decode().splitlines()]
    if status == 0 and len(answers) == len(modules) + 1:
        return answers, ""
    if status is None:
        return answers, f"did not end in {_SECONDS:g} s"
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    last = said.decode("utf-8", "replace").strip().splitlines()[-1:]
    return answers, ": ".join([f"ended the process {how}", *last])


def _answer(modules: Sequence[str]) -> None:
    """In the other process: write a JSON text a line, the error of each module, then the machine."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for module in modules:
        try:
            importlib.import_module(module)
            error = ""
        except Exception as raised:  # whatever a broken library raises is what is asked for
            error = f"{type(raised).__name__}: {' '.join(str(raised).split())}"
        out.write(json.dumps(error) + "\n")
        out.flush()
    out.write(json.dumps(_machine()) + "\n")
    out.close()


def _machine() -> dict[str, Any]:
    """Return what torch and threadpoolctl say: threads, libraries of linear algebra, CUDA devices."""
    found: dict[str, Any] = {"torch": {}, "blas": [], "devices": []}
    try:
        import torch

        found["torch"] = {"threads": torch.get_num_threads(), "cuda": torch.version.cuda}
        for number in range(torch.cuda.device_count()):
            about = torch.cuda.get_device_properties(number)
            found["devices"].append({"name": f"cuda:{number}", "what": about.name, "bytes": about.total_memory})
        from threadpoolctl import threadpool_info

        for one in threadpool_info():
            found["blas"].append(
                {name: one.get(name) for name in ("user_api", "internal_api", "version", "num_threads")}
            )
    except Exception as raised:  # told beside the modules: torch or threadpoolctl is broken
        found["error"] = f"{type(raised).__name__}: {' '.join(str(raised).split())}"
    return found


if __name__ == "__main__":
    _answer(sys.argv[1:])
