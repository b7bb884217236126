"""Panels as a figure: each an SVG for the page, where they stand as there is room, and one drawing for the files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from metaprobe.reports.blocks import declared
from metaprobe.reports.blocks.canvas import Drawing, Key, Sketch, style, svg_of
from metaprobe.reports.blocks.planes import map_sketch, scatter_sketch
from metaprobe.reports.blocks.series import curves_sketch, dots_sketch
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.parts import PageFigure

__all__ = ["draw", "on_page", "sketches"]

_WIDTH = 5.5  # inches of a whole figure: of a column of text
_PANEL, _NARROW = {1: 3.5, 2: 3.5, 3: 2.25}, 1.4  # of a panel on the page, by how many stand side by side
_GAP, _LETTER = 16, 0.082  # pixels between panels, at most; inches of a letter of a title
_KINDS: dict[type, Callable[[Any, Evidence | None], Sketch | None]] = {
    declared.Dots: dots_sketch,
    declared.Curves: curves_sketch,
    declared.Map: map_sketch,
    declared.Scatter: scatter_sketch,
}
_Block = declared.Figure | declared.Custom


def sketches(block: declared.Figure, evidence: Evidence | None) -> list[Sketch]:
    """Read the panels of a figure; those without a number are left out."""
    found = [_KINDS[type(panel)](panel, evidence) for panel in block.panels]
    return [sketch for sketch in found if sketch is not None]


def on_page(block: _Block, evidence: Evidence) -> PageFigure | None:
    """Return a figure as a page has it: each panel narrower than a phone; None where nothing was measured."""
    shown = block.draw(evidence) if isinstance(block, declared.Custom) else sketches(block, evidence)
    if not shown:
        return None
    width, keys = _PANEL.get(block.columns, _NARROW), _keys(shown)

    def paint() -> tuple[tuple[str, ...], tuple[str, ...]]:
        with style():
            figures = [Figure(figsize=(width, _height(sketch, width))) for sketch in shown]
            _paint(block, shown, figures)
            named = ((f"{block.name}-{place}", sketch.title or block.name) for place, sketch in enumerate(shown, 1))
            panels = tuple(svg_of(figure, *name) for figure, name in zip(figures, named, strict=True))
            return panels, tuple(_mark(key, f"{block.name}-key-{i}") for i, key in enumerate(keys, 1))

    labels, row = tuple(key.label for key in keys), round(block.columns * (96 * width + _GAP))
    whole = Drawing(block.name, block.caption, lambda: _whole(block, shown))
    return PageFigure(block.name, block.caption, paint, labels, row, whole)


def draw(block: declared.Figure, command: str = "") -> Drawing | None:
    """Return a figure of rows and plain numbers as it is written to a file by a command; None where it has none."""
    shown = sketches(block, None)
    return Drawing(block.name, block.caption, lambda: _whole(block, shown), command) if shown else None


def _mark(key: Key, name: str) -> str:
    line = key.artist()
    line.set(xdata=[0.0, 0.5, 1.0], ydata=[0.5, 0.5, 0.5], markevery=[1])
    figure = Figure(figsize=(0.34 if key.line else 0.16, 0.16))
    figure.add_artist(line)
    return svg_of(figure, name)


def _whole(block: _Block, shown: Sequence[Sketch]) -> Figure:
    parts = ((shown[: block.wide], 2), (shown[block.wide :], min(block.columns, len(shown))))
    lines = [(part[at : at + n], n) for part, n in parts for at in range(0, len(part), n)]
    heights = [max(_height(sketch, _WIDTH / columns) for sketch in line) for line, columns in lines]
    handles = [key.artist() for key in _keys(shown)]
    widest = max((0.5 + 0.068 * len(str(handle.get_label())) for handle in handles), default=_WIDTH)
    beside = max(1, min(len(handles), int(_WIDTH / widest)))
    heights += [0.1 + 0.17 * -(-len(handles) // beside)] if handles else []
    figure = Figure(figsize=(_WIDTH, sum(heights)))
    across = math.lcm(*(columns for _, columns in lines))
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    places = [(row, at, across // columns) for row, (line, columns) in enumerate(lines) for at in range(len(line))]
    subfigures = [figure.add_subfigure(grid[row, at * span : (at + 1) * span]) for row, at, span in places]
    for place, axes in enumerate(_paint(block, shown, subfigures)):
        if places[place][1] and shown[place].places and shown[place].places == shown[place - 1].places:
            axes.set(yticklabels=[], ylabel="")
    if handles:
        figure.add_subfigure(grid[-1, :]).legend(handles=handles, loc="center", ncols=beside, handletextpad=0.4)
    return figure


def _paint(block: _Block, shown: Sequence[Sketch], parts: Sequence[Figure | SubFigure]) -> list[Axes]:
    """Paint panels, each in its part, with the same limits where they share an axis; return their axes."""
    every = [part.subplots() for part in parts]
    for sketch, part, axes in zip(shown, parts, every, strict=True):
        sketch.paint(axes)
        width, height = part.bbox.width / part.dpi, part.bbox.height / part.dpi
        axes.set_xlabel(_wrapped(axes.get_xlabel(), 0.8 * width / 0.068))
        axes.set_ylabel(_wrapped(axes.get_ylabel(), 0.8 * height / 0.068))
        part.suptitle(_wrapped(sketch.title, width / _LETTER), x=0.01, ha="left")
    limits = [end for axes in every for end in axes.get_ylim()]
    for axes in every if block.share else ():
        axes.set_ylim(min(limits), max(limits))
    for sketch, axes in zip(shown, every, strict=True):
        if sketch.finish:
            sketch.finish(axes)
    return every


def _height(sketch: Sketch, width: float) -> float:
    height = sketch.height(width) if sketch.height else max(1.5, 0.75 * width)
    return height + 0.14 * _wrapped(sketch.title, width / _LETTER).count("\n")


def _wrapped(text: str, letters: float) -> str:
    return "\n".join(textwrap.fill(line, int(letters)) for line in text.split("\n"))


def _keys(shown: Sequence[Sketch]) -> list[Key]:
    """Return the entries of all panels, each once: one that is joined by a line in some panel, with its line."""
    kept: dict[Key, Key] = {}
    for key in (key for sketch in shown for key in sketch.keys):
        bare = replace(key, line="")
        kept[bare] = key if key.line else kept.get(bare, key)
    return list(kept.values())
