"""The head of a safetensors file, read and checked without reading or allocating a byte of its tensors. No torch.

The format: eight bytes, little-endian, say how long the header is; the header is one JSON object of tensor names with
their dtype, shape and place; the tensors' bytes follow, without holes. https://huggingface.co/docs/safetensors
The library's own reader gives its reasons as Rust debug text and lets some files through that are told apart here
(duplicate names, control over the size of what is parsed), so the header is read by hand.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.text import visible

__all__ = ["DTYPE_BITS", "Header", "TensorEntry", "guess_kind", "open_regular", "read_header", "read_regular"]

DTYPE_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip
"""Bits of one element of every dtype that a safetensors file may name."""

_HEADER_LIMIT = 16 << 20  # about 150,000 tensors; a header takes 20 to 50 times its size as Python objects
_RANK_LIMIT = 64  # numpy's and torch's own
_SIZE_LIMIT = 2**63  # a size that does not fit int64 cannot be an array's
_MAGIC = {
    b"\x89PNG": "a PNG image",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (`metaprobe inspect` and `metaprobe similarity` read activation stores)",
    b"PK\x03\x04": "a zip archive, as torch.save writes it (`metaprobe inspect` shows one, `metaprobe import` makes a "
    "checkpoint of its weights)",
    b"\x80\x02": "a Python pickle, which is never unpickled here",
    b"\x80\x03": "a Python pickle, which is never unpickled here",
    b"\x80\x04": "a Python pickle, which is never unpickled here",
    b"\x80\x05": "a Python pickle, which is never unpickled here",
    b"\x1f\x8b": "a gzip archive",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x93NUMPY": "a NumPy array (.npy), which `metaprobe similarity` compares with others",
    b"\x7fELF": "a program",
    b"version https://": "a Git LFS pointer, not the file itself (`git lfs pull` gets it)",
}


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: name, safetensors dtype, shape, and its first byte and length in the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A checked header: tensors in the order of their bytes, the `__metadata__` strings, the file's size in bytes."""

    tensors: tuple[TensorEntry, ...]
    metadata: tuple[tuple[str, str], ...]
    file_size: int


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading; a folder, pipe or device is refused at once, without waiting on it.

    Raises:
        UnreadableInput: when there is no such file, it may not be read, or it is not a regular file.
    """
    shown = visible(str(path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableInput(f"{shown}: cannot be opened: {reason}.") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise UnreadableInput(f"{shown}: expected a file, got {kind}.")
    file = os.fdopen(descriptor, "rb")
    try:
        file.peek(1)  # what /proc has instead of files may be opened and not read
    except OSError as error:
        file.close()
        raise UnreadableInput(f"{shown}: cannot be read: {error.strerror}.") from error
    return file


def read_regular(path: Path | str, most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes (errors as `open_regular`)."""
    shown = visible(str(path))
    with open_regular(path) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:  # as of what /proc has instead of files
            raise UnreadableInput(f"{shown}: cannot be read: {error.strerror}.") from error
    if len(content) > most:
        raise UnreadableInput(f"{shown}: it has more than {most:,} bytes.")
    return content


def read_header(file: BinaryIO, path: Path | str) -> Header:
    """Read and check the header of an open safetensors file.

    Args:
        file: the file, opened for reading (see `open_regular`); its position is moved.
        path: its name, for the errors.

    Raises:
        UnreadableInput: one line that names the file and what is wrong with it.
    """
    try:
        return _read(file)
    except _DamageError as error:
        raise UnreadableInput(f"{visible(str(path))}: not a readable safetensors file: {error}.") from None
    except OSError as error:
        raise UnreadableInput(f"{visible(str(path))}: cannot be read: {error.strerror}.") from error


def guess_kind(start: bytes) -> str:
    """Say in words what a file that starts with these bytes seems to be; "" when nothing is recognised."""
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    return "a text file" if start and all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in start) else ""


class _DamageError(Exception):
    """What is wrong with a header."""


def _read(file: BinaryIO) -> Header:
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    start = file.read(16)
    if not start:
        raise _DamageError("it is empty")
    length = int.from_bytes(start[:8], "little")
    if len(start) < 10 or length > size - 8 or start[8:9] != b"{":
        if kind := guess_kind(start):
            raise _DamageError(f"it looks like {kind}; name a checkpoint, or the folder of a run")
        if len(start) < 10:
            raise _DamageError(f"it has {size} bytes, fewer than any header")
        if start[8:9] == b"{":
            raise _DamageError(f"it is truncated, or lies: the header claims {length:,} bytes, the file has {size:,}")
        raise _DamageError("it does not start with a header length and a JSON object")
    if length > _HEADER_LIMIT:
        raise _DamageError(f"the header claims {length:,} bytes, more than the limit of {_HEADER_LIMIT:,}")
    file.seek(8)
    try:
        content = parse_json(file.read(length).decode("utf-8"), depth=3)
    except UnicodeDecodeError as error:
        raise _DamageError(f"the header is not UTF-8 (byte {error.start})") from None
    except ValueError as error:
        raise _DamageError(f"header: {error}") from None
    if not isinstance(content, dict):
        raise _DamageError("the header is not a JSON object")
    metadata = _metadata(content.pop("__metadata__", {}))
    entries = [_entry(name, value, 8 + length) for name, value in content.items()]
    entries.sort(key=lambda entry: (entry.offset, entry.nbytes))
    _check_places(entries, 8 + length, size)
    return Header(tuple(entries), metadata, size)


def _metadata(value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise _DamageError(f"__metadata__ must map strings to strings, got a {type(value).__name__}")
    for key, text in value.items():
        if not isinstance(text, str):
            raise _DamageError(f"__metadata__ {visible(key, 60)!r} must be a string, got a {type(text).__name__}")
    return tuple(sorted(value.items()))


def _entry(name: str, value: object, data: int) -> TensorEntry:
    where = f"tensor {visible(name, 80)!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise _DamageError(f"{where} must have exactly dtype, shape and data_offsets")
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _DamageError(f"{where} has the unknown dtype {visible(str(dtype), 40)!r}")
    if not _sizes(shape) or len(shape) > _RANK_LIMIT:
        raise _DamageError(
            f"{where} has an impossible shape {visible(str(shape), 60)}: expected at most {_RANK_LIMIT} sizes, "
            "each from 0 to 2^63-1"
        )
    if not _sizes(place) or len(place) != 2 or place[0] > place[1]:
        raise _DamageError(f"{where} has impossible offsets {visible(str(place), 60)}")
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits % 8 or bits // 8 != place[1] - place[0]:
        raise _DamageError(
            f"{where}, {dtype} {visible(str(shape), 60)}, needs {-(-bits // 8):,} bytes, its offsets give "
            f"{place[1] - place[0]:,}"
        )
    return TensorEntry(name, dtype, tuple(shape), data + place[0], place[1] - place[0])


def _sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < _SIZE_LIMIT for size in value)


def _check_places(entries: Sequence[TensorEntry], start: int, size: int) -> None:
    end = start
    for entry in entries:
        if entry.offset != end:
            fault = "overlaps the one before it" if entry.offset < end else "leaves a hole before it"
            raise _DamageError(f"tensor {visible(entry.name, 80)!r} {fault}")
        end += entry.nbytes
    if end > size:
        raise _DamageError(f"it is truncated, or lies: the header describes {end:,} bytes, the file has {size:,}")
    if end < size:
        raise _DamageError(f"{size - end:,} bytes follow the last tensor")
