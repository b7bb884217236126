"""Arguments and output that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from probe.show import Grid, as_json, show, write_line

if TYPE_CHECKING:
    from analyses.table import Table
    from trainers.tasks import ImageSet

__all__ = [
    "CheckpointPath",
    "CheckpointPaths",
    "DataRoot",
    "Flag",
    "Json",
    "comma_separated",
    "load_data",
    "show_table",
]

Flag = tyro.conf.FlagCreatePairsOff[bool]
CheckpointPath = Annotated[
    tyro.conf.Positional[Path], tyro.conf.arg(metavar="CHECKPOINT", help="A checkpoint, *.safetensors.")
]
CheckpointPaths = Annotated[
    tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="CHECKPOINT…", help="Checkpoints, *.safetensors.")
]
DataRoot = Annotated[
    Path | None,
    tyro.conf.arg(metavar="FOLDER", help="Folder of the data sets (default: the environment's METAPROBE_DATA)."),
]
Json = Annotated[Flag, tyro.conf.arg(name="json", help="Write JSON instead of a table.")]


def comma_separated(text: str) -> tuple[str, ...]:
    """Return the words of "conv1,conv2"; none for an empty text."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def load_data(data: str, data_root: Path | None, image_size: int | None = None, download: bool = False) -> ImageSet:
    """Return the image set that a command's `--data` names."""
    from trainers.tasks import load_imageset

    return load_imageset(data, data_root, image_size, download=download)


def show_table(table: Table, title: str, json_wanted: bool) -> None:
    """Write a result table: for people on a terminal, as TSV in a pipe, as JSON when asked for."""
    columns = table.used_columns()
    if json_wanted:
        write_line(as_json([{name: getattr(row, name) for name in columns} for row in table.rows]))
        return
    rows = tuple(tuple(getattr(row, name) for name in columns) for row in table.rows)
    show((Grid(title, columns, rows),))
