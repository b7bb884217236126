"""Readings as cells of a table."""

from __future__ import annotations

from reports.evidence import Estimate, Reading
from reports.page import Cell
from reports.wording import interval, number

__all__ = ["DASH", "cell"]

DASH = "\N{EM DASH}"


def cell(found: Reading, digits: int = 1, *, signed: bool = False) -> Cell:
    """Return a reading as a cell: its value, its interval under it, and with several seeds their spread."""
    if found is None:
        return Cell(DASH, number=True)
    if not isinstance(found, Estimate):
        return Cell("undefined", (f"({found.reason})",))
    bounds = interval(found.low, found.high, digits, signed=signed)
    sd = () if found.sd is None else (f"sd {number(found.sd, digits)}, {len(found.per_seed)} seeds",)
    return Cell(number(found.value, digits, signed=signed), (*([bounds] if bounds else []), *sd), number=True)
