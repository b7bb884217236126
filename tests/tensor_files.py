"""Files of tensors for the tests: checkpoints, and safetensors files with whatever header a test wants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from metaprobe.trainers.formats.checkpoint_format import (
    METADATA_KEY,
    CheckpointMetadata,
    metadata_json,
    tensor_fingerprint,
)

DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "bool": "BOOL", "uint8": "U8"}


def write_checkpoint(path: Path, tensors: Mapping[str, np.ndarray], **changed: Any) -> Path:
    """Write a checkpoint of ours; `changed` replaces parts of its metadata."""
    fingerprint = tensor_fingerprint((k, DTYPES[v.dtype.name], v.shape, v.tobytes()) for k, v in tensors.items())
    parts: dict[str, Any] = {
        "kind": "checkpoint",
        "fingerprint": fingerprint,
        "iteration": 100,
        "config": {"algorithm": "maml", "inner_lr": 0.1, "network": {"filters": 64}},
        "network": {"name": "conv4"},
        "adaptation": {"layers": ["conv1", "head"], "steps": 5},
        "metrics": {"accuracy": 97.5},
        "provenance": {"version": "0.1", "seed": 3},
    }
    metadata = CheckpointMetadata(**(parts | changed))
    save_file(dict(tensors), path, {METADATA_KEY: metadata_json(metadata)})
    return path


def write_raw(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    """Write a safetensors file by hand: `header` is bytes, or an object to write as JSON; `length` may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str = "F32", shape: object = (1,), start: int = 0, end: int = 4) -> dict[str, object]:
    """One tensor's entry in a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
