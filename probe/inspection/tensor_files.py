"""Files of named tensors behind one face: our checkpoints, plain safetensors and PyTorch state dicts.

A tensor's values are only ever seen as a stream of small pieces, so that memory stays bounded whatever the file holds.
What a file is shows in its first bytes, whatever it is called; torch is imported for PyTorch's alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from metaprobe.probe.inspection.wrapping import PREFIX, is_buffer, prefixes_of
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import FORMAT_KEY, METADATA_KEY, CheckpointMetadata, metadata_of
from metaprobe.trainers.formats.cluster_format import CLUSTERS, layer_of_tensor
from metaprobe.trainers.formats.safetensors_header import DTYPE_BITS, TensorEntry, open_regular, read_header
from metaprobe.trainers.formats.tensor_names import BESIDE, UNTRAINED, is_statistic
from metaprobe.trainers.formats.text import visible

__all__ = ["INDEX", "PIECE", "TORCH_SUFFIXES", "TensorFile", "TensorInfo", "open_tensors"]

PIECE = 1 << 19
"""Elements of one piece: 4 MiB as float64, and whole bytes for every dtype narrower than one."""

TORCH_SUFFIXES = (".pt", ".pth")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a file says about one tensor: its name, dtype (safetensors spelling), shape, size in bytes; no parameter?"""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    constant: bool = False

    @property
    def layer(self) -> str:
        """The first dotted part of the name; of a cluster's tensor the first three, as `clusters.centres.conv1`."""
        return layer_of_tensor(self.name)

    @property
    def parameters(self) -> int:
        """How many numbers of a network's weights it holds: none of a buffer, a rule's, or from before training."""
        if self.constant or self.name.startswith((UNTRAINED, *BESIDE)) or is_buffer(self.name, self.dtype):
            return 0
        return math.prod(self.shape)

    @property
    def buffers(self) -> int:
        """How many numbers it holds that are no parameters, and the network's all the same."""
        return 0 if self.parameters or self.name.startswith((UNTRAINED, *BESIDE)) else math.prod(self.shape)

    @property
    def learned(self) -> int:
        """How many numbers it holds that are learned beside the network: an update rule's, a modulation's."""
        return math.prod(self.shape) if self.name.startswith(BESIDE) and not is_statistic(self.name) else 0

    @property
    def statistics(self) -> int:
        """How many numbers it holds of running statistics, which norms have for each inner step."""
        return math.prod(self.shape) if is_statistic(self.name) else 0


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
def open_tensors(path: Path | str, key: str | None = None, wrapped: bool = False) -> Iterator[TensorFile]:
    """Open a file of tensors as what its content says it is, or a folder of one: a run's, or shards with their index.

    What wrappers have put before all names of a foreign file (`module.`, `_orig_mod.` …) is taken off, and told in its
    metadata.

    Args:
        path: the file or folder.
        key: where in a PyTorch file the weights are, dotted (default: under a usual key, else everything).
        wrapped: whether what wrappers have put before all names stays.

    Yields:
        The open file; its `pieces` end with the block.

    Raises:
        UnreadableInput: one line that says what is wrong; nothing of a hostile file is executed or allocated.
    """
    path = Path(path)
    with contextlib.ExitStack() as stack:
        if path.is_dir() or path.name.endswith(INDEX):
            from metaprobe.probe.inspection.folders import open_folder

            file = stack.enter_context(open_folder(path, key))
        else:
            file = _opened(stack.enter_context(open_regular(path)), path, key)
        yield file if wrapped else _unwrapped(file)


INDEX = ".index.json"
"""How the names of the indices of weights in several files end."""


def _opened(file: BinaryIO, path: Path, key: str | None) -> TensorFile:
    start = file.read(16)
    file.seek(0)
    # The ninth byte of safetensors opens their JSON; of a zip archive it would be a compression that there is not, and
    # of torch's older files it is a part of a number.
    torchs = start.startswith((b"PK\x03\x04", b"\x80")) or (path.suffix.lower() in TORCH_SUFFIXES and len(start) < 10)
    if start[8:9] != b"{" and (torchs or (path.suffix.lower() in TORCH_SUFFIXES and not start.startswith(b"\x89HDF"))):
        from metaprobe.probe.inspection.foreign import torch_file  # imports torch, which costs seconds

        return torch_file(file, path, key)
    if key is not None:
        raise UnreadableInput(
            f"{visible(str(path))}: --key is for files of torch.save; safetensors hold tensors alone."
        )
    return _safetensors_file(file, path)


def _unwrapped(file: TensorFile) -> TensorFile:
    """Return a file of another origin without what wrappers put before all its names."""
    prefix = "" if file.checkpoint is not None else prefixes_of(tensor.name for tensor in file.tensors)
    if not prefix:
        return file
    rows = file.rows
    return replace(
        file,
        tensors=tuple(replace(tensor, name=tensor.name.removeprefix(prefix)) for tensor in file.tensors),
        metadata=((PREFIX, visible(prefix, 60)), *file.metadata),
        pieces=lambda tensor: file.pieces(replace(tensor, name=prefix + tensor.name)),
        rows=rows and (lambda tensor, row: rows(replace(tensor, name=prefix + tensor.name), row)),
    )


def _safetensors_file(file: BinaryIO, path: Path) -> TensorFile:
    header = read_header(file, path)
    ordered = sorted(header.tensors, key=lambda entry: (entry.name.startswith(CLUSTERS), entry.name))
    entries = {entry.name: entry for entry in ordered}
    checkpoint = metadata_of(header, path)
    own = () if checkpoint is None else (METADATA_KEY, FORMAT_KEY)  # older files of ours have no format: no difference
    named = None if checkpoint is None else checkpoint.network.get("constants")
    constants = {name for name in named if isinstance(name, str)} if isinstance(named, list) else set()

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
        tensors=tuple(
            TensorInfo(entry.name, entry.dtype, entry.shape, entry.nbytes, entry.name in constants)
            for entry in entries.values()
        ),
        checkpoint=checkpoint,
        metadata=tuple((key, text) for key, text in header.metadata if key not in own),
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
