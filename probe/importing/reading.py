"""The tensors of a file of weights, whoever wrote it, in the precision that networks compute in."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from metaprobe.probe.inspection.tensor_files import TensorFile, TensorInfo, open_tensors
from metaprobe.probe.inspection.wrapping import PREFIX
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.cluster_format import CLUSTERS
from metaprobe.trainers.formats.tensor_names import UNTRAINED
from metaprobe.trainers.formats.text import visible

__all__ = ["Weights", "read_weights"]

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_TOLD = ("tensors under", PREFIX)


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
        name: of the file.
        tensors: by name; floats as float32.
        facts: what was done to find them, as (what, value).
        sha256: of names and values, 64 hexadecimal digits.
    """

    name: str
    tensors: dict[str, Tensor]
    facts: tuple[tuple[str, str], ...]
    sha256: str


def read_weights(path: Path | str, key: str | None = None) -> Weights:
    """Read the weights of a file of any kind that `probe.inspection.tensor_files.open_tensors` opens.

    Raises:
        UnreadableInput: it cannot be read, holds no tensors, holds kinds of numbers that no network here computes with,
            or is more than the memory takes.
    """
    with open_tensors(path, key) as file:
        if not file.tensors:
            raise UnreadableInput(f"{visible(str(path))}: it holds no tensors; give --key where the weights are in it")
        if 3 * sum(tensor.nbytes for tensor in file.tensors) > psutil.virtual_memory().total:
            raise UnreadableInput(f"{visible(str(path))}: its tensors are too much for this machine's memory")
        digest, tensors, kinds = hashlib.sha256(), dict[str, Tensor](), Counter[str]()
        for info in file.tensors:
            if info.name.startswith((CLUSTERS, UNTRAINED)) and file.checkpoint is not None:
                continue  # of our own checkpoints, the weights
            value = _tensor(file, info, path)
            digest.update(f"{info.name} {info.dtype} {info.shape}".encode() + value.contiguous().flatten().view(
                torch.uint8).numpy().tobytes())  # fmt: skip
            if value.is_floating_point() and value.dtype != torch.float32:
                kinds[info.dtype] += 1
                value = value.float()
            tensors[info.name] = value
        facts = [("file", f"{file.path.name}, {file.kind}"), *(one for one in file.metadata if one[0] in _TOLD)]
        facts += [(f"{dtype} made float32", f"{count} tensors") for dtype, count in sorted(kinds.items())]
        return Weights(file.path.name, tensors, tuple(facts), digest.hexdigest())


def _tensor(file: TensorFile, info: TensorInfo, path: Path | str) -> Tensor:
    dtype = _DTYPES.get(info.dtype)
    if dtype is None:
        told = f"{visible(info.name, 80)} is {info.dtype}; weights are floats of 16 to 64 bits"
        raise UnreadableInput(f"{visible(str(path))}: {told}, save them so (model.float().state_dict())")
    content = bytearray()
    for piece in file.pieces(info):
        content += piece
    if not content:
        return torch.empty(info.shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype).reshape(info.shape)
