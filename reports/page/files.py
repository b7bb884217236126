"""The files of a report: the page, its tables and figures beside it, and the evidence back from the tables alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from metaprobe.analyses.csv_file import csv_text, read_csv_rows
from metaprobe.analyses.table import COLUMNS, KNOWN_COLUMNS, Row, Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Made
from metaprobe.reports.page.page import Page, named_blocks, render, rows_behind
from metaprobe.reports.page.parts import Cell, PageFigure, PageTable
from metaprobe.reports.verdicts import Judgement
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.files import write_bytes, write_text
from metaprobe.trainers.formats.text import typeset

__all__ = ["escape", "latex_table", "read_tables", "write_report"]

_MADE, _CLAIMS = "made.json", "claims.csv"
_OF_CLAIM = ("id", "title", "quantity", "paper", "where", "setting", "rule")


def write_report(page: Page, out: Path | str, name: str = "report.html") -> Path:
    """Write the page as `name`, references.bib, figures/*.svg and *.pdf, tables/*.csv and *.tex; return its path.

    A CSV holds the rows behind a table or figure at full precision; the LaTeX is the table as it stands on the page.
    Every file is written whole or not at all, the page last. Rows, tables and figures that an earlier page left and
    this one does not show are removed: they would be evidence of nothing.
    """
    tables, figures = Path(out) / "tables", Path(out) / "figures"
    behind = rows_behind(page)
    if (tables / _MADE).is_file():
        _remove_left(tables, figures, behind, {f"{block.name}.tex" for block in named_blocks(page)})
    for file, rows in behind.items():
        Table.of(rows).write_csv(tables / file)
    for block in named_blocks(page):
        if isinstance(block, PageFigure):
            write_text(figures / f"{block.name}.svg", block.whole.svg())
            write_bytes(figures / f"{block.name}.pdf", block.whole.pdf())
        else:
            table = block if isinstance(block, PageTable) else _table(block.name, block.judgements)
            write_text(tables / f"{block.name}.tex", latex_table(table))
    if page.judgements:
        write_text(tables / _CLAIMS, _claims(page.judgements.values()))
    if page.made:
        write_text(tables / _MADE, page.made.to_json())
    if page.works:
        write_text(Path(out) / "references.bib", "\n\n".join(work.bibtex for work in page.works) + "\n")
    write_text(Path(out) / name, render(page))
    return Path(out) / name


def _remove_left(tables: Path, figures: Path, rows: Iterable[str], latex: Iterable[str]) -> None:
    """Remove what an earlier page wrote and this one does not; what is another's is left alone."""
    for path in {*tables.glob("*.csv")} - {tables / name for name in rows}:
        with contextlib.suppress(UnreadableInput):  # no table at all
            if _header(path) in KNOWN_COLUMNS:
                for left in (path, *(figures / f"{path.stem}.{kind}" for kind in ("svg", "pdf"))):
                    left.unlink(missing_ok=True)
    for path in {*tables.glob("*.tex")} - {tables / name for name in latex}:
        if f"\\label{{tab:{path.stem}}}".encode() in path.read_bytes():
            path.unlink()


def read_tables(folder: Path | str) -> Evidence:
    """Return the evidence of a report from its folder of tables alone, each row once, as `write_report` wrote it.

    Raises:
        UnreadableInput: no such folder, made.json or CSV is missing, or a file is damaged or no table of a report.
    """
    folder = Path(folder)
    paths = [path for path in sorted(folder.glob("*.csv")) if path.name != _CLAIMS]
    lacking = "no such folder" if not folder.is_dir() else f"holds no {_MADE}" if not (folder / _MADE).is_file() else ""
    if lacking or not paths:
        raise UnreadableInput(f"{folder}: {lacking or 'holds no CSV with rows'}; expected the tables/ of a report")
    made, rows = Made.read(folder / _MADE), dict[Row, None]()
    for path in paths:
        if (found := _header(path)) not in KNOWN_COLUMNS:
            told = f"expected the columns {', '.join(COLUMNS)}; got {', '.join(found) or 'none'}"
            raise UnreadableInput(f"{path}: no table of a report: {told}. Move it elsewhere if it is none")
        rows |= dict.fromkeys(Table.read_csv(path).rows)
    return Evidence(Table.of(rows), made)


def _header(path: Path) -> tuple[str, ...]:
    return tuple(next(read_csv_rows(path), ()))


def _table(name: str, judgements: Iterable[Judgement]) -> PageTable:
    """Return the claims as a table, for LaTeX."""
    header = ("Claim", "Verdict", "This study, 95 % intervals", "Paper", "Why, and what would decide it")
    lines = (
        ((c.id, c.title), (j.verdict,), j.ours, (c.paper, f"{c.where}; {c.setting}"), (j.why, j.decide))
        for j in judgements
        for c in (j.claim,)
    )
    rows = tuple(tuple(Cell(first, tuple(filter(None, more))) for first, *more in line) for line in lines)
    return PageTable(name, "The paper's claims, its figures, ours, and the verdict.", header, rows)


def _claims(judgements: Iterable[Judgement]) -> str:
    """Return the claims as CSV; `read_tables` leaves them alone, as they follow from the rows."""
    told = ((j, "; ".join(j.ours).replace(":;", ":")) for j in judgements)
    lines = ((*(getattr(j.claim, name) for name in _OF_CLAIM), ours, j.verdict, j.why, j.decide) for j, ours in told)
    return csv_text([("claim", *_OF_CLAIM[1:], "ours", "verdict", "why", "decide"), *lines])


# fmt: off
_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "\n": " ",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "→": r"$\to$", "Δ": r"$\Delta$", "²": "$^2$", "≥": r"$\ge$",
    "–": "--", "—": "---", "…": r"\ldots{}", "\N{NO-BREAK SPACE}": "~",
}
# fmt: on
_WORDS = r">{\raggedright\arraybackslash}p{0.2\linewidth}"  # a sentence in a plain column would leave the page


def escape(text: str) -> str:
    """Escape text for LaTeX, make visible what does not print, and write typographic signs as commands it knows."""
    return "".join(_ESCAPES.get(letter, letter) for letter in typeset(text))


def latex_table(table: PageTable) -> str:
    r"""Write a table for `\usepackage{booktabs,array}`, its notes after its caption."""
    columns = ""
    for place in range(len(table.header)):
        cells = [row[place] for row in table.rows]
        long = any(len(line) > 40 for cell in cells for line in (cell.text, *cell.lines))
        columns += "r" if any(cell.number for cell in cells) else _WORDS if long else "l"
    # of each row its lines, of which a cell may have fewer than another
    body = [tuple(zip_longest(*((cell.text, *cell.lines) for cell in row), fillvalue="")) for row in table.rows]
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=loader, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["tex"] = escape
    return environment.get_template("table.tex.j2").render(table=table, columns=columns, body=body)
