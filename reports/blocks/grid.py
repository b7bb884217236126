"""Tables of readings."""

from __future__ import annotations

from analyses.readings import Estimate, Reading, mapped
from reports.blocks.declared import Grid, Said, Under
from reports.evidence import Evidence
from reports.page.parts import Cell
from reports.wording import DASH, interval, number, reason_of

__all__ = ["rows_of"]


def rows_of(grid: Grid, evidence: Evidence) -> list[tuple[Cell, ...]]:
    """Return the rows of a table; [] where nothing was measured.

    A line whose quantities were all not measured is left out, and lines without quantities stand only beside others.
    """
    rows, measured = [], False
    for line in grid.lines:
        read = [cell.quantity.read(evidence) for cell in line.cells if isinstance(cell, Said)]
        if read and all(reading is None for reading in read):
            continue
        measured |= bool(read)
        readings = iter(read)
        cells = (_cell(c, next(readings), evidence) if isinstance(c, Said) else c for c in line.cells)
        rows.append((Cell(line.title, line.under), *cells))
    return rows if measured else []


def _cell(said: Said, reading: Reading, evidence: Evidence) -> Cell:
    under = [text for line in said.under for text in _under(line, evidence)]
    found = mapped(reading, 0.0, said.scale)
    if found is None:
        return Cell(DASH, tuple(under), number=True)
    if not isinstance(found, Estimate):
        return Cell("undefined", (f"({reason_of(found)})", *under))
    bounds = interval(found.low, found.high, said.digits, signed=said.signed)
    sd = None if said.plain else found.sd
    spread = "" if sd is None else f"sd {number(sd, said.digits)}, {len(found.per_seed)} seeds"
    text = number(found.value, said.digits, signed=said.signed) + said.unit
    return Cell(text, tuple(filter(None, (bounds, spread, *under))), number=True)


def _under(line: Under, evidence: Evidence) -> list[str]:
    found = line.quantity.read(evidence)
    if not isinstance(found, Estimate):
        return [] if found is None else [f"{line.word} undefined".strip()]
    bounds = interval(found.low, found.high, line.digits, signed=line.signed) if line.interval else ""
    return [f"{line.word} {number(found.value, line.digits, signed=line.signed)}".strip(), *filter(None, (bounds,))]
