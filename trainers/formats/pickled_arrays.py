"""Arrays as a pickle tells them: their type, their shape, and as many bytes as these need."""

from __future__ import annotations

import math
import re

import numpy as np

from metaprobe.trainers.formats.text import visible

__all__ = ["Array", "DType", "RefusedError", "array_of"]

_DTYPES = re.compile(r"(b1|[iu][1248]|f[248]|[SUa][1-9][0-9]{0,3})")


class RefusedError(Exception):
    """Why a file is not read."""


class DType:
    """The type of an array's elements."""

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not _DTYPES.fullmatch(code):
            raise RefusedError(f"an array is of {visible(repr(code), 40)}, not of numbers or text")
        self.code, self.order = code, "="

    def build(self, state: object) -> None:
        """Take the order of bytes from what a pickle says of a type."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
            raise RefusedError("an array is of a type with parts")
        self.order = state[1]

    @property
    def dtype(self) -> np.dtype:
        """NumPy's own."""
        return np.dtype(self.order + self.code)


class Array:
    """An array that is told first that it is one, then what is in it."""

    def __init__(self) -> None:
        self.values: np.ndarray | None = None

    def build(self, state: object) -> None:
        """Make the array of what a pickle says of it."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise RefusedError("an array does not say what is in it")
        _, shape, kind, fortran, content = state
        self.values = array_of(content, kind, shape, "F" if fortran else "C")


def array_of(content: object, kind: object, shape: object, order: object) -> np.ndarray:
    """Return an array of bytes, after checking that there are as many of them as it needs."""
    content = content.encode("latin-1") if isinstance(content, str) else content
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, DType):
        raise RefusedError("an array holds objects, not numbers or text")
    whole = isinstance(shape, tuple) and len(shape) <= 8 and all(type(size) is int and size >= 0 for size in shape)
    if not whole or order not in ("C", "F"):
        raise ValueError("an array has no shape")
    sizes: tuple[int, ...] = shape  # type: ignore[assignment]
    if math.prod(sizes) * kind.dtype.itemsize != len(content):
        raise ValueError(f"an array of {sizes} and {kind.code} is told in {len(content):,} bytes")
    return np.frombuffer(content, kind.dtype).reshape(sizes, order=order)  # type: ignore[call-overload]
