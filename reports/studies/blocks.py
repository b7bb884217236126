"""Blocks of a study's page: a figure or what stands for it, and the rows behind a block."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pandas as pd

from reports.entries import Entry
from reports.figures import Drawing
from reports.page import Block, Missing, PageFigure, Rows

__all__ = ["figure_or_missing", "rows_behind"]


def figure_or_missing(name: str, caption: str, drawn: Drawing | None, behind: Rows, what: str, missing: str) -> Block:
    """Return a figure, or where nothing was drawn a note of what is missing and why."""
    return Missing(what, missing, name) if drawn is None else PageFigure(name, caption, drawn, behind)


def rows_behind(
    name: str, entries: Sequence[Entry], frame: pd.DataFrame, measures: Collection[str], **only: str
) -> Rows:
    """Return the rows behind a block as they came, every column kept: those of some measures, with some values."""
    places = [
        entry.place
        for entry in entries
        if entry.measure in measures and all(getattr(entry, column) == value for column, value in only.items())
    ]
    return Rows(name, frame.take(places))
