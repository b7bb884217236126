"""TOML from strangers: of a bounded size and depth, with reasons that fit on one line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import read_regular
from metaprobe.trainers.formats.strict_json import no_deeper

__all__ = ["read_toml"]

_LIMIT = 1 << 14  # bytes; a run's own files have a few hundred, and dotted keys take the square of theirs
_DEPTH = 16


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UnreadableInput: it is missing, no file, too large, not TOML, or nested without measure.
    """
    try:
        values = tomllib.loads(read_regular(path, _LIMIT).decode("utf-8"))
    except RecursionError:
        values = None
    except ValueError as error:  # also of numbers with thousands of digits
        raise UnreadableInput(f"{path}: not TOML: {error}") from error
    if values is None or not no_deeper(values, _DEPTH):
        raise UnreadableInput(f"{path}: it is nested more than {_DEPTH} deep")
    return values
