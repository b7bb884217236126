"""Files of arrays, known by their content: .npy, .npz, HDF5 and safetensors. Nothing is unpickled or read whole.

What a file claims is checked against its size before anything is made of that size.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from metaprobe.analyses.arrays.array import Array, ArrayFile, checked, eps_of, unfit
from metaprobe.analyses.arrays.hdf5 import MAGIC, is_store, read_hdf5
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY
from metaprobe.trainers.formats.npy import Found, read_npy, read_npz
from metaprobe.trainers.formats.safetensors_header import TensorEntry, guess_kind, open_regular, read_header
from metaprobe.trainers.formats.text import visible

__all__ = ["holds_arrays", "open_arrays", "read_groups"]

_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_MOST_ARRAYS = 10_000


def holds_arrays(path: Path | str) -> bool:
    """Tell by its content whether a file is one of arrays, and not an activation store.

    What is neither, or cannot be opened, counts as a store: its reader says what is wrong.
    """
    try:
        with open_regular(path) as file:
            start = file.read(16)
    except UnreadableInput:
        return False
    return not is_store(path) if start.startswith(MAGIC) else _reader(start) is not None


@contextlib.contextmanager
def open_arrays(path: Path | str) -> Iterator[ArrayFile]:
    """Open a file of activations, samples along the first axis.

    Args:
        path: a .npy array, or .npz, HDF5 or safetensors with an array a layer. Its name says nothing.

    Yields:
        The file; its arrays end with the block.

    Raises:
        UnreadableInput: one line: it is none of these, damaged, claims more than it holds, has objects or links that
            lead out of it, or no array in it can be a layer.
        MetaprobeError: it is a checkpoint of metaprobe, whose tensors are weights.
    """
    path, shown = Path(path), visible(str(path))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_regular(path))
        start = file.read(16)
        reader = read_hdf5 if start.startswith(MAGIC) else _reader(start)
        if reader is None:
            kind = guess_kind(start) or ("an unknown kind of file" if start else "an empty file")
            raise UnreadableInput(f"{shown}: expected arrays (.npy, .npz, HDF5, safetensors), got {kind}.")
        found = stack.enter_context(reader(file, path))
        if len(found) > _MOST_ARRAYS:
            raise UnreadableInput(f"{shown}: holds {len(found):,} arrays; at most {_MOST_ARRAYS:,} are compared.")
        arrays, left_out = [], []
        for one in found:
            where = f"{shown}: {visible(one.name, 80)}" if len(found) > 1 else shown
            if reason := unfit(one.dtype, one.shape):
                left_out.append(f"{where}: {reason}")
                continue
            eps = eps_of(one.dtype)
            assert eps is not None
            arrays.append(Array(where, one.name, one.shape, eps, partial(_blocks, one.blocks, where)))
        if not arrays:
            raise UnreadableInput(left_out[0] if left_out else f"{shown}: holds no array.")
        digest = _digest(file)  # of what is known to be arrays: a damaged file may be of any size
        yield ArrayFile(path, digest, tuple(arrays), tuple(left_out))


def read_groups(path: Path | str, samples: int) -> np.ndarray:
    """Return the group of each sample, counted from 0, from a .npy array of whole numbers or of text.

    Raises:
        UnreadableInput: it is none, or not one entry a sample.
    """
    shown = visible(str(path))
    with open_regular(path) as file:
        if not file.read(6).startswith(b"\x93NUMPY"):
            raise UnreadableInput(f"{shown}: --groups takes a .npy array with the group of each sample.")
        with read_npy(file, Path(path)) as (found,):
            if found.shape != (samples,) or found.kind not in "iuUSb":
                raise UnreadableInput(
                    f"{shown}: holds {found.dtype} {found.shape}, expected whole numbers or text of shape "
                    f"({samples},), the group of each sample"
                )
            values = np.concatenate(list(found.blocks(1 << 20)))
    return np.unique(values, return_inverse=True)[1].ravel()


def _blocks(read: Callable[[int], Iterator[np.ndarray]], where: str, size: int) -> Iterator[np.ndarray]:
    first = 0
    for block in read(size):
        yield checked(block, where, first)
        first += len(block)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(1 << 20):
        digest.update(piece)
    return digest.hexdigest()


_Reader = Callable[[BinaryIO, Path], contextlib.AbstractContextManager[tuple[Found, ...]]]


def _reader(start: bytes) -> _Reader | None:
    """Return what reads a file that starts with these bytes; HDF5 is for those who call."""
    if start.startswith(b"\x93NUMPY"):
        return read_npy
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return read_npz
    return _read_safetensors if start[8:9] == b"{" else None


@contextlib.contextmanager
def _read_safetensors(file: BinaryIO, path: Path) -> Iterator[tuple[Found, ...]]:
    header = read_header(file, path)
    if METADATA_KEY in dict(header.metadata):
        raise MetaprobeError(
            f"{visible(str(path))}: a checkpoint of metaprobe holds weights, not activations; `metaprobe capture` "
            "makes a store of those, which this command compares"
        )

    def blocks(entry: TensorEntry, size: int) -> Iterator[np.ndarray]:
        row = entry.nbytes // entry.shape[0]
        stored = np.dtype({"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}[entry.dtype])
        for first in range(0, entry.shape[0], size):
            count = min(size, entry.shape[0] - first)
            content = os.pread(file.fileno(), count * row, entry.offset + first * row)
            if len(content) != count * row:
                raise UnreadableInput(f"{visible(str(path))}: ended inside tensor {visible(entry.name, 80)!r}.")
            values = np.frombuffer(content, stored).reshape(count, *entry.shape[1:])
            if entry.dtype == "BF16":  # the upper half of a float32
                values = (values.astype("<u4") << 16).view("<f4")
            yield values

    yield tuple(
        Found(entry.name, _TYPES.get(entry.dtype, entry.dtype), "f", entry.shape, partial(blocks, entry))
        for entry in header.tensors
    )
