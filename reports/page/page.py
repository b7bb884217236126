"""Pages: what a report says as a frozen dataclass of its parts, rendered into one self-contained HTML file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.table import Row
from metaprobe.reports.claims import Verdict
from metaprobe.reports.made import Made
from metaprobe.reports.page.parts import Block, ClaimsList, Mark, Missing, PageFigure, PageTable, Section
from metaprobe.reports.page.strip import legend, strip
from metaprobe.reports.verdicts import Judgement
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import typeset

__all__ = ["Page", "named_blocks", "render", "rows_behind"]

# In the order in which verdicts are counted: the mark of each, and what several claims of it do.
_VERDICTS: Mapping[Verdict, tuple[Mark, str]] = {
    "holds": ("good", "hold"),
    "undecided": ("open", "undecided"),
    "does not hold": ("bad", "do not hold"),
    "not applicable": ("none", "not applicable"),
    "not measured": ("none", "not measured"),
}
_TEMPLATES = Path(__file__).parent / "templates"
_RESERVED = ("answer", "contents", "contents-title", "references", "cite", "answer-rows", "claims-rows")


@dataclass(frozen=True)
class Page:
    """A report."""

    title: str
    question: str  # that it answers, in a sentence
    facts: tuple[tuple[str, str], ...]  # (name, value) pairs about the data and the task
    headline: str  # the answer in a few words
    answer: tuple[str, ...]  # in sentences with its numbers
    rules: str  # how the answer follows from the numbers
    sections: tuple[Section[Block], ...]  # the rest, what matters most first
    figure: Block | None = None  # the one figure that shows the answer
    training: str = ""  # how much training stands behind the answer, in a sentence
    works: tuple[Work, ...] = ()  # that it cites, by their numbers
    made: Made | None = None  # what made it, written beside its tables
    behind: tuple[Row, ...] = ()  # the rows that its sentences were read from

    def __post_init__(self) -> None:
        names = Counter([*_RESERVED, *(name for name, _ in _anchors(self))])
        if doubled := [name for name, times in names.items() if times > 1]:
            raise MetaprobeError(f"page {self.title!r}: the name {doubled[0]!r} is used twice; use another")

    @property
    def judgements(self) -> dict[str, Judgement]:
        """The claims with their verdicts, by id."""
        lists = (block for block in named_blocks(self) if isinstance(block, ClaimsList))
        return {found.claim.id: found for block in lists for found in block.judgements}


def named_blocks(page: Page) -> Iterator[PageTable | PageFigure | ClaimsList]:
    """Yield what has files of its own, in the order of the page."""
    return (block for block in _blocks(page) if isinstance(block, PageTable | PageFigure | ClaimsList))


def rows_behind(page: Page) -> dict[str, tuple[Row, ...]]:
    """Return the rows that stand behind the parts of a page and its sentences, by the names of their files."""
    every = {"answer-rows": page.behind}
    for block in named_blocks(page):  # claims.csv says the verdicts
        every[f"{block.name}-rows" if isinstance(block, ClaimsList) else block.name] = block.behind
    return {f"{name}.csv": rows for name, rows in every.items() if rows}


def render(page: Page) -> str:
    """Return the page as one HTML document: no script, nothing loaded from elsewhere, all text escaped."""
    blanks = dict.fromkeys(("trim_blocks", "lstrip_blocks", "keep_trailing_newline"), True)
    loader, checked = FileSystemLoader(_TEMPLATES), {"autoescape": True, "undefined": StrictUndefined}
    environment = Environment(loader=loader, finalize=_prose, **checked, **blanks)
    # Only our own drawings and style sheet go in unescaped; whoever drew has escaped the text inside the drawings.
    environment.filters["trusted"] = Markup
    titles, files = dict(_anchors(page)), rows_behind(page)
    return environment.get_template("report.html.j2").render(
        page=page,
        numbers=titles,
        css=Markup((_TEMPLATES / "report.css.j2").read_text(encoding="utf-8")),
        kind=lambda block: type(block).__name__,
        verdicts=_VERDICTS,
        legend=legend,
        strip=strip,
        links_of=lambda names: _links(names, titles, files),
    )


def _prose(value: object) -> object:
    """Escape text, make visible what does not print, keep "conv1–4" on one line, set `code`; markup stays as it is."""
    if type(value) is not str:
        return value
    text = str(escape(typeset(value).replace("\N{EN DASH}", "\N{EN DASH}\N{WORD JOINER}")))
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", text))


def _blocks(page: Page) -> Iterator[Block]:
    yield from (page.figure,) if page.figure else ()
    for section in page.sections:
        yield from (*section.blocks, *section.details)


def _anchors(page: Page) -> Iterator[tuple[str, str]]:
    """Yield the name of whatever has one, and what a link calls it ("Figure 2")."""
    yield from ((section.name, section.title) for section in page.sections)
    counts = Counter[str]()
    for block in _blocks(page):
        match block:
            case PageTable() | PageFigure():
                word = "Table" if isinstance(block, PageTable) else "Figure"
                counts[word] += 1
                yield block.name, f"{word} {counts[word]}"
            case ClaimsList() | Missing():
                yield block.name, "the claims" if isinstance(block, ClaimsList) else "not measured"


def _links(names: Sequence[str], titles: Mapping[str, str], files: Collection[str]) -> list[tuple[str, str]]:
    """Return links as (text, address): what they lead to, and after that the rows behind it, each once."""
    known = [name for name in names if name in titles]  # of some, another block says that they were not measured
    behind = (f"{name}.csv" for name in known if f"{name}.csv" in files)
    return list(dict.fromkeys([*((titles[name], f"#{name}") for name in known), *((f, f"tables/{f}") for f in behind)]))
