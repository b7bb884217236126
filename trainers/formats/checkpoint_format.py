"""What a checkpoint's file says about itself: one JSON text under one metadata key. No torch.

A checkpoint is a safetensors file whose tensors are named as the parameters, with everything else as JSON under the
single key `metaprobe`. Beside it stands `format: pt`, which other libraries ask for; nothing depends on it here, and
older files lack it. (safetensors writes several keys in a random order, so it is put there by `with_format`.)

Three hashes cover it. The `fingerprint`, whose beginning is the checkpoint's id, is of the tensors: equal weights have
one id, whoever adapts them. The `layout` is of their names, dtypes and shapes alone, and is checked whenever a header
is read, without the values. The `checksum` is of the whole JSON, the others included, and is checked with it. Format 1
had the fingerprint alone. What results depend on is `CheckpointMetadata.digest`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.safetensors_header import Header, open_regular, read_header
from metaprobe.trainers.formats.strict_json import parse_json
from metaprobe.trainers.formats.text import visible

__all__ = [
    "FORMAT_KEY",
    "FORMAT_VERSION",
    "METADATA_KEY",
    "CheckpointMetadata",
    "checked_metadata",
    "layout_of",
    "metadata_json",
    "metadata_of",
    "parse_metadata",
    "read_metadata",
    "tensor_fingerprint",
    "with_format",
]

FORMAT_VERSION = 2
METADATA_KEY = "metaprobe"
FORMAT_KEY, _PT = "format", "pt"
"""What other libraries ask of a file of torch's tensors."""


_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_OBJECTS = ("config", "network", "adaptation", "metrics", "provenance")
_DECIDING = ("kind", "iteration", "config", "network", "adaptation")  # a number
_KEYS = frozenset({"format", "kind", "fingerprint", "iteration", "checksum", *_OBJECTS})
_LOOKS_LIKE_OURS = '{"adaptation":{'  # as our JSON begins, whose keys are sorted
_OPTIONAL = frozenset({"layout"})  # a store keeps its checkpoint's metadata and no tensors


@dataclass(frozen=True)
class CheckpointMetadata:
    """A checkpoint's metadata as parsed JSON; `trainers.config` says what `config`, `network` and `adaptation` hold.

    Attributes:
        kind: what the file is: "checkpoint", or another word for a file beside it (the resume state).
        fingerprint: SHA-256 of the tensors, see `tensor_fingerprint`.
        iteration: how many outer steps made these weights, ≥ 0.
        config: the training configuration. network: of the network. adaptation: how to adapt.
        metrics: finite numbers by name.
        provenance: version, torch, numpy, python, device, threads, data fingerprint, seed.
        format: the version of the format.
        layout: SHA-256 of the tensors' names, dtypes and shapes, see `layout_of`; None where they are not beside it.
    """

    kind: str
    fingerprint: str
    iteration: int
    config: Mapping[str, Any]
    network: Mapping[str, Any]
    adaptation: Mapping[str, Any]
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]
    format: int = FORMAT_VERSION
    layout: str | None = None

    @property
    def checkpoint_id(self) -> str:
        """The first 12 hexadecimal digits of the fingerprint."""
        return self.fingerprint[:12]

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides a number: fingerprint, kind, iteration, config, network and adaptation."""
        return _sha256({name: getattr(self, name) for name in ("fingerprint", *_DECIDING)})


def metadata_json(metadata: CheckpointMetadata) -> str:
    """Return the JSON text for the metadata key, keys sorted, so that equal metadata give equal bytes.

    Raises:
        MetaprobeError: when something is not JSON (NaN and Infinity are not), or would be refused when read back.
    """
    content: dict[str, Any] = {name: getattr(metadata, name) for name in ("format", "kind", "fingerprint", "iteration")}
    content |= {key: dict(getattr(metadata, key)) for key in _OBJECTS}
    try:
        if metadata.format > 1:
            content |= {} if metadata.layout is None else {"layout": metadata.layout}
            content["checksum"] = _sha256(content)
        text = _canonical(content)
        _parse(text)
    except (TypeError, ValueError) as error:
        raise MetaprobeError(f"this metadata cannot be written into a checkpoint: {error}.") from error
    return text


def parse_metadata(text: str, path: Path | str) -> CheckpointMetadata:
    """Parse and check the JSON text of the metadata key.

    Args:
        text: the JSON.
        path: the file that it came from, for the errors.

    Raises:
        UnreadableInput: one line that names the file and the first thing that is wrong; a newer format says so.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise UnreadableInput(f"{visible(str(path))}: its {METADATA_KEY!r} metadata is damaged: {error}.") from None
    except _NewerFormatError as error:
        raise UnreadableInput(f"{visible(str(path))}: {error}.") from None


def metadata_of(header: Header, path: Path | str) -> CheckpointMetadata | None:
    """Return the checked metadata of a safetensors header, or None for a file that has none of ours.

    Raises:
        UnreadableInput: when there is a `metaprobe` key and its content is damaged, or the tensors that the header
            names are not those that it was written with.
    """
    text = dict(header.metadata).get(METADATA_KEY)
    if text is not None and dict(header.metadata).get(FORMAT_KEY, _PT) != _PT:
        raise UnreadableInput(
            f"{visible(str(path))}: its {FORMAT_KEY!r} is not {_PT}; it was changed after it was written."
        )
    ours = [key for key, value in header.metadata if _LOOKS_LIKE_OURS in value and key != METADATA_KEY]
    if ours:
        told = f"its {METADATA_KEY!r} metadata lie {'under' if text is None else 'also under'} {visible(ours[0], 60)!r}"
        raise UnreadableInput(f"{visible(str(path))}: {told}; it was changed after it was written.")
    if text is None:
        return None
    metadata = parse_metadata(text, path)
    if metadata.layout not in (None, layout_of((each.name, each.dtype, each.shape) for each in header.tensors)):
        raise UnreadableInput(
            f"{visible(str(path))}: the names, types or shapes of its tensors were changed after it was written."
        )
    return metadata


def read_metadata(path: Path | str) -> CheckpointMetadata:
    """Read only the metadata of a metaprobe checkpoint; no tensor is read.

    Raises:
        UnreadableInput: when the file is not a readable safetensors file, or holds no metadata of ours.
    """
    with open_regular(path) as file:
        return checked_metadata(read_header(file, path), path)


def checked_metadata(header: Header, path: Path | str) -> CheckpointMetadata:
    """Return the checked metadata of a safetensors header (errors as `read_metadata`)."""
    metadata = metadata_of(header, path)
    if metadata is None:
        raise UnreadableInput(
            f"{visible(str(path))}: a safetensors file without {METADATA_KEY!r} metadata, so not a checkpoint of "
            "metaprobe; `metaprobe inspect` shows it, and `metaprobe.probe.capture` takes it with your own network."
        )
    return metadata


def with_format(content: bytes) -> bytes:
    """Return a safetensors file whose metadata are ours alone with `format: pt` before them, in the sorted order.

    Raises:
        ValueError: its header does not begin with our metadata.
    """
    start, size = b'{"__metadata__":{', int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].rstrip(b" ")
    if not header.startswith(start + json.dumps(METADATA_KEY).encode() + b":"):
        raise ValueError("safetensors wrote its metadata elsewhere than at the beginning")
    header = start + f"{json.dumps(FORMAT_KEY)}:{json.dumps(_PT)},".encode() + header[len(start) :]
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def layout_of(tensors: Iterable[tuple[str, str, Sequence[int]]]) -> str:
    """Return the SHA-256 of tensors' (name, safetensors dtype, shape), in whatever order they come."""
    described = sorted([name, dtype, list(shape)] for name, dtype, shape in tensors)
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


def tensor_fingerprint(
    tensors: Iterable[tuple[str, str, Sequence[int], bytes | bytearray | memoryview | Iterable[memoryview]]],
) -> str:
    """Return the SHA-256 of named tensors as 64 hexadecimal digits; the order in which they come does not matter.

    Hashed for each tensor, sorted by name: the length of, and the JSON list [name, dtype, shape], then its bytes, whose
    number follows from dtype and shape; so different tensors cannot give the same stream.

    Args:
        tensors: (name, safetensors dtype such as "F32", shape, little-endian row-major bytes) each; the bytes are one
            object or an iterable of pieces, which is only walked when its turn comes.
    """
    digest = hashlib.sha256()
    for name, dtype, shape, content in sorted(tensors, key=lambda tensor: tensor[0]):
        head = json.dumps([name, dtype, list(shape)]).encode()
        digest.update(len(head).to_bytes(8, "little") + head)
        for piece in (content,) if isinstance(content, (bytes, bytearray, memoryview)) else content:
            digest.update(piece)
    return digest.hexdigest()


def _canonical(content: Mapping[str, Any]) -> str:
    return json.dumps(content, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=dict)


def _sha256(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(content).encode()).hexdigest()


class _NewerFormatError(Exception):
    """A file of a later version of this project."""


def _parse(text: str) -> CheckpointMetadata:
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got a {type(content).__name__}")
    version = content.get("format")
    if type(version) is not int or version < 1:
        raise ValueError(f"'format' must be a whole number from 1, got {_short(version)}")
    if version > FORMAT_VERSION:
        raise _NewerFormatError(
            f"written in checkpoint format {version}, newer than {FORMAT_VERSION}; update metaprobe"
        )
    keys = _KEYS if version > 1 else _KEYS - {"checksum"}
    if wrong := keys ^ (set(content) - (_OPTIONAL if version > 1 else set())):
        key = min(wrong)
        raise ValueError(f"{'missing' if key in keys else 'unknown'} key {visible(key, 60)!r}")
    if version > 1 and content.pop("checksum") != (found := _sha256(content)):
        raise ValueError(f"it was changed after it was written: its checksum is now {found[:12]}")
    for key in _OBJECTS:
        if not isinstance(content[key], dict):
            raise ValueError(f"{key!r} must be an object, got {_short(content[key])}")
    if not isinstance(content["kind"], str) or not content["kind"]:
        raise ValueError(f"'kind' must be a word, got {_short(content['kind'])}")
    for key in sorted({"fingerprint", *_OPTIONAL} & set(content)):
        if not isinstance(content[key], str) or not _FINGERPRINT.fullmatch(content[key]):
            raise ValueError(f"{key!r} must be 64 hexadecimal digits, got {_short(content[key])}")
    if type(content["iteration"]) is not int or content["iteration"] < 0:
        raise ValueError(f"'iteration' must be a whole number from 0, got {_short(content['iteration'])}")
    for name, value in content["metrics"].items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ValueError(f"metric {visible(name, 60)!r} must be a number, got {_short(value)}")
    return CheckpointMetadata(**content)


def _short(value: object) -> str:
    return visible(json.dumps(value), 60)
