"""Tables and figures of a page, declared as the quantities that they show, and drawn."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from reports.blocks.declared import Block, Figure, Grid
from reports.blocks.grid import rows_of
from reports.evidence import Evidence
from reports.page.parts import Missing, PageFigure, PageTable, Rows

if TYPE_CHECKING:
    from reports.blocks.canvas import Drawing

__all__ = ["build", "draw"]


def build(block: Block, evidence: Evidence) -> PageTable | PageFigure | Missing | None:
    """Return a block as a part of a page, with the rows that it read behind it.

    Where nothing was measured, that is what is missing and why, or None where another block says it.
    """
    made: PageTable | PageFigure | None = None
    with evidence.recording() as read:
        if not isinstance(block, Grid):
            from reports.blocks import figure  # matplotlib: not before there is something to draw

            made = figure.on_page(block, evidence)
        elif rows := rows_of(block, evidence):
            made = PageTable(block.name, block.caption, block.header, tuple(rows), notes=block.notes)
    if made is None:
        what, why = block.missing
        return Missing(what, why, block.name) if why else None
    return dataclasses.replace(made, behind=Rows(block.name, tuple(read)))


def draw(block: Figure) -> Drawing | None:
    """Return a figure of plain numbers as it is written to a file; None where it has none."""
    from reports.blocks import figure

    shown = figure.sketches(block, None)
    return figure.drawing(block, shown) if shown else None
