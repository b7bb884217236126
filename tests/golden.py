"""Pages as plain text: what a page says and what its figures draw, without where or how large anything stands."""

import json
import re

import numpy as np
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, NullLocator

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.canvas import style
from metaprobe.reports.page.parts import ClaimsList, Missing, PageFigure, PageTable, Statement


def text_of(page):
    """Return what a page says and draws."""
    lines = [f"title: {page.title}", f"question: {page.question}", *(f"fact: {n} = {v}" for n, v in page.facts)]
    lines += [f"headline: {page.headline}", *(f"answer: {s}" for s in page.answer), f"rules: {page.rules}"]
    lines += [f"training: {page.training}", *(["", *_block(page.figure)] if page.figure else [])]
    for section in page.sections:
        lines += ["", f"== section {section.name}: {section.title}", *section.text]
        lines += [f"glossary: {term}: {meaning}" for term, meaning in section.glossary]
        for block in section.blocks:
            lines += ["", *_block(block)]
        for block in section.details:
            first, *rest = _block(block)
            lines += ["", f"{first} (details)", *rest]
    return "\n".join(line for text in lines for line in (text.splitlines() or [""])) + "\n"


def _block(block):
    match block:
        case Missing():
            return [f"-- missing {block.name}: {block.what}", block.reason]
        case Statement():
            return ["-- statement, code" if block.code else "-- statement", *block.lines]
        case PageFigure():
            with style():
                drawn = _figure(block.whole.make())
            entries = [f"legend: {', '.join(map(_said, block.labels))}"] if block.labels else []
            return [f"-- figure {block.name}", f"caption: {block.caption}", *entries, *drawn]
        case PageTable():
            rows = [line for row in block.rows for line in ("", *map(_cell, row))]
            top = [f"-- table {block.name}", f"caption: {block.caption}", f"header: {' | '.join(block.header)}"]
            return [*top, *rows, *(f"note: {note}" for note in block.notes)]
        case ClaimsList():
            claims = [line for found in block.judgements for line in ("", *_claim(found))]
            return [f"-- claims {block.name}", f"reading: {block.reading}", *claims]
    raise TypeError(block)


def _cell(cell):
    marks = [f"[{cell.mark}]"] * bool(cell.mark)
    return " / ".join(part for part in (cell.text, *cell.lines, *marks))


def _claim(found):
    claim = found.claim
    return [
        f"{claim.id} / {claim.title} / {found.verdict} / -> {' '.join(claim.evidence)}",
        f"quantity: {claim.quantity}",
        f"paper: {claim.paper} / {claim.where}; {claim.setting}",
        *(f"ours: {line}" for line in found.ours),
        f"why: {found.why}",
        *([f"decide: {found.decide}"] if found.decide else []),
        f"rule: {claim.rule}",
        *(line for one in found.parts for line in _part(one)),
    ]


def _part(one):
    told = [f"part {one.part.name}: {one.verdict}; {_reading(one.reading)}"]
    region = " to ".join(map(_number, one.part.rule.region))
    told += [f"in {region}"] + [f"control {_reading(one.control)}"] * (one.control is not None)
    told += [f"printed {' '.join(map(_number, one.part.printed))}"] * bool(one.part.printed)
    return ["; ".join(told)]


def _reading(found):
    if not isinstance(found, Estimate):
        return "not measured" if found is None else f"undefined ({found.reason})"
    ends = "" if found.low is None else f" [{', '.join(map(_number, found.ends))}]"
    return f"{_number(found.value)}{ends}{' unpaired' * found.unpaired}"


def _figure(figure):
    lines = []
    shown = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    for number, axes in enumerate(shown, 1):
        title = axes.get_figure(root=False).get_suptitle()
        lines.append(f"panel {number}: {_said(' '.join(title.split()))}")
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            lines.append(f"  {name}: {_said(axis.get_label_text())}, {axis.get_scale()}, {_ticks(axis)}")
        lines += sorted(f"  text: {_text(text)}" for text in axes.texts)
        marks = {}
        for kind, points in (*map(_line, axes.lines), *map(_collection, axes.collections), *map(_patch, axes.patches)):
            marks.setdefault(kind, []).extend(points)
        for kind, points in sorted((kind, points) for kind, points in marks.items() if points):
            lines += [f"  {kind}", *(f"    {' '.join(points[i : i + 6])}" for i in range(0, len(points), 6))]
    bars = [axes.xaxis.get_label_text() for axes in figure.axes if axes not in shown]
    return lines + [f"colours: {_said(name)}" for name in dict.fromkeys(bars)]


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


def _line(line):
    """Return a line; one that is the interval of a single mark as lower end–mark–upper end."""
    points = _points(line.get_xydata())
    if line.get_markevery() == [1] and len(points) == 3:
        return f"readings {to_hex(line.get_color())} {line.get_marker()}", ["–".join(points)]
    return f"line {to_hex(line.get_color())} {line.get_linestyle()} {line.get_marker()}", points


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
