"""Where to compute, how exactly, and how much memory it took."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Iterator

import torch

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["device_named", "exact_float32", "memory_of", "peak_memory"]


def device_named(name: str) -> torch.device:
    """Return the device of that name; never another in its place.

    Raises:
        MetaprobeError: it is no device, not a CPU or CUDA one, or there is no such CUDA device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise MetaprobeError(f"--device {name!r} is no device; expected cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise MetaprobeError(f"--device {name} is not supported; expected cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        seen = f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices here"
        raise MetaprobeError(f"--device {name} was asked for, but {seen}")
    if device.type == "cuda":  # cuBLAS reads it when it starts; without it, it may add in any order
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return device


@contextlib.contextmanager
def exact_float32(but_tf32: bool = False) -> Iterator[None]:
    """Let CUDA compute float32 as float32, by algorithms that add in one order, for the length of the block.

    torch lets cuDNN round the factors of convolutions to TF32's ten bits, and choose algorithms that add in any order.

    Args:
        but_tf32: round the factors of convolutions and matrix products to TF32, as a run may ask for.
    """
    switches = [
        (torch.backends.cuda.matmul, "allow_tf32", but_tf32),
        (torch.backends.cudnn, "allow_tf32", but_tf32),
        (torch.backends.cudnn, "deterministic", True),
        (torch.backends.cudnn, "benchmark", False),
    ]
    before = [getattr(place, name) for place, name, _ in switches]
    for place, name, value in switches:
        setattr(place, name, value)
    try:
        yield
    finally:
        for (place, name, _), value in zip(switches, before, strict=True):
            setattr(place, name, value)


def memory_of(device: torch.device) -> int | None:
    """Return the bytes that a CUDA device has in all; None of the CPU, whose memory is the machine's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of tensors on a CUDA device, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
