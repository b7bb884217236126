"""What panels draw with: readings and what a mouse over them shows, marks with intervals, words, names along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy.optimize import isotonic_regression

from metaprobe.analyses.readings import Estimate, Reading, pool
from metaprobe.analyses.table import Row
from metaprobe.reports.blocks.canvas import tell
from metaprobe.reports.blocks.declared import Shown
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.strip import tame
from metaprobe.reports.quantities import Quantity
from metaprobe.reports.wording import interval, number, power_of_ten, reason_of, sizes

__all__ = ["WORD", "Told", "along", "contrast", "dot", "dotted", "label_ends", "mark"]
__all__ += ["plain_logarithm", "read", "slant", "width_of", "word_on_line"]

WORD = {"color": "#6b6b6b", "fontsize": 7.5}  # how words inside a panel look
_LETTER = 0.073  # width of a letter of a tick, in inches
_LINE = 0.135  # height of a line of text
_INSIDE = 0.5  # share of a panel that is inside its axes, at least about: how much is known only when all is laid out


@dataclass(frozen=True)
class Told:
    """A reading as a mark shows it."""

    reading: Reading  # what was read
    estimate: Estimate | None  # the same where it can be drawn
    text: str  # what it is, and its value: "MAML, conv1: 46.3 [45.1, 47.5], n = 600, 3 seeds"
    origin: str = ""  # where its rows come from: "checkpoint 1a2b3c4d; source 5e6f7a8b"

    @property
    def words(self) -> str:
        """All that a mouse over the mark shows."""
        return "; ".join(filter(None, (self.text, self.origin)))


def read(quantity: Shown | None, evidence: Evidence | None, what: str = "") -> Told:
    """Read a quantity, or take a row or a plain number, for which there need be no evidence, and say what it is."""
    rows: list[Row] = []
    if isinstance(quantity, Quantity):
        assert evidence is not None
        with evidence.recording() as rows:
            reading = quantity.read(evidence)
    elif isinstance(quantity, Row):
        rows, reading = [quantity] if evidence is None else evidence.note([quantity]), pool([quantity])
    else:
        reading = None if quantity is None else Estimate(float(quantity))
    return Told(reading, _drawable(reading), _text(reading, what), _origin(rows))


def _drawable(reading: Reading) -> Estimate | None:
    """Return an estimate as a mark can show it: of an end that no axis has, no bar is drawn."""
    if not isinstance(reading, Estimate) or (value := tame(reading.value)) is None:
        return None
    low, high = (None if end is None else tame(end) for end in (reading.low, reading.high))
    seeds = tuple((seed, own) for seed, one in reading.per_seed if (own := tame(one)) is not None)
    return replace(reading, value=value, low=low, high=high, per_seed=seeds)


def _text(reading: Reading, what: str) -> str:
    if isinstance(reading, Estimate):
        # three digits of the value, or of its interval where the value is 0
        size = abs(reading.value) or max(map(abs, reading.ends)) or 1.0
        digits = min(6, max(0, 2 - math.floor(math.log10(size)))) if math.isfinite(size) else 0
        value = number(reading.value, digits) if abs(reading.value) < 1e6 else f"{reading.value:.3g}"
        bounds = interval(reading.low, reading.high, digits)
        text = ", ".join([f"{value} {bounds}".rstrip(), *sizes(reading)])
    else:
        text = "no value" if reading is None else f"undefined ({reason_of(reading)})"
    return f"{what}: {text}" if what else text


def _origin(rows: Sequence[Row]) -> str:
    """Name the checkpoints behind rows, and their sources where those are others: the first two, and how many more."""
    checkpoints = [name for row in rows for name in (row.checkpoint, row.other_checkpoint) if name]
    sources = [name for row in rows if row.source for name in row.source.split("+") if name not in checkpoints]
    parts = []
    for word, names in (("checkpoint", checkpoints), ("source", sources)):
        short = list(dict.fromkeys(name[:8] if len(name) == 12 else name for name in names))  # ids have 12 digits
        more = f" and {len(short) - 2} more" if len(short) > 2 else ""
        parts += [f"{word}{'s' if len(short) > 1 else ''} {', '.join(short[:2])}{more}"] if short else []
    return "; ".join(parts)


def width_of(axes: Axes) -> float:
    """Return how wide the panel of these axes is, in inches."""
    return axes.figure.bbox.width / axes.figure.dpi


def _height_of(axes: Axes) -> float:
    return axes.figure.bbox.height / axes.figure.dpi


def along(lying: bool, places: Sequence[float], values: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return x and y of values at places; lying places are below each other."""
    return (values, places) if lying else (places, values)


def mark(axes: Axes, place: float, value: float, words: str, *, lying: bool = False, **look: Any) -> None:
    """Draw a single mark at a place, with its words."""
    (drawn,) = axes.plot(*along(lying, [place], [value]), linestyle="none", **look)
    tell(drawn, words)


def dot(axes: Axes, place: float, told: Told, colour: str, marker: str, lying: bool = False, bar: bool = True) -> None:
    """Draw a reading at a place, with its words and, as a bar, its interval; nothing where it is no number."""
    if (estimate := told.estimate) is not None:
        low, high = estimate.ends if bar else (estimate.value, estimate.value)
        x, y = along(lying, [place] * 3, [low, estimate.value, high])
        size = 3.0 if width_of(axes) < 2.0 else 4.5
        (line,) = axes.plot(x, y, color=colour, marker=marker, markersize=size, markevery=[1], linewidth=1.1, zorder=3)
        tell(line, told.words)


def dotted(axes: Axes, value: float, colour: str, *, upright: bool, word: str = "") -> None:
    """Draw a dotted line at a value; at the top of one that is upright, what it stands for."""
    (axes.axvline if upright else axes.axhline)(value, color=colour, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    if word:
        look = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "top"}
        axes.annotate(word, (value, 1.0), (3, -2), **look, **WORD)


def word_on_line(axes: Axes, value: float, word: str) -> None:
    """Write what a level line stands for where it hides the fewest marks: above it and left, else below or further on.

    Limits must be final.
    """
    to_share = (axes.transData + axes.transAxes.inverted()).transform
    told = [line for line in axes.lines if line.get_gid() and line.get_transform() == axes.transData]
    marks = [to_share(line.get_xydata()) for line in told]
    level = to_share((axes.get_xlim()[0], value))[1]
    wide, tall = 0.062 * len(word) / (_INSIDE * width_of(axes)), _LINE / (_INSIDE * _height_of(axes))
    places = [(x, y) for x in np.linspace(0.0, max(0.0, 1.0 - wide), 9) for y in (level, level - tall)]

    def hidden(place: tuple[float, float]) -> int:
        low, high = np.array(place), np.add(place, (wide, tall))
        outside = place[1] < 0 or place[1] + tall > 1
        return 99 * outside + sum(bool((m.max(axis=0) > low).all() and (m.min(axis=0) < high).all()) for m in marks)

    x, y = min(places, key=hidden)  # the first of those that hide as few
    above = y == level
    look = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "bottom" if above else "top"}
    axes.annotate(word, (x, value), (2, 2 if above else -2), **look, **WORD)


def slant(axes: Axes, names: Sequence[str], share: float = 0.8) -> None:
    """Make names along the horizontal axis, which is so much of the panel, smaller or slanted where they would meet."""
    longest = max((len(line) for name in names for line in name.split("\n")), default=0)
    need = longest * _LETTER * len(names) / (share * width_of(axes))
    if need > 1.2:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    elif need > 1.0:
        axes.tick_params(axis="x", labelsize=7)


def plain_logarithm(axes: Axes, which: str) -> None:
    """Make the axis "x" or "y" logarithmic; few decades are named by numbers, many by powers of ten."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    few = high / low < 200
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if few else power_of_ten(round(math.log10(value))))
    )


def label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write (x, y, label, colour) right of the ends of lines, apart from each other; limits must be final."""
    ends = sorted(ends, key=lambda end: end[1])
    to_share = (axes.transData + axes.transAxes.inverted()).transform
    gap = min(_LINE / (_INSIDE * _height_of(axes)), 0.96 / max(1, len(ends) - 1))  # many are nearer than they are high
    for share, (x, _, label, colour) in zip(_spread([to_share(end[:2])[1] for end in ends], gap), ends, strict=True):
        look = {"color": _dark(colour), "va": "center", "annotation_clip": False}
        axes.annotate(label, (x, share), (6, 0), xycoords=("data", "axes fraction"), textcoords="offset points", **look)


def _spread(places: Sequence[float], gap: float) -> list[float]:
    """Move ascending places apart to at least `gap`, each cluster around its own middle, inside [0, 1] if they fit."""
    if not places:
        return []
    # Less the steps from one to the next, places need but ascend: the nearest that do are an isotonic regression.
    steps = gap * np.arange(len(places))
    bare = isotonic_regression(places - steps).x
    return list(np.clip(bare, 0.02, max(0.02, 1.0 - steps[-1])) + steps)


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the contrast of two colours as WCAG defines it, from 1 to 21."""
    rgb = np.array([one, other])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return float((light + 0.05) / (dark + 0.05))


def _dark(colour: str) -> tuple[float, ...]:
    rgb = to_rgb(colour)
    while contrast(rgb, (1.0, 1.0, 1.0)) < 4.5:
        rgb = tuple(0.9 * channel for channel in rgb)
    return rgb
