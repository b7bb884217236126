r"""Tables for people, pipes and programs: a rich table on a terminal, TSV in a pipe, JSON when asked for.

Text from files is data: nothing in it reaches the terminal as an escape sequence, a line break or rich markup.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TextIO

from metaprobe.trainers.formats.text import visible

__all__ = ["Cell", "Grid", "as_json", "show", "write_line"]

Cell = str | int | float | bool | None | tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """A table: its title, the names of its columns, and rows of as many cells. An empty cell is None.

    On a terminal only: `facts` are (name, value) pairs that hold for all rows, written in a line above them, `notes`
    sentences below them, and the cells of `unbroken` columns are broken over lines last.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    facts: tuple[tuple[str, Cell], ...] = ()
    unbroken: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def show(grids: Sequence[Grid], stream: TextIO | None = None) -> None:
    """Write tables: as rich tables where `stream` is a terminal, else as TSV, untruncated.

    TSV: a line of column names, then the rows; numbers in full; True and False as 1 and 0, None as nothing. Where there
    is more than one table each follows a line "# title", and an empty line parts them.

    Args:
        grids: the tables. Those without rows are left out when there are others.
        stream: where to; standard output by default, and nowhere if that is closed.
    """
    out = stream or sys.stdout
    if out is None:
        return
    shown = [grid for grid in grids if grid.rows] or list(grids[:1])
    for number, grid in enumerate(shown):
        if out.isatty():
            _rich(grid, out)
            continue
        if len(shown) > 1:
            write_line(("\n" if number else "") + f"# {visible(grid.title)}", out)
        for row in (grid.columns, *grid.rows):
            write_line("\t".join(_plain(cell) for cell in row), out)


def as_json(value: object) -> str:
    """Return dataclasses, mappings, sequences, paths and plain values as valid JSON, indented, ASCII only.

    NaN and the infinities, which JSON lacks, become the strings "NaN", "Infinity" and "-Infinity".
    """
    return json.dumps(_jsonable(value), indent=2, allow_nan=False)


def write_line(line: str, stream: TextIO | None = None) -> None:
    """Write a line; a character that the stream's encoding lacks is written as an escape instead of failing."""
    out = stream or sys.stdout
    if out is None:  # closed before the process began
        return
    encoding = getattr(out, "encoding", None) or "utf-8"
    out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _rich(grid: Grid, stream: TextIO) -> None:
    from rich.console import Console  # 60 ms, which a pipe need not wait for

    from metaprobe.probe.terminal import Column, draw

    columns = []
    for number, name in enumerate(grid.columns):
        cells = [row[number] for row in grid.rows]
        numeric = all(cell is None or _is_number(cell) for cell in cells)
        columns.append(Column(visible(name), tuple(map(_pretty, cells)), numeric, name in grid.unbroken))
    facts = [f"{visible(name)} {_pretty(value)}" for name, value in grid.facts]
    console = Console(file=stream, highlight=False, emoji=False, markup=False)
    draw(console, visible(grid.title), facts, columns, [visible(note) for note in grid.notes])


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _plain(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, tuple):
        return "[" + ", ".join(map(str, cell)) + "]"
    return visible(cell) if isinstance(cell, str) else str(cell)


def _pretty(cell: Cell) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else _plain(cell)


def _jsonable(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, Sequence):
        return [_jsonable(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")
