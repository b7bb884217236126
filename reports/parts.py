"""Parts of a page: tables, figures, lists and what is missing, as frozen dataclasses in named sections."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from reports.figures import Drawing
from trainers.errors import MetaprobeError

__all__ = ["Block", "Cell", "Mark", "Missing", "PageFigure", "PageTable", "Rows", "Section", "Statement"]

Mark = Literal["", "good", "bad", "open", "none"]
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        lines: smaller lines under it (an interval, a null), in order.
        mark: "good", "bad", "open" or "none" for a verdict; "" for all else.
        number: whether it is set in figures, right of its column.
        links: names of blocks or sections of its page that it leads to, each with the CSV of the rows behind it.
    """

    text: str
    lines: tuple[str, ...] = ()
    mark: Mark = ""
    number: bool = False
    links: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of the tidy table that stand behind a table or a figure, written once as tables/`name`.csv."""

    name: str
    frame: pd.DataFrame

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, eq=False)
class PageTable:
    """A table: on the page, as LaTeX, and as the rows behind it.

    Attributes:
        name: lower-case words joined by hyphens; names its files and its place.
        caption: what it shows, with the citation of its measure.
        header: column titles.
        rows: cells, as many in each row as there are titles.
        behind: the rows that its numbers come from; several blocks may share them.
        notes: remarks under it.
        stacked: whether on a narrow screen its rows become cards, each cell under the title of its column; a table
            that is not scrolls inside its box.
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    behind: Rows | None = None
    notes: tuple[str, ...] = ()
    stacked: bool = False

    def __post_init__(self) -> None:
        _check_name(self.name)
        for row in self.rows:
            if len(row) != len(self.header):
                raise MetaprobeError(
                    f"table {self.name!r}: a row has {len(row)} cells where the header has {len(self.header)} titles."
                )


@dataclass(frozen=True, eq=False)
class PageFigure:
    """A figure: inline on the page, and as SVG and PDF files.

    Attributes:
        name: as a table's.
        caption: what it shows and how to read it, with citations.
        drawing: its SVG and PDF.
        behind: the rows that it draws.
    """

    name: str
    caption: str
    drawing: Drawing
    behind: Rows | None = None

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True)
class Missing:
    """A block that would stand here, and why it does not; `name` is that of the block, for what leads to it."""

    what: str
    reason: str
    name: str = ""

    def __post_init__(self) -> None:
        if self.name:
            _check_name(self.name)


@dataclass(frozen=True)
class Statement:
    """A list of commands or facts, each in a line of its own; `code` sets it in a fixed width."""

    lines: tuple[str, ...]
    code: bool = False


Block = PageTable | PageFigure | Missing | Statement


@dataclass(frozen=True)
class Section:
    """A section of a page.

    Attributes:
        name: its anchor, lower-case words joined by hyphens.
        title: its heading.
        text: paragraphs before its blocks.
        glossary: (term, meaning), for the reader who does not know the paper.
        blocks: tables, figures, and what is missing.
    """

    name: str
    title: str
    text: tuple[str, ...] = ()
    glossary: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise MetaprobeError(f"the name {name!r} of a part of a page: expected lower-case words joined by hyphens.")
