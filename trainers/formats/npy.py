"""NumPy's own files, .npy and .npz, without `numpy.load`: headers are checked, arrays mapped or streamed."""

from __future__ import annotations

import contextlib
import math
import os
import tokenize
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.text import visible

__all__ = ["Found", "read_npy", "read_npz"]

_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, OverflowError)


@dataclass(frozen=True)
class Found:
    """An array in a file, before it is known what it is good for.

    Attributes:
        name: in the file.
        dtype: by its name. kind: numpy's letter for it.
        shape: of the array.
        blocks: (rows of a block) → the array in order.
        nbytes: of all of it.
    """

    name: str
    dtype: str
    kind: str
    shape: tuple[int, ...]
    blocks: Callable[[int], Iterator[np.ndarray]]
    nbytes: int = 0


@contextlib.contextmanager
def read_npy(file: BinaryIO, path: Path) -> Iterator[tuple[Found, ...]]:
    """Map a .npy array into memory.

    Raises:
        UnreadableInput: it is damaged, holds objects, or is larger or smaller than it says.
    """
    shown, size = visible(str(path)), os.fstat(file.fileno()).st_size
    file.seek(0)
    shape, fortran, dtype = _header(file, shown)
    if (claimed := math.prod(shape) * dtype.itemsize) != size - file.tell():
        told = f"its header claims {claimed:,} bytes of an array, {size - file.tell():,} follow it"
        raise UnreadableInput(f"{shown}: damaged, cut short, or several arrays in one file: {told}.")
    offset = file.tell()

    def blocks(rows: int) -> Iterator[np.ndarray]:
        order = "F" if fortran else "C"
        mapped = np.memmap(path, dtype, "r", offset, shape, order) if claimed else np.empty(shape, dtype)
        for first in range(0, shape[0], rows):
            yield mapped[first : first + rows]

    yield (Found(path.stem, dtype.name, dtype.kind, shape, blocks, claimed),)


@contextlib.contextmanager
def read_npz(file: BinaryIO, path: Path) -> Iterator[tuple[Found, ...]]:
    """Open the arrays of a .npz file, compressed or not; each is streamed.

    Raises:
        UnreadableInput: it is damaged, holds no array or objects, or a member is larger or smaller than it says.
    """
    shown = visible(str(path))
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            if not members:
                told = "a zip archive without .npy arrays (torch.save writes such); numpy.savez writes the other kind"
                raise UnreadableInput(f"{shown}: {told}.")
            yield tuple(_member(archive, member, shown) for member in members)
    except _DAMAGE as error:
        raise UnreadableInput(f"{shown}: a damaged .npz file: {visible(str(error), 200)}.") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str) -> Found:
    name = member.filename.removesuffix(".npy")
    where = f"{shown}: {visible(name, 80)}"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableInput(f"{where}: compressed in another way than numpy does.")
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(stream, where)
        claimed, there = math.prod(shape) * dtype.itemsize, member.file_size - stream.tell()
    if claimed != there:
        raise UnreadableInput(f"{where}: its header claims {claimed:,} bytes of an array, {there:,} follow it.")
    if fortran and len(shape) > 1:
        raise UnreadableInput(f"{where}: stored column by column; save numpy.ascontiguousarray(array) to stream it.")
    return Found(name, dtype.name, dtype.kind, shape, partial(_stream, archive, member, where), claimed)


def _stream(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str, rows: int) -> Iterator[np.ndarray]:
    with archive.open(member) as stream:
        shape, _, dtype = _header(stream, where)
        row = math.prod(shape[1:]) * dtype.itemsize
        for first in range(0, shape[0], rows):
            count = min(rows, shape[0] - first)
            try:
                content = stream.read(count * row)
            except _DAMAGE as error:
                raise UnreadableInput(f"{where}: damaged: {visible(str(error), 200)}.") from error
            if len(content) != count * row:
                raise UnreadableInput(f"{where}: ended within the array.")
            yield np.frombuffer(content, dtype).reshape(count, *shape[1:])


def _header(stream: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array; the stream then stands at its first entry."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of headers that Python 2 wrote
            version = npy_format.read_magic(stream)
            read = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}.get(version)
            if read is None:
                raise ValueError(f"version {version} of the format, which is for records alone")
            shape, fortran, dtype = read(stream)
    except (*_DAMAGE, UserWarning, SyntaxError, TypeError, tokenize.TokenError) as error:
        reason = visible(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise UnreadableInput(f"{where}: not a readable NumPy array: {reason}.") from error
    if dtype.hasobject:
        raise UnreadableInput(f"{where}: holds Python objects, which would have to be unpickled; save numbers.")
    if dtype.names is not None or dtype.subdtype is not None:
        raise UnreadableInput(f"{where}: holds records; save one array a field.")
    if any(size < 0 for size in shape) or not dtype.itemsize:
        raise UnreadableInput(f"{where}: not a readable NumPy array: shape {shape} of {dtype}.")
    return shape, fortran, dtype
