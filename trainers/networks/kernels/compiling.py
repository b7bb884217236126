"""What the loops share: how numba compiles them, what they are given, and when they serve."""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

__all__ = ["arrays", "compiled", "loops_serve", "traceable"]

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
_traced = contextvars.ContextVar("traced", default=False)


def compiled(function: Callable[..., Any]) -> Any:
    """Let numba compile a function when it is first called, and keep the program for other processes.

    A warning tells where no folder can keep it; then each process compiles it anew.
    """
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:  # numba found no folder that it may write to
        warnings.warn(
            f"{error}: it is compiled anew in every process; set NUMBA_CACHE_DIR to a folder that can be written",
            stacklevel=2,
        )
        return numba.njit(**_OPTIONS)(function)


def arrays(*tensors: Tensor | None) -> list[np.ndarray | None]:
    """Return tensors as arrays of the same memory, maps as (sample, row, column, channel)."""
    found = [None if x is None else x.numpy(force=True) for x in tensors]  # on a CPU no copy, whatever force says
    return [x.transpose(0, 2, 3, 1) if x is not None and x.ndim == 4 else x for x in found]


@contextlib.contextmanager
def traceable() -> Iterator[None]:
    """Within the block of this thread use operations of torch alone, which a compiler can follow."""
    token = _traced.set(True)
    try:
        yield
    finally:
        _traced.reset(token)


def loops_serve(x: Tensor) -> bool:
    """Tell whether loops of our own may compute with a tensor: on a CPU, unless a compiler looks on."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not _traced.get()
