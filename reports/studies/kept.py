"""Tables measured in a study, kept as CSV in a folder's `measured/`, and measured again only when an input changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from analyses.table import COLUMNS, Table
from trainers.checkpoint import load_checkpoint
from trainers.errors import UnreadableInput
from trainers.files import sha256_of, write_text
from trainers.tasks.imageset import ImageSet

__all__ = ["kept_table", "key_of", "measured", "note_file", "read_note", "write_note"]


def measured(place: Path, name: str, key: dict[str, Any], measure: Callable[[], Table]) -> Table:
    """Return a table: the one kept under the same key, or measured now and kept.

    It lies in `measured/`, apart from the `tables/` of a report that is written into the same folder.

    Args:
        place: the folder, of a run as a rule.
        name: of the table; names its file.
        key: what the table depends on; see `key_of`.
        measure: makes it.
    """
    found = kept_table(place, name, key)
    if found is not None:
        return found
    table = measure()
    path = note_file(place, name).with_suffix(".csv")
    table.write_csv(path)
    write_note(place, name, key | {"sha256": sha256_of(path)})
    return table


def kept_table(place: Path, name: str, key: dict[str, Any]) -> Table | None:
    """Return the table that is kept under a key; None where there is none, or its file is not the one written then."""
    path = note_file(place, name).with_suffix(".csv")
    told = read_note(place, name)
    if told and path.is_file() and told == key | {"sha256": sha256_of(path)}:
        return Table.read_csv(path)
    return None


def note_file(place: Path, name: str) -> Path:
    """Return where the note lies that says what a table, or a store, was made from."""
    return place / "measured" / f"{name}.json"


def read_note(place: Path, name: str) -> dict[str, Any] | None:
    """Return what the note beside a table says; one that cannot be read vouches for nothing."""
    try:
        note = json.loads(note_file(place, name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def write_note(place: Path, name: str, note: dict[str, Any]) -> None:
    """Write the note that says what a table, or a store, was made from."""
    write_text(note_file(place, name), json.dumps(note, indent=1, sort_keys=True) + "\n")


def key_of(inputs: Iterable[Path], imageset: ImageSet, **choices: object) -> dict[str, Any]:
    """Return what a table depends on: hashes of its inputs, images, versions, choices; as it comes back from JSON.

    Args:
        inputs: checkpoints (by the hash of their weights) and stores (by that of the file).
        imageset: the data.
        choices: all else.

    Raises:
        UnreadableInput: an input is missing or damaged; the message names it.
    """
    parts = {
        "inputs": {"/".join(path.parts[-3:]): _hash(path) for path in inputs},
        "columns": COLUMNS,
        "data": imageset.fingerprint,
        "versions": {"metaprobe": version("metaprobe"), "torch": torch.__version__},
    }
    return json.loads(json.dumps(parts | choices))


def _hash(path: Path) -> str:
    if path.suffix == ".h5":
        if not path.is_file():
            raise UnreadableInput(f"{path}: this activation store is missing")
        return sha256_of(path)
    return load_checkpoint(path).fingerprint
