"""Tables measured on a run, kept as CSV in its `measured/`, and measured again only when something changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import torch

from analyses.table import COLUMNS, Table
from trainers.checkpoint import load_checkpoint
from trainers.files import sha256_of, write_text
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["kept_key", "measured", "read_note"]


def measured(folder: RunFolder, name: str, key: dict[str, Any], measure: Callable[[], Table]) -> Table:
    """Return a table of a run: the one kept under the same key, or measured now and kept.

    It lies in `measured/`, apart from the `tables/` of a report that is written into the run's folder.

    Args:
        folder: the run.
        name: of the table; names its file.
        key: what the table depends on; see `kept_key`.
        measure: makes it.
    """
    path = folder.path / "measured" / f"{name}.csv"
    told = read_note(folder, name)
    if told and path.is_file() and told == key | {"sha256": sha256_of(path)}:
        return Table.read_csv(path)
    table = measure()
    table.write_csv(path)
    told = key | {"sha256": sha256_of(path)}
    write_text(path.with_suffix(".json"), json.dumps(told, indent=1, sort_keys=True) + "\n")
    return table


def read_note(folder: RunFolder, name: str) -> dict[str, Any] | None:
    """Return what the note beside a table says; one that cannot be read vouches for nothing."""
    path = folder.path / "measured" / f"{name}.json"
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def kept_key(folder: RunFolder, imageset: ImageSet, checkpoints: Sequence[str], **choices: object) -> dict[str, Any]:
    """Return what a table depends on: checkpoints of the run, images, versions, choices; as it comes back from JSON."""
    parts = {
        "checkpoints": {name: load_checkpoint(folder.checkpoint(name)).fingerprint for name in checkpoints},
        "columns": COLUMNS,
        "data": imageset.fingerprint,
        "versions": {"metaprobe": version("metaprobe"), "torch": torch.__version__},
    }
    return json.loads(json.dumps(parts | choices))
