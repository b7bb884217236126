"""Pages as plain text: what a page says and what its figures draw, without where or how large anything stands."""

import contextlib
import io
import json
import re
from pathlib import Path
from unittest.mock import patch
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, NullLocator

from analyses.table import COLUMNS, Table
from reports.page import Missing, PageFigure, PageTable, Statement

GALLERY = Path(__file__).resolve().parents[1] / "reports" / "gallery"


def rows_of(name):
    """Return the rows behind a page of the gallery, each once; columns that its day did not know are empty."""
    files = sorted(path for path in (GALLERY / name / "tables").glob("*.csv") if path.name != "claims.csv")
    frames = [pd.read_csv(path, dtype=str, keep_default_na=False) for path in files]
    whole = pd.concat([frame.reindex(columns=list(COLUMNS), fill_value="") for frame in frames]).drop_duplicates()
    return Table.read_csv(io.StringIO(whole.to_csv(index=False))).frame()


def rows_behind(page):
    """Return the rows behind all blocks of a page, each once, in the order of its table."""
    blocks = [block for section in page.sections for block in section.blocks if getattr(block, "behind", None)]
    whole = pd.concat([block.behind.frame for block in blocks if "measure" in block.behind.frame])  # not the verdicts
    return whole[~whole.index.duplicated()].sort_index()


@contextlib.contextmanager
def drawn_as_text():
    """Inside the block a drawing's SVG holds, in place of a picture, the text of its figure."""

    def print_svg(canvas, file, **_):
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg"><text>{escape(_figure(canvas.figure))}</text></svg>')

    with patch.object(FigureCanvasSVG, "print_svg", print_svg), patch.object(FigureCanvasPdf, "print_pdf"):
        yield


def text_of(page):
    """Return what a page says; its figures must have been drawn inside `drawn_as_text`."""
    lines = [f"title: {page.title}", f"question: {page.question}", *(f"fact: {n} = {v}" for n, v in page.facts)]
    lines += [f"headline: {page.headline}", *(f"answer: {s}" for s in page.answer), f"rules: {page.rules}"]
    for section in page.sections:
        lines += ["", f"== section {section.name}: {section.title}", *section.text]
        lines += [f"glossary: {term}: {meaning}" for term, meaning in section.glossary]
        for block in section.blocks:
            lines += ["", *_block(block)]
    return "\n".join(line for text in lines for line in (text.splitlines() or [""])) + "\n"


def _block(block):
    match block:
        case Missing():
            return [f"-- missing {block.name}: {block.what}", block.reason]
        case Statement():
            return ["-- statement, code" if block.code else "-- statement", *block.lines]
        case PageFigure():
            parts = [e.text or "" for e in ElementTree.fromstring(block.drawing.svg) if e.tag.endswith("t")]
            return [f"-- figure {block.name}", f"caption: {block.caption}", *parts[-1:]]
        case PageTable():
            rows = [line for row in block.rows for line in ("", *map(_cell, row))]
            top = [f"-- table {block.name}", f"caption: {block.caption}", f"header: {' | '.join(block.header)}"]
            return [*top, *rows, *(f"note: {note}" for note in block.notes)]
    raise TypeError(block)


def _cell(cell):
    marks = [f"[{cell.mark}]"] * bool(cell.mark) + [f"-> {' '.join(cell.links)}"] * bool(cell.links)
    return " / ".join(part for part in (cell.text, *cell.lines, *marks))


def _figure(figure):
    lines = []
    for number, axes in enumerate(figure.axes, 1):
        titles = [axes.get_title(loc=loc) for loc in ("left", "center", "right")]
        lines.append(f"panel {number}: {_said(''.join(titles))}")
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            lines.append(f"  {name}: {_said(axis.get_label_text())}, {axis.get_scale()}, {_ticks(axis)}")
        lines += sorted(f"  text: {_text(text)}" for text in axes.texts)
        lines += _legend(axes.get_legend())
        marks = [*map(_line, axes.lines), *map(_collection, axes.collections), *map(_patch, axes.patches)]
        for kind, points in sorted((kind, points) for kind, points in marks if points):
            lines += [f"  {kind}", *(f"    {' '.join(points[i : i + 6])}" for i in range(0, len(points), 6))]
    return "\n".join([*lines, *(line for legend in figure.legends for line in _legend(legend))])


def _said(text):
    return json.dumps(text, ensure_ascii=False)


def _ticks(axis):
    """Name the ticks that were set; where matplotlib places them, they follow from the marks."""
    locator = axis.get_major_locator()
    if not isinstance(locator, FixedLocator):
        return "none" if isinstance(locator, NullLocator) else "as it comes"
    places = axis.get_majorticklocs()
    labels = axis.get_major_formatter().format_ticks(places)
    return ", ".join(f"{_number(place)} {_said(label)}" for place, label in zip(places, labels, strict=True)) or "none"


def _text(text):
    placed = not isinstance(text, Annotation) and text.get_transform() is text.axes.transData
    return " ".join([_said(text.get_text()), *([_point(text.get_position())] if placed else [])])


def _legend(legend):
    if legend is None:
        return []
    labels = [text.get_text() for text in (legend.get_title(), *legend.get_texts())]
    return [f"  legend: {', '.join(map(_said, filter(None, labels)))}"]


def _line(line):
    return f"line {to_hex(line.get_color())} {line.get_linestyle()} {line.get_marker()}", _points(line.get_xydata())


def _collection(drawn):
    colours = drawn.get_edgecolor() if isinstance(drawn, LineCollection) else drawn.get_facecolor()
    colour = to_hex(colours[0]) if len(colours) else "none"
    if isinstance(drawn, LineCollection):
        return f"bars {colour}", ["–".join(_points(bar)) for bar in drawn.get_segments()]
    if isinstance(drawn, PathCollection):
        return f"points {colour}", _points(drawn.get_offsets())
    if drawn.get_array() is not None:
        return "map", [_number(value) for value in np.asarray(drawn.get_array()).ravel()]
    return f"area {colour}", [point for path in drawn.get_paths() for point in _points(path.vertices)]


def _patch(drawn):
    box = drawn.get_patch_transform().transform_path(drawn.get_path()).get_extents()
    return f"box {to_hex(drawn.get_facecolor())}", _points((box.min, box.max))


def _points(places):
    return [_point(place) for place in places]


def _point(place):
    return ",".join(map(_number, place))


def _number(value):
    return re.sub(r"^-0$", "0", f"{float(value):.5g}")
