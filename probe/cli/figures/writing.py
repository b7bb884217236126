"""Figures as files: what a figure is written as, and what it says of itself."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.probe.cli.arguments import GIVEN
from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.analyses.table import Row
    from metaprobe.reports.blocks.declared import Figure

__all__ = ["write_figure"]

_MOST = 6  # remarks that a caption makes


def write_figure(block: Figure, path: Path) -> None:
    """Write a figure whose numbers are rows, with its caption and the command that makes it again as metadata.

    The caption ends with what rows that are drawn say that there is to mind about them, as conditions of their tests.

    Args:
        block: the figure.
        path: where to; its ending says as what, see `probe.cli.arguments.check_outputs`.

    Raises:
        MetaprobeError: nothing in it is a number.
    """
    from metaprobe.reports.blocks.figure import draw

    drawn = draw(replace(block, caption=block.caption + _remarks(block)), shlex.join(("metaprobe", *GIVEN.get())))
    if drawn is None:
        why = f": {block.missing[1]}" if block.missing else ""
        raise MetaprobeError(f"--figure: there is nothing to draw, no number of the table is one that it shows{why}")
    drawn.write(path)


def _remarks(block: Figure) -> str:
    """Return the reasons of all rows that a figure draws, each once, with how many values it is of where not of all.

    Places in a plane are no values: what is said of them, as how they were found, is for the figure's own caption.
    """
    from metaprobe.reports.blocks.declared import Scatter
    from metaprobe.reports.wording import capital

    values = tuple(panel for panel in block.panels if not isinstance(panel, Scatter))
    rows, told = dict.fromkeys(_rows(values)), Counter[str]()
    for row in rows:
        undefined = "undefined: " if row.value is None else ""
        parts = dict.fromkeys((row.reason or "").split("; "))
        told.update([undefined + part for part in parts if part])  # in their order, so that bytes are always the same
    new = [(part, n) for part, n in told.items() if part not in block.caption]
    new.sort(key=lambda one: -one[1])
    some = (f" ({n:,} of {len(rows):,} values)" if n < len(rows) else "" for _, n in new)
    sentences = [f" {capital(part)}{of}." for (part, _), of in zip(new, some, strict=True)]
    more = len(sentences) - _MOST
    return "".join(sentences[:_MOST]) + (f" The table has {more} more remarks." if more > 0 else "")


def _rows(part: object) -> Iterator[Row]:
    """Yield the rows that are anywhere in a part of a figure."""
    from metaprobe.analyses.table import Row

    if isinstance(part, Row):
        yield part
    elif is_dataclass(part):
        for field in fields(part):
            yield from _rows(getattr(part, field.name))
    elif isinstance(part, tuple | Mapping):
        for one in part.values() if isinstance(part, Mapping) else part:
            yield from _rows(one)
