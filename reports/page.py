"""Pages: what a report says as frozen dataclasses, rendered into one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyses.table import csv_of
from reports.figures import Drawing
from reports.latex import latex_table
from trainers.errors import MetaprobeError
from trainers.files import write_bytes, write_text

__all__ = [
    "Block",
    "Cell",
    "Missing",
    "Page",
    "PageFigure",
    "PageTable",
    "Rows",
    "Section",
    "Statement",
    "render",
    "write_report",
]

Mark = Literal["", "good", "bad", "open", "none"]
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        lines: smaller lines under it (an interval, a null), in order.
        mark: "good", "bad", "open" or "none" for a verdict; "" for all else.
        number: whether it is set in figures, right of its column.
    """

    text: str
    lines: tuple[str, ...] = ()
    mark: Mark = ""
    number: bool = False


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
    """

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    behind: Rows | None = None
    notes: tuple[str, ...] = ()

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
    """A block that would stand here, and why it does not."""

    what: str
    reason: str


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


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: its title.
        question: the question it answers, in a sentence.
        facts: (name, value) pairs about the data and the task, under the title.
        headline: the answer in a few words.
        answer: the answer in sentences with its numbers.
        rules: how the answer follows from the numbers.
        sections: the rest.
        references: works cited, as text.
    """

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    headline: str
    answer: tuple[str, ...]
    rules: str
    sections: tuple[Section, ...]
    references: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        names = [section.name for section in self.sections] + [b.name for b in _named(self)]
        rows = {id(b.behind): f"{b.behind.name}.csv" for b in _named(self) if b.behind is not None}
        names += rows.values()
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise MetaprobeError(
                f"page {self.title!r}: the name {doubled[0]!r} is used twice; every block needs its own."
            )


def render(page: Page) -> str:
    """Return the page as one HTML document: no script, nothing loaded from elsewhere, all text escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_unbroken,
    )
    numbers: dict[str, str] = {}
    for kind, word in ((PageTable, "Table"), (PageFigure, "Figure")):
        blocks = (block for block in _named(page) if isinstance(block, kind))
        numbers |= {block.name: f"{word} {count}" for count, block in enumerate(blocks, 1)}
    # Only our own drawings and style sheet go in unescaped; matplotlib has escaped the text inside the drawings.
    drawings = {block.name: Markup(block.drawing.svg) for block in _named(page) if isinstance(block, PageFigure)}
    css = Markup((_TEMPLATES / "report.css.j2").read_text(encoding="utf-8"))
    template = environment.get_template("report.html.j2")
    return template.render(
        page=page, numbers=numbers, drawings=drawings, css=css, kind=lambda block: type(block).__name__
    )


def write_report(page: Page, out_dir: Path | str, name: str = "report.html") -> Path:
    """Write the page, figures/*.svg, figures/*.pdf, tables/*.csv and tables/*.tex; return the path of the page.

    The CSV holds the rows behind a table or figure at full precision; the LaTeX is the table as it stands on the page.
    Every file is written whole or not at all, the page last.

    Args:
        page: the report.
        out_dir: the folder, made when it is missing.
        name: file name of the page in it.
    """
    out = Path(out_dir)
    for rows in {id(block.behind): block.behind for block in _named(page) if block.behind is not None}.values():
        write_text(out / "tables" / f"{rows.name}.csv", csv_of(rows.frame))
    for block in _named(page):
        if isinstance(block, PageTable):
            cells = [[(cell.text, *cell.lines) for cell in row] for row in block.rows]
            numeric = [any(row[i].number for row in block.rows) for i in range(len(block.header))]
            text = latex_table(block.name, block.caption, block.header, cells, numeric, block.notes)
            write_text(out / "tables" / f"{block.name}.tex", text)
        else:
            write_text(out / "figures" / f"{block.name}.svg", block.drawing.svg)
            write_bytes(out / "figures" / f"{block.name}.pdf", block.drawing.pdf)
    write_text(out / name, render(page))
    return out / name


def _unbroken(value: object) -> object:
    """Keep "conv1–4" on one line; what is already markup (style sheet, drawings) stays as it is."""
    return value.replace("\N{EN DASH}", "\N{EN DASH}\N{WORD JOINER}") if type(value) is str else value


def _named(page: Page) -> Iterator[PageTable | PageFigure]:
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, PageTable | PageFigure):
                yield block


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise MetaprobeError(f"the name {name!r} of a part of a page: expected lower-case words joined by hyphens.")
