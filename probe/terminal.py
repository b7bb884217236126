"""Tables on a terminal: no wider than it is, and no word or number cut; what will not stand side by side is stacked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["Column", "draw"]

_GAP = 2  # between columns
# What stands on one line: words, intervals and shapes; of a column's name what is between underscores; of facts each.
_WORD = r"(?:\[[^][]{1,24}\]|[^ ])+ ?| "
_NAME = r"[^ _]*[ _]|[^ _]+"
_FACT = r".+? · |.+"


@dataclass(frozen=True)
class Column:
    """A column of a table: its name, its cells, whether they are numbers, whether its lines had better stay whole."""

    name: str
    cells: tuple[str, ...]
    numeric: bool = False
    unbroken: bool = False

    @property
    def least(self) -> int:
        """The width that no word outgrows."""
        return max(cell_len(line) for line in (*_lines(self.name, 0, _NAME), *self._lines(0)))

    @property
    def kept(self) -> int:
        """The same, but of an unbroken column that which no cell outgrows."""
        return max(self.least, *map(cell_len, self.cells), 0) if self.unbroken else self.least

    @property
    def most(self) -> int:
        """The width at which nothing is broken."""
        return max(map(cell_len, (self.name, *self.cells)))

    def _lines(self, width: int) -> list[str]:
        return [line for cell in self.cells for line in _lines(cell, width)]


def draw(console: Console, title: str, facts: Sequence[str], columns: Sequence[Column], notes: Sequence[str]) -> None:
    """Write a table: its title and facts above, notes below.

    Args:
        console: where to.
        title: what the table is.
        facts: what holds for all rows.
        columns: all with as many cells, in which nothing but text is.
        notes: sentences.
    """
    _say(console, title, "italic")
    for line in _lines(" · ".join(facts), console.width, _FACT) if facts else ():
        _say(console, line, "dim")
    if widths := _widths(columns, console.width - _GAP * (len(columns) - 1)):
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
        for column, width in zip(columns, widths, strict=True):
            justify = "right" if column.numeric else "left"
            table.add_column(_text(_lines(column.name, width, _NAME)), justify=justify, width=width, no_wrap=True)
        for row in zip(*(column.cells for column in columns), strict=True):
            table.add_row(*(_text(_lines(cell, width)) for cell, width in zip(row, widths, strict=True)))
        console.print(table)
    else:
        _stack(console, columns)
    console.print()
    for note in notes:
        _say(console, note, "dim")


def _widths(columns: Sequence[Column], room: int) -> list[int]:
    """Return widths of columns, together no more than `room`, that cut no word; none where there are none."""
    least = [column.kept for column in columns]
    if sum(least) > room:
        least = [column.least for column in columns]
    if sum(least) > room:
        return []
    most = [column.most for column in columns]
    for level in range(room, 0, -1):  # as wide as all may be that need it, and no wider than what they hold
        widths = [max(low, min(level, high)) for low, high in zip(least, most, strict=True)]
        if sum(widths) <= room:
            return widths
    return least


def _stack(console: Console, columns: Sequence[Column]) -> None:
    """Write rows below each other, a line a cell beside its column's name; of two columns the first is the name."""
    names = columns[0].cells if len(columns) == 2 else tuple(column.name for column in columns)
    side = max(map(cell_len, names), default=0) + _GAP
    if len(columns) == 2:
        for name, text in zip(names, columns[1].cells, strict=True):
            _beside(console, name, text, side)
        return
    for place, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
        if place:
            console.print()
        for name, text in zip(names, row, strict=True):
            if text:
                _beside(console, name, text, side)


def _beside(console: Console, name: str, text: str, side: int) -> None:
    """Write a text beside its name; below it where a word of it has no room there."""
    fits = side + max(map(cell_len, _lines(text, 0))) <= console.width
    indent = side if fits else _GAP
    first, *others = _lines(text, console.width - indent)
    lines = [name + " " * (side - cell_len(name)) + first] if fits else [name, " " * indent + first]
    lines += [" " * indent + line for line in others]
    console.print(Text("\n".join(line.rstrip(" ") for line in lines)), soft_wrap=True)


def _say(console: Console, text: str, style: str) -> None:
    console.print(Text("\n".join(_lines(text, console.width)), style=style), soft_wrap=True)


def _text(lines: Sequence[str]) -> Text:
    return Text("\n".join(lines))


def _lines(text: str, width: int, pieces: str = _WORD) -> list[str]:
    """Break a text into lines of this width after its pieces, never inside one."""
    lines = [""]
    for piece in re.findall(pieces, text):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip(" ")) > width:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip(" ") for line in lines]
