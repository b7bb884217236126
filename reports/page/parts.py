"""Parts of a page: tables, figures, claims, lists and what is missing, as frozen dataclasses in named sections."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from metaprobe.analyses.table import Row
from metaprobe.reports.verdicts import Judgement
from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.reports.blocks.canvas import Drawing

__all__ = ["Block", "Cell", "ClaimsList", "Mark", "Missing", "PageFigure", "PageTable", "Section", "Statement"]

Mark = Literal["", "good", "bad", "open", "none"]  # of a verdict; "" for all else


@dataclass(frozen=True)
class Cell:
    """One cell of a table."""

    text: str
    lines: tuple[str, ...] = ()  # smaller lines under it (an interval, a null), in order
    mark: Mark = ""
    number: bool = False  # whether it is set in figures, right of its column


@dataclass(frozen=True)
class _Named:
    name: str  # its anchor, and the name of its files

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", self.name):
            told = f"the name {self.name!r} of a part of a page"
            raise MetaprobeError(f"{told}: expected lower-case words joined by hyphens.")


@dataclass(frozen=True)
class PageTable(_Named):
    """A table: on the page, as LaTeX, and as the rows behind it."""

    caption: str  # what it shows, with the citation of its measure
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]  # as many cells in each as there are titles
    behind: tuple[Row, ...] = ()  # what its numbers come from
    notes: tuple[str, ...] = ()  # remarks under it

    def __post_init__(self) -> None:
        super().__post_init__()
        for row in self.rows:
            if len(row) != len(self.header):
                told = f"table {self.name!r}: a row has {len(row)} cells"
                raise MetaprobeError(f"{told} where the header has {len(self.header)} titles.")


@dataclass(frozen=True, eq=False)
class PageFigure(_Named):
    """A figure: inline on the page, and as SVG and PDF files."""

    caption: str  # what it shows and how to read it, with citations
    draw: Callable[[], tuple[tuple[str, ...], tuple[str, ...]]]  # draws its panels and the marks of its legend
    labels: tuple[str, ...]  # of the legend
    width: int  # of a row of panels with the gaps between them, in pixels
    whole: Drawing  # all panels in one, for the files
    behind: tuple[Row, ...] = ()  # what it draws

    @property
    def panels(self) -> tuple[str, ...]:
        """SVG elements, which stand beside or under each other as there is room."""
        return self._drawn[0]

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """(Mark, an SVG element; its label) of each entry."""
        return tuple(zip(self._drawn[1], self.labels, strict=True))

    @cached_property
    def _drawn(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.draw()  # only when asked for: most of the time that a page takes


@dataclass(frozen=True)
class ClaimsList(_Named):
    """The claims of a study, a line each: its verdict and a strip of what was measured; the words open below it."""

    judgements: tuple[Judgement, ...]
    behind: tuple[Row, ...] = ()  # what they were judged by
    reading: str = ""  # how verdicts are to be read


@dataclass(frozen=True)
class Missing:
    """A block that would stand here, and why it does not; `name` is that of the block, for what leads to it."""

    what: str
    reason: str
    name: str


@dataclass(frozen=True)
class Statement:
    """A list of commands or facts, each in a line of its own; `code` sets it in a fixed width."""

    lines: tuple[str, ...]
    code: bool = False


Block = PageTable | PageFigure | ClaimsList | Missing | Statement
_B = TypeVar("_B")


@dataclass(frozen=True)
class Section(_Named, Generic[_B]):
    """A section of a page: with its blocks as a study declares them, and then as they were built."""

    title: str
    text: tuple[str, ...] = ()  # paragraphs before its blocks
    glossary: tuple[tuple[str, str], ...] = ()  # (term, meaning), for the reader who does not know the paper
    blocks: tuple[_B, ...] = ()
    details: tuple[_B, ...] = ()  # what supports it, folded away
