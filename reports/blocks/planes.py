"""Panels with a meaning in both directions: a value for each row and column, and two numbers a point."""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from metaprobe.reports.blocks.axes import Told, contrast, read, slant, width_of
from metaprobe.reports.blocks.canvas import Key, Sketch, tell
from metaprobe.reports.blocks.declared import MOST_COLUMNS, Map, Point, Scatter, Under
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.wording import CHANCE_GREY, DASH, INK, number, with_interval

__all__ = ["map_sketch", "scatter_sketch"]

# One hue, from light to dark, which readers without red or green see alike; of 50 or more colours matplotlib would make
# the bar a picture.
_COLOURS = LinearSegmentedColormap.from_list("blue", ["#f3f7fb", "#6ea0cc", "#00335f"], N=48)
_INKS = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_DOTTED = (0, (1, 2))
_MANY = 60  # points that are drawn small
_Placed = tuple[Point, float, float, str]  # a point, its place, its words


def map_sketch(panel: Map, evidence: Evidence | None) -> Sketch | None:
    """Read a map; None where nothing was measured."""
    told = {at: read(value, evidence, ", ".join(at)) for at, value in panel.values.items()}
    if not any(one.estimate for one in told.values()):
        return None
    under = {at: read(value, evidence) for at, value in (panel.under or {}).items()}
    down, across = (list(dict.fromkeys(at[side] for at in told)) for side in (0, 1))
    many = len(across) > MOST_COLUMNS

    def paint(axes: Axes) -> None:
        size = 0.0 if many else min(7.5, 34 * 0.75 * width_of(axes) / len(across))
        for (row, column), one in told.items():
            _cell(axes, across.index(column), down.index(row), one, under.get((row, column)), size, panel.most)
        axes.set_xticks(range(len(across)), across)
        axes.set_yticks(range(len(down)), [textwrap.fill(name, 16, break_long_words=False) for name in down])
        if many:
            axes.tick_params(axis="x", labelrotation=90, labelsize=6)
            axes.tick_params(axis="y", labelsize=6)
        else:
            slant(axes, across, 0.62)
        axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5), xlabel=panel.across, ylabel=panel.down)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        colours = ScalarMappable(Normalize(0.0, panel.most), _COLOURS)
        bar = axes.figure.colorbar(colours, ax=axes, location="bottom", fraction=0.06, pad=0.03, aspect=30)
        bar.set_ticks([share * panel.most for share in (0.0, 0.25, 0.5, 0.75, 1.0)])
        bar.set_label(panel.measure)
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.solids.set_edgecolor("face")  # pyright: ignore[reportOptionalMemberAccess]

    line = 0.12 if many else 0.42 if under else 0.34
    top = 1.35 + (0.06 * max(map(len, across)) if many else 0.0)  # names that stand upright have their length
    return Sketch(panel.title, paint, height=lambda width: top + line * max(2, len(down)))


def _cell(axes: Axes, x: int, y: int, one: Told, under: Told | None, size: float, most: float) -> None:
    colour, text, words = (1.0, 1.0, 1.0), DASH if one.reading is None else "undef.", one.words
    if one.estimate is not None:
        colour, text = _COLOURS(float(np.clip(one.estimate.value / most, 0.0, 1.0)))[:3], number(one.estimate.value, 2)
    if under is not None:
        words = "; ".join(filter(None, (one.text, under.text, one.origin)))
        if under.estimate is not None:
            value = under.estimate.value
            text += "\n" + (f"{value:,.0f}" if value == round(value) else number(value, 2))
    cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8)
    tell(axes.add_patch(cell), words)
    ink = max(_INKS, key=lambda ink: contrast(ink, colour))
    if not size:  # there is no room for a number
        text, size = "" if one.estimate else "×", 5.0
    tell(axes.text(x, y, text, ha="center", va="center", fontsize=size, color=ink), words)


def scatter_sketch(panel: Scatter, evidence: Evidence | None) -> Sketch | None:
    """Read a scatter; None where no point has both numbers."""
    found = [placed for point in panel.points if (placed := _placed(panel, point, evidence)) is not None]
    if not found:
        return None
    best = [one.value for quantity in panel.best or () if (one := read(quantity, evidence).estimate)]
    note = panel.note
    if isinstance(note, Under):
        note = f"{note.word} {with_interval(read(note.quantity, evidence).reading, note.digits)}"

    def paint(axes: Axes) -> None:
        _points(axes, found)
        closed = [x for point, x, _, _ in found if not point.open]
        if len(best) == 2 and closed:
            ends = [min(closed), max(closed)]
            (line,) = axes.plot(ends, [best[0] * x + best[1] for x in ends], color=INK, linewidth=1.0, zorder=2)
            tell(line, f"best line: slope {best[0]:.2f}, intercept {best[1]:.2f}")
        if not any(panel.axis):  # neither direction has a name: where points stand means nothing but how near
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(visible=True, color="#cccccc")
        axes.grid(visible=any(panel.axis), axis="both")
        axes.set(xlabel="\n".join(filter(None, (panel.axis[0], note))), ylabel=panel.axis[1])
        if panel.identity:
            values = [value for _, x, y, _ in found for value in (x, y)]
            margin = 0.06 * (max(values) - min(values)) or 0.05
            both = min(values) - margin, max(values) + margin
            axes.plot(both, both, color=CHANCE_GREY, linewidth=1.1, linestyle=_DOTTED, zorder=1)
            axes.set(xlim=both, ylim=both)

    points = [point for point, *_ in found]
    # what colours say, then what shapes say; where shapes say nothing, colours come with theirs
    looks = [Key(p.label, p.colour, "o" if p.shape else p.marker, open=p.open) for p in points if p.label]
    keys = list(dict.fromkeys((*looks, *(Key(p.shape, INK, p.marker) for p in points if p.shape))))
    keys += [Key("y = x", CHANCE_GREY, "", _DOTTED)] * panel.identity + [Key("best line", INK, "", "-")] * bool(best)
    return Sketch(panel.title, paint, tuple(keys), height=lambda width: max(1.5, 0.95 * width))


def _placed(panel: Scatter, point: Point, evidence: Evidence | None) -> _Placed | None:
    sides = [read(side, evidence, name) for side, name in zip((point.x, point.y), panel.axis, strict=True)]
    x, y = (side.estimate for side in sides)
    if x is None or y is None:
        return None
    named = [side.text for side, name in zip(sides, panel.axis, strict=True) if name]
    first = point.told or ", ".join(filter(None, (point.label, point.shape)))
    words = dict.fromkeys(filter(None, (first, *named, *(side.origin for side in sides))))
    return point, x.value, y.value, "; ".join(words)


def _points(axes: Axes, found: list[_Placed]) -> None:
    """Draw the points, those of one look together: each has its words all the same, and the drawing stays small."""
    looks: dict[tuple[str, str, bool], list[_Placed]] = {}
    for placed in found:
        looks.setdefault((placed[0].colour, placed[0].marker, placed[0].open), []).append(placed)
    for (colour, marker, is_open), some in looks.items():
        _, x, y, words = zip(*some, strict=True)
        size, width = 9 if len(found) > _MANY else 22, 1.0 if is_open else 0.3
        face, edge = ("none", colour) if is_open else (colour, "white")
        look = {"facecolors": face, "edgecolors": edge, "linewidths": width, "alpha": 0.85, "zorder": 3}
        tell(axes.scatter(x, y, s=size, marker=marker, **look), *words)
