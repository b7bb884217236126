"""PyTorch `state_dict` files, read without ever unpickling an object that is not a tensor or a plain value.

Before torch sees the file its pickle is *listed*, not run: a name outside torch's own building blocks ends it there.
Then `torch.load(weights_only=True)`, whose own list decides, and which is never retried without.
"""

from __future__ import annotations

import argparse
import functools
import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from metaprobe.probe.inspection.finding import SHORT, choose, is_tensor, leaves
from metaprobe.probe.inspection.pickle_listing import PICKLE_LIMIT, RefusedError, list_pickle
from metaprobe.probe.inspection.tensor_files import PIECE, TensorFile, TensorInfo
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import guess_kind
from metaprobe.trainers.formats.text import visible

if TYPE_CHECKING:
    import torch

__all__ = ["torch_file"]

_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the number that opens files from before torch 1.6
_PLAIN_CLASSES: list[Any] = [argparse.Namespace]  # of the standard library, and no more than a dictionary
_ZIP_DAMAGE = (
    *(zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError),
    *(struct.error, LookupError, OverflowError),
)
_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip


def torch_file(file: BinaryIO, path: Path, wanted: str | None = None) -> TensorFile:
    """Read a file of `torch.save`, zip or older, that holds tensors in nested dicts, lists and tuples.

    Where exactly one of the usual wrappers (`state_dict`, `model`, …) holds tensors, or what is under the key `wanted`
    does, they are the file's, named without the wrapper; the wrapper is the metadata `tensors under`, and tensors
    beside it (an optimiser's) are metadata too.

    Raises:
        UnreadableInput: when it is damaged, larger inside than outside, or holds anything but tensors and plain values.
    """
    try:
        _check_before_loading(file)
        key, weights, beside = choose(_load(file, path), wanted)
        found = leaves(weights)
        tensors = {name: value for name, value in found if is_tensor(value)}
        size = file.seek(0, io.SEEK_END)
        infos = tuple(_info(name, tensor, size) for name, tensor in sorted(tensors.items()))
        plain = [(name, value) for name, value in found if name not in tensors] + (leaves(beside) if beside else [])
    except RefusedError as error:
        raise UnreadableInput(f"{visible(str(path))}: not a readable PyTorch file: {error}.") from None
    checked = functools.cache(lambda: _check_sums(file, path))  # reads the whole file: for values, not for shapes
    return TensorFile(
        path=path,
        kind="PyTorch state dict",
        size=size,
        tensors=infos,
        checkpoint=None,
        metadata=((("tensors under", key),) if key else ()) + tuple((name, _describe(value)) for name, value in plain),
        pieces=lambda info: _pieces(tensors[info.name], checked),
    )


def _check_before_loading(file: BinaryIO) -> None:
    start = file.read(64)
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if not start:
        raise RefusedError("it is empty")
    if start.startswith(b"PK\x03\x04"):
        list_pickle(io.BytesIO(_zip_pickle(file, size)))
    elif start[:1] == b"\x80" and _LEGACY_MAGIC in start:
        head = io.BytesIO(file.read(PICKLE_LIMIT))
        for _ in range(5):  # the magic number, a version, the system, the content, the storages' keys
            list_pickle(head)
    elif start[:1] == b"\x80":
        raise RefusedError("it is a Python pickle that torch.save did not write, and nothing here is unpickled")
    else:
        kind = guess_kind(start[:16])
        told = f"looks like {kind}" if kind else "is neither a zip archive nor an older torch file"
        raise RefusedError(f"it {told}; name a checkpoint, a run's folder or a file of torch.save")


def _zip_pickle(file: BinaryIO, size: int) -> bytes:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            inside = sum(member.file_size for member in members)
            if inside > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise RefusedError(
                    f"a file of {size:,} bytes that is compressed or claims {inside:,} inside: not torch.save's"
                )
            pickles = [member for member in members if member.filename.rpartition("/")[2] == "data.pkl"]
            if len(pickles) != 1 or len({member.filename for member in members}) != len(members):
                raise RefusedError(
                    "a zip archive without exactly one data.pkl is not a file of torch.save; weights are saved by "
                    "torch.save(network.state_dict(), FILE), and arrays (.npz) are for `metaprobe similarity`"
                )
            if pickles[0].file_size > PICKLE_LIMIT:
                raise RefusedError(f"its data.pkl has {pickles[0].file_size:,} bytes, more than {PICKLE_LIMIT:,}")
            if not any(member.CRC for member in members):
                raise RefusedError(
                    "it was saved without checksums (torch.serialization.set_crc32_options), so that damage would not "
                    "be seen; save it with them"
                )
            return archive.read(pickles[0])
    except _ZIP_DAMAGE as error:
        raise RefusedError(f"its zip archive is damaged or truncated ({visible(str(error), 80)})") from None


def _check_sums(file: BinaryIO, path: Path) -> None:
    """Compare every member of a zip archive with its CRC, at which torch never looks; older files have none."""
    try:
        file.seek(0)
        if file.read(2) != b"PK":
            return
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except _ZIP_DAMAGE as error:
        damaged = str(error)
    if damaged is not None:
        name = visible(damaged, 80)
        raise UnreadableInput(f"{visible(str(path))}: its content does not fit its checksums ({name}); it is damaged.")


def _load(file: BinaryIO, path: Path) -> object:
    import torch

    file.seek(0)
    is_zip = file.read(2) == b"PK"
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to whoever saved the file (sparse tensors, old storages)
            with torch.serialization.safe_globals(_PLAIN_CLASSES):
                if is_zip and path.suffix != ".safetensors":  # which torch would take for what it is called
                    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises of every kind on damaged bytes
        reason = " ".join(str(error).split())
        marker = reason.find("WeightsUnpickler error: ")
        if marker >= 0:
            reason = visible(reason[marker + 24 :], 100)
            raise RefusedError(f"torch's safe loading refuses it ({reason}); nothing was executed") from None
        raise RefusedError(f"torch cannot load it ({visible(reason, 120)})") from None


def _describe(value: object) -> str:
    if is_tensor(value):
        tensor: Any = value
        return f"tensor {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    return SHORT.repr(value)


def _info(name: str, tensor: torch.Tensor, file_size: int) -> TensorInfo:
    import torch

    shown = visible(name, 80)
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        kind = "quantised" if tensor.is_quantized else f"{tensor.layout} on {tensor.device}"
        raise RefusedError(f"tensor {shown!r} is {kind}, which is not read here; save it dense")
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise RefusedError(
            f"tensor {shown!r} claims {size:,} bytes, the file holds {tensor.untyped_storage().nbytes():,} for it "
            "(an expanded tensor? save a .clone())"
        )
    if tensor.untyped_storage().nbytes() > file_size:  # a storage made by its size alone, 64 GiB from 300 bytes
        raise RefusedError(
            f"tensor {shown!r} lies in {tensor.untyped_storage().nbytes():,} bytes, more than the file's {file_size:,}"
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorInfo(name, _DTYPES.get(dtype, dtype.upper()), tuple(tensor.shape), size)


def _pieces(tensor: torch.Tensor, checked: Callable[[], None]) -> Iterator[memoryview]:
    import torch

    checked()
    flat = (
        tensor.detach().resolve_conj().resolve_neg().reshape(-1)
    )  # at most one tensor's copy, if it is not contiguous
    for start in range(0, flat.numel(), PIECE):
        yield flat[start : start + PIECE].view(torch.uint8).numpy().data
