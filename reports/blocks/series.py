"""Panels of readings in a row: by place, upright or lying, and over iterations or steps."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.axes import (
    WORD,
    Told,
    along,
    dot,
    dotted,
    label_ends,
    mark,
    plain_logarithm,
    read,
    slant,
    word_on_line,
)
from metaprobe.reports.blocks.canvas import Key, Sketch, tell
from metaprobe.reports.blocks.declared import Curve, Curves, Dots, Series, Shown
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.wording import CHANCE_GREY, number

__all__ = ["curves_sketch", "dots_sketch"]

_BAND, _NULL, _DASHES = "#e9e9e9", "#d0d0d0", (0, (3, 2))
_LETTERS = 22  # of a place's name in a line, where places are below each other
_FEW = 12  # points of a curve that each have their mark and interval; of more, a tenth has a mark
_Band = list[tuple[float, float, float]]  # x, low, high


def dots_sketch(panel: Dots, evidence: Evidence | None) -> Sketch | None:
    """Read a panel by place; None where no reading of it is a number.

    Places that were not measured are left out, with what the paper printed for them.
    """

    def of(series: Series, quantities: Sequence[Shown | None], *word: str) -> list[Told]:
        names = (", ".join(filter(None, (series.label or panel.title, place, *word))) for place in panel.places)
        return [read(one, evidence, name) for one, name in zip(quantities, names, strict=bool(quantities))]

    every = [(series, of(series, series.quantities), of(series, series.nulls, "null")) for series in panel.series]
    every = [one for one in every if any(told.reading is not None for told in one[1])]
    kept = [i for i in range(len(panel.places)) if any(found[i].reading is not None for _, found, _ in every)]
    every = [(series, [found[i] for i in kept], [nulls[i] for i in kept if nulls]) for series, found, nulls in every]
    if not any(told.estimate for _, found, _ in every for told in found):
        return None
    lying, places = panel.lying, [panel.places[i] for i in kept]
    printed = [(kept.index(i), value) for i, value in panel.printed if i in kept]
    slots, paper = len(every) + bool(printed), Key("paper", "#000000", "D", open=True)

    def paint(axes: Axes) -> None:
        _background(axes, panel, kept)
        step = min(0.3 if lying else 0.2, 0.75 / slots)
        offsets = [step * (slot - (slots - 1) / 2) for slot in range(slots)]
        for offset, one in zip(offsets, every, strict=False):
            _series(axes, offset, lying, *one)
        look = {"marker": "D", "color": paper.colour, "markerfacecolor": "white", "markersize": 4, "zorder": 5}
        for i, value in printed:
            mark(axes, i + offsets[-1], value, f"paper, {places[i]}: {number(value, 2)}", lying=lying, **look)
        _places(axes, panel, places)

    keys = [Key(series.label, series.colour, series.marker, series.line) for series, *_ in every if series.label]
    keys += [Key("null", CHANCE_GREY, "|" if lying else "_")] * any(o.estimate for *_, nulls in every for o in nulls)
    keys += [paper] * bool(printed) + [Key(panel.band_label, "#cfcfcf", "s")] * bool(panel.band_label)
    if not lying:
        line = panel.line
        named = None if line is None else lambda axes: word_on_line(axes, *line)
        return Sketch(panel.title, paint, tuple(keys), finish=named)
    lines = max(len(textwrap.wrap(place, _LETTERS)) for place in places)
    tall = 0.8 + len(places) * max(0.14 * lines + 0.06, 0.1 * (1 + slots))
    return Sketch(panel.title, paint, tuple(keys), lambda width: tall, places=tuple(places))


def _series(axes: Axes, offset: float, lying: bool, series: Series, found: list[Told], nulls: list[Told]) -> None:
    known = [(place + offset, told.estimate.value) for place, told in enumerate(found) if told.estimate]
    if series.line and known:
        axes.plot(*along(lying, *zip(*known, strict=True)), series.line, color=series.colour)
    edge = axes.get_yaxis_transform() if lying else axes.get_xaxis_transform()
    for place, told in enumerate(found):
        dot(axes, place + offset, told, series.colour, series.marker, lying)
        if told.reading is not None and told.estimate is None:  # undefined: a cross at the axis, with its reason
            look = {"marker": "x", "color": series.colour, "markersize": 4, "transform": edge}
            mark(axes, place + offset, 0.02, told.words, lying=lying, **look)
    look = {"marker": "|" if lying else "_", "markersize": 8, "markeredgewidth": 1.5, "alpha": 0.75}
    for place, told in enumerate(nulls):
        if told.estimate is not None:
            mark(axes, place + offset, told.estimate.value, told.words, lying=lying, color=series.colour, **look)


def _background(axes: Axes, panel: Dots, kept: Sequence[int]) -> None:
    look = {"color": _BAND, "linewidth": 0, "zorder": 0}
    if len(panel.bands) == 1:
        (axes.axvspan if panel.lying else axes.axhspan)(*panel.bands[0], **look)
    elif panel.bands:
        fill = axes.fill_betweenx if panel.lying else axes.fill_between
        for place, i in enumerate(kept):
            fill([place - 0.42, place + 0.42], *panel.bands[i], **look)
    if panel.line is not None:
        value, word = panel.line
        dotted(axes, value, "#999999", upright=panel.lying, word=word if panel.lying else "")


def _places(axes: Axes, panel: Dots, places: Sequence[str]) -> None:
    if panel.lying:
        axes.set_yticks(range(len(places)), [textwrap.fill(place, _LETTERS) for place in places])
        axes.set(ylim=(len(places) - 0.5, -0.5), ylabel=panel.axis)  # the first on top
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
    else:
        axes.set_xticks(range(len(places)), places)
        slant(axes, places)
        axes.set(xlim=(-0.5, len(places) - 0.5), xlabel=panel.axis)
    values = "x" if panel.lying else "y"
    if panel.log:
        plain_logarithm(axes, values)
    if panel.limits is not None:
        axes.set(**{f"{values}lim": panel.limits})


@dataclass(frozen=True)
class _Course:
    """A curve with what was read of it, ascending in x."""

    curve: Curve
    known: list[tuple[float, Told, Estimate]]
    line: list[tuple[float, float]]
    words: str  # where the line begins and ends; where it has no point, why
    band: _Band
    null: _Band


def curves_sketch(panel: Curves, evidence: Evidence | None) -> Sketch | None:
    """Read a panel over iterations or steps; None where nothing was measured."""
    every = [one for curve in panel.curves if (one := _course(panel, curve, evidence)) is not None]
    if not every:
        return None
    drawn = [one for one in every if one.known]
    undefined = [one for one in every if not one.known]

    def paint(axes: Axes) -> None:
        for one in drawn:
            _curve(axes, one)
        for place, one in enumerate(undefined):
            look = {**WORD, "color": one.curve.colour, "ha": "center"}
            words = axes.annotate("undefined", (0.5, 0.5 - 0.1 * place), xycoords="axes fraction", **look)
            tell(words, one.words)
        _steps(axes, panel, marked=any(one.curve.marker for one in drawn))

    def finish(axes: Axes) -> None:
        if panel.ends:
            label_ends(axes, [(*one.line[-1], one.curve.label, one.curve.colour) for one in drawn if one.curve.label])

    named = [one.curve for one in drawn if one.curve.label and not panel.ends]
    keys = [Key(curve.label, curve.colour, curve.marker, _DASHES if curve.dashed else "-") for curve in named]
    keys += [Key("null", _NULL, "s")] * any(one.null for one in drawn)
    return Sketch(panel.title, paint, tuple(keys), finish=finish)


def _course(panel: Curves, curve: Curve, evidence: Evidence | None) -> _Course | None:
    name, axis, x_of = curve.label or panel.title, panel.axis[:1].lower() + panel.axis[1:], itemgetter(0)
    points = [(x, read(quantity, evidence, f"{name}, {axis} {x:,g}")) for x, quantity in sorted(curve.points, key=x_of)]
    points = [(x, told) for x, told in points if told.reading is not None]
    if panel.log:  # which has no place for others
        points = [(x, told) for x, told in points if told.estimate is None or told.estimate.value > 0]
    if not points:
        return None
    known = [(x, told, told.estimate) for x, told in points if told.estimate]
    line = [*([] if curve.first is None else [(0.0, curve.first)]), *((x, found.value) for x, _, found in known)]
    ends = (f"{number(y, 3 if abs(y) < 10 else 1)} at {axis} {x:,g}" for x, y in dict.fromkeys((*line[:1], *line[-1:])))
    words = f"{name}: {' … '.join(ends)}" if known else points[-1][1].words
    bands = ((x, read(a, evidence).estimate, read(b, evidence).estimate) for x, a, b in sorted(curve.band, key=x_of))
    band = [(x, low.value, high.value) for x, low, high in bands if low and high]
    nulls = ((x, read(quantity, evidence).estimate) for x, quantity in sorted(curve.null, key=x_of))
    return _Course(curve, known, line, words, band, [(x, *found.ends) for x, found in nulls if found])


def _curve(axes: Axes, one: _Course) -> None:
    curve, colour, known = one.curve, one.curve.colour, one.known
    _fill(axes, one.null, color=_NULL, linewidth=2, zorder=1)
    _fill(axes, one.band, color=colour, alpha=0.1, linewidth=0)
    seeds = sorted({seed for *_, found in known for seed, _ in found.per_seed})
    several = len(seeds) > 1
    for seed in seeds if several else ():
        own = [(x, value) for x, _, found in known for its, value in found.per_seed if its == seed]
        axes.plot(*zip(*own, strict=True), color=colour, linewidth=0.6, alpha=0.3 if curve.faint else 0.5)
    each = bool(curve.marker) and len(known) <= _FEW
    if not (several or each or curve.faint) and all(found.low is not None for *_, found in known):
        _fill(axes, [(x, *found.ends) for x, _, found in known], color=colour, alpha=0.2, linewidth=0)
    if not (curve.faint and several):
        width, alpha = (0.6, 0.35) if curve.faint else (1.6, 1.0)
        style = {"linestyle": _DASHES if curve.dashed else "-", "linewidth": width, "alpha": alpha}
        (line,) = axes.plot(*zip(*one.line, strict=True), color=colour, **style)
        tell(line, one.words)
    for x, told, _ in known[:: 1 if each else max(1, len(known) // 10)] if curve.marker else ():
        dot(axes, x, told, colour, curve.marker, bar=each)
    if curve.first is not None:
        axes.plot([0.0], [curve.first], "o", markersize=3.5, color=colour, markerfacecolor="white", zorder=4)


def _fill(axes: Axes, bounds: _Band, **look: Any) -> None:
    if bounds:
        x, low, high = zip(*bounds, strict=True)
        axes.fill_between(x, low, high, **look)


def _steps(axes: Axes, panel: Curves, *, marked: bool) -> None:
    if panel.log:
        plain_logarithm(axes, "y")
    axes.set(ylim=panel.limits, xlabel=panel.axis)
    if panel.ticks:
        axes.set_xticks(panel.ticks, [f"{tick:,g}".replace("-", "\N{MINUS SIGN}") for tick in panel.ticks])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    left, right = axes.dataLim.intervalx
    if not marked and left <= right:  # infinite the wrong way round where nothing was drawn
        axes.set_xlim(min(0.0, left), right if right > left else left + 1.0)
    if panel.line is not None:
        value, word = panel.line
        dotted(axes, value, "#888888", upright=True, word=word)
