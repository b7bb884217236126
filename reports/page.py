"""Pages: what a report says as a frozen dataclass of its parts, rendered into one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analyses.table import csv_of
from reports.latex import latex_table
from reports.parts import Block, Cell, Mark, Missing, PageFigure, PageTable, Rows, Section, Statement
from trainers.errors import MetaprobeError, unknown_name
from trainers.files import write_bytes, write_text

__all__ = [
    "Block",
    "Cell",
    "Mark",
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

_TEMPLATES = Path(__file__).parent / "templates"


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
        sections: the rest, what matters most first.
        references: works cited, as text.
        bibtex: the same works as BibTeX entries, shown under them and written as references.bib.
    """

    title: str
    question: str
    facts: tuple[tuple[str, str], ...]
    headline: str
    answer: tuple[str, ...]
    rules: str
    sections: tuple[Section, ...]
    references: tuple[str, ...] = ()
    bibtex: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [*_RESERVED, *(name for name, _ in _targets(self))]
        rows = {id(b.behind): f"{b.behind.name}.csv" for b in _named(self) if b.behind is not None}
        names += rows.values()
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise MetaprobeError(
                f"page {self.title!r}: the name {doubled[0]!r} is used twice; every block needs its own."
            )
        targets = dict(_targets(self))
        for table in _named(self):
            for cell in (cell for row in table.rows for cell in row) if isinstance(table, PageTable) else ():
                for target in cell.links:
                    if target not in targets:
                        told = f"target of a link in table {table.name!r} of page {self.title!r}:"
                        raise unknown_name(told, target, targets)


_RESERVED = ("answer", "contents", "contents-title", "references", "cite")
"""Anchors that every page has."""


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
    numbers = _numbers(page)
    targets = dict(_targets(page))
    # Only our own drawings and style sheet go in unescaped; matplotlib has escaped the text inside the drawings.
    drawings = {block.name: Markup(block.drawing.svg) for block in _named(page) if isinstance(block, PageFigure)}
    css = Markup((_TEMPLATES / "report.css.j2").read_text(encoding="utf-8"))
    template = environment.get_template("report.html.j2")
    return template.render(
        page=page,
        numbers=numbers,
        drawings=drawings,
        css=css,
        kind=lambda block: type(block).__name__,
        links_of=lambda cell: _links(cell, targets, numbers),
    )


def write_report(page: Page, out_dir: Path | str, name: str = "report.html") -> Path:
    """Write the page, references.bib, figures/*.svg and *.pdf, tables/*.csv and *.tex; return the path of the page.

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
    if page.bibtex:
        write_text(out / "references.bib", "\n\n".join(page.bibtex) + "\n")
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


def _targets(page: Page) -> Iterator[tuple[str, Section | PageTable | PageFigure | Missing]]:
    """Yield whatever has a name on the page, and so an anchor."""
    for section in page.sections:
        yield section.name, section
        for block in section.blocks:
            if not isinstance(block, Statement) and block.name:
                yield block.name, block


def _numbers(page: Page) -> dict[str, str]:
    """Return what each table and figure is called: "Table 1", "Figure 1", ..., in the order of the page."""
    numbers: dict[str, str] = {}
    for kind, word in ((PageTable, "Table"), (PageFigure, "Figure")):
        blocks = (block for block in _named(page) if isinstance(block, kind))
        numbers |= {block.name: f"{word} {count}" for count, block in enumerate(blocks, 1)}
    return numbers


def _links(
    cell: Cell, targets: dict[str, Section | PageTable | PageFigure | Missing], numbers: dict[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return the links of a cell as (text, address): what it leads to, and after that the rows behind it, each once."""
    places, files = {}, {}
    for name in cell.links:
        target = targets[name]
        if isinstance(target, Section):
            places[f"#{name}"] = target.title
        elif isinstance(target, Missing):
            places[f"#{name}"] = "not measured"
        else:
            places[f"#{name}"] = numbers[name]
            if target.behind is not None:
                files[f"tables/{target.behind.name}.csv"] = f"{target.behind.name}.csv"
    return tuple((text, address) for address, text in (places | files).items())
