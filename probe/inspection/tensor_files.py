"""Files of named tensors behind one face: our checkpoints, plain safetensors and PyTorch state dicts.

A tensor's values are only ever seen as a stream of small pieces, so that memory stays bounded whatever the file holds.
Torch is imported for `.pt` and `.pth` files alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from trainers.errors import UnreadableInput
from trainers.formats.checkpoint_format import METADATA_KEY, CheckpointMetadata, metadata_of
from trainers.formats.cluster_format import CLUSTERS, layer_of_tensor
from trainers.formats.safetensors_header import DTYPE_BITS, TensorEntry, open_regular, read_header
from trainers.formats.text import visible

__all__ = ["PIECE", "TORCH_SUFFIXES", "TensorFile", "TensorInfo", "open_tensors"]

PIECE = 1 << 19
"""Elements of one piece: 4 MiB as float64, and whole bytes for every dtype narrower than one."""

TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says about one tensor: its name, dtype (safetensors spelling), shape and size in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def layer(self) -> str:
        """The first dotted part of the name; of a cluster's tensor the first three, as `clusters.centres.conv1`."""
        return layer_of_tensor(self.name)

    @property
    def parameters(self) -> int:
        """How many numbers it holds (buffers are counted like weights: a file does not tell them apart)."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TensorFile:
    """An open file of tensors.

    Attributes:
        path: where it is. kind: "metaprobe checkpoint", "safetensors" or "PyTorch state dict". size: bytes on disk.
        tensors: what it holds, sorted by name, those of clusters last.
        checkpoint: our own metadata, or None for a file of another origin.
        metadata: everything else that is not a tensor, as (key, text).
        pieces: the values of one tensor as little-endian row-major bytes, `PIECE` elements at a time; a piece is
            valid until the next one is asked for.
        rows: those of one entry along a tensor's first axis alone, for dtypes of whole bytes; None where there is no
            such way in.
    """

    path: Path
    kind: str
    size: int
    tensors: tuple[TensorInfo, ...]
    checkpoint: CheckpointMetadata | None
    metadata: tuple[tuple[str, str], ...]
    pieces: Callable[[TensorInfo], Iterator[memoryview]]
    rows: Callable[[TensorInfo, int], Iterator[memoryview]] | None = None


@contextlib.contextmanager
def open_tensors(path: Path | str) -> Iterator[TensorFile]:
    """Open a file of tensors as safetensors; one named `.pt` or `.pth` as PyTorch's, unless its content is safetensors.

    Yields:
        The open file; its `pieces` end with the block.

    Raises:
        UnreadableInput: one line that says what is wrong; nothing of a hostile file is executed or allocated.
    """
    path = Path(path)
    with open_regular(path) as file:
        if path.suffix.lower() in TORCH_SUFFIXES and not _is_safetensors(file):
            from probe.inspection.foreign import torch_file  # imports torch, which costs seconds

            yield torch_file(file, path)
        else:
            yield _safetensors_file(file, path)


def _is_safetensors(file: BinaryIO) -> bool:
    start = file.read(9)
    file.seek(0)
    return start[8:] == b"{" and start[:2] not in (b"PK", b"\x80\x02")


def _safetensors_file(file: BinaryIO, path: Path) -> TensorFile:
    header = read_header(file, path)
    ordered = sorted(header.tensors, key=lambda entry: (entry.name.startswith(CLUSTERS), entry.name))
    entries = {entry.name: entry for entry in ordered}
    checkpoint = metadata_of(header, path)

    def pieces(tensor: TensorInfo) -> Iterator[memoryview]:
        return _read_pieces(file, path, entries[tensor.name])

    def rows(tensor: TensorInfo, row: int) -> Iterator[memoryview]:
        entry = entries[tensor.name]
        nbytes = entry.nbytes // entry.shape[0]
        return _read_pieces(file, path, replace(entry, offset=entry.offset + row * nbytes, nbytes=nbytes))

    return TensorFile(
        path=path,
        kind="safetensors" if checkpoint is None else f"metaprobe {checkpoint.kind}",
        size=header.file_size,
        tensors=tuple(TensorInfo(entry.name, entry.dtype, entry.shape, entry.nbytes) for entry in entries.values()),
        checkpoint=checkpoint,
        metadata=tuple((key, text) for key, text in header.metadata if key != METADATA_KEY),
        pieces=pieces,
        rows=rows,
    )


def _read_pieces(file: BinaryIO, path: Path, entry: TensorEntry) -> Iterator[memoryview]:
    # Reads instead of a memory map: a file that shrinks meanwhile is then an error here, not a SIGBUS.
    size = PIECE * DTYPE_BITS[entry.dtype] // 8
    buffer = memoryview(bytearray(min(size, entry.nbytes)))
    for start in range(0, entry.nbytes, size):
        piece = buffer[: min(size, entry.nbytes - start)]
        try:
            file.seek(entry.offset + start)
            got = file.readinto(piece)  # type: ignore[attr-defined]  # open_regular's BufferedReader has it
        except OSError as error:
            raise UnreadableInput(f"{visible(str(path))}: cannot be read: {error.strerror}.") from error
        if got != len(piece):
            raise UnreadableInput(f"{visible(str(path))}: ended inside tensor {visible(entry.name, 80)!r}.")
        yield piece
