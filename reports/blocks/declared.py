"""What a block of a page can be: tables and figures as declarations of what they show; nothing here draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaprobe.analyses.table import Row
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.parts import Cell
from metaprobe.reports.quantities import Quantity
from metaprobe.reports.wording import DASH

if TYPE_CHECKING:
    from metaprobe.reports.blocks.canvas import Sketch

MOST_COLUMNS = 15  # of a map with numbers in its cells; of more, a mouse over a cell tells its number
BLANK = Cell(DASH, number=True)  # what was not measured, or is not in the paper

Shown = Quantity | Row | float
"""What a mark can show: a quantity that is read off the evidence, a row as it is, or a plain number."""


@dataclass(frozen=True)
class Under:
    """A smaller line under a number."""

    quantity: Quantity  # what it says
    word: str = ""  # before it: "null", "Δ", "×"
    digits: int = 1  # decimals
    signed: bool = False  # whether with its sign
    interval: bool = False  # whether its interval follows, on a line of its own


@dataclass(frozen=True)
class Said:
    """A quantity as a cell: its value, under it its interval, with several seeds their spread, then further lines."""

    quantity: Quantity  # what it says
    digits: int = 1  # decimals
    signed: bool = False  # whether with its sign
    unit: str = ""  # after the number, " ms"
    scale: float = 1.0  # what it is multiplied by
    under: tuple[Under, ...] = ()  # further lines; one whose quantity was not measured is left out
    plain: bool = False  # whether the spread of the seeds is left out


@dataclass(frozen=True)
class Line:
    """A line of a table; one whose quantities were all not measured is left out."""

    title: str  # its first cell
    cells: tuple[Said | Cell, ...]  # the others: quantities, or what is printed as it is
    under: tuple[str, ...] = ()  # smaller lines under the title


@dataclass(frozen=True)
class Grid:
    """A table."""

    name: str  # lower-case words joined by hyphens; names its files and its place
    caption: str  # what it shows
    header: tuple[str, ...]  # titles of all columns
    lines: tuple[Line, ...]  # its lines
    missing: tuple[str, str] | None = None  # said where nothing was measured: (what, why); None: another block says it
    notes: tuple[str, ...] = ()  # remarks under it


@dataclass(frozen=True)
class Series:
    """Readings at the places of `Dots`."""

    label: str  # in the legend; "" for no entry
    colour: str  # of its marks
    quantities: tuple[Shown | None, ...]  # one a place; None where there is none
    marker: str = "o"  # matplotlib's name of its mark
    line: str = ""  # "" for marks alone, "-" or "--" to join them
    nulls: tuple[Shown | None, ...] = ()  # the null of each, drawn as a short line


@dataclass(frozen=True)
class Dots:
    """Readings with intervals by place."""

    title: str  # over the panel, with the unit
    places: tuple[str, ...]  # what the readings are of
    series: tuple[Series, ...]  # readings
    lying: bool = False  # whether places are below each other and values run to the right
    axis: str = ""  # name of the axis of places
    bands: tuple[tuple[float, float], ...] = ()  # grey regions: (low, high) for all places, or one a place
    line: tuple[float, str] | None = None  # a dotted line at a value, and its word: (50.0, "chance")
    printed: tuple[tuple[int, float], ...] = ()  # the paper's figures: (place, value)
    limits: tuple[float, float] | None = None  # of the axis of values; None: as the values have it
    log: bool = False  # whether that axis is logarithmic
    band_label: str = ""  # of the bands in the legend


@dataclass(frozen=True)
class Curve:
    """A quantity over iterations or steps."""

    label: str  # at its end or in the legend; "" for none
    colour: str  # of its line
    points: tuple[tuple[float, Shown], ...]  # (x, quantity); several seeds are thin lines beside their thick mean
    faint: bool = False  # whether it is drawn as background
    dashed: bool = False  # whether the line is dashed
    marker: str = ""  # of single points; "" for none
    band: tuple[tuple[float, Shown, Shown], ...] = ()  # (x, low, high): a light band, as of quartiles
    null: tuple[tuple[float, Shown], ...] = ()  # (x, quantity): a grey band behind
    first: float | None = None  # the value at x = 0 where it is known by definition, drawn as an open mark


@dataclass(frozen=True)
class Curves:
    """Quantities over iterations or steps."""

    title: str  # over the panel, with the unit
    axis: str  # name of the horizontal axis
    curves: tuple[Curve, ...]  # what is drawn
    limits: tuple[float | None, float | None] = (None, None)  # of the vertical axis; None: as the values have it
    log: bool = False  # whether that axis is logarithmic
    line: tuple[float, str] | None = None  # a dotted upright line at a place, and its word
    ends: bool = True  # whether labels stand at the ends of lines; else in the legend
    ticks: tuple[float, ...] = ()  # places of the horizontal axis that are named; without them, as the values have it


@dataclass(frozen=True)
class Map:
    """A value for each of some rows against each of some columns."""

    title: str  # over the panel: which two are compared
    measure: str  # name of the values, at the colour bar
    down: str  # what the rows are
    across: str  # what the columns are
    values: Mapping[tuple[str, str], Shown | None]  # by (row, column), in their order; None: undefined
    under: Mapping[tuple[str, str], Shown | None] | None = None  # second lines of the cells, by the same
    most: float = 1.0  # the value of the darkest colour; the lightest is 0


@dataclass(frozen=True)
class Point:
    """A point of a `Scatter`."""

    x: Shown  # across
    y: Shown  # up
    label: str  # in the legend, with its colour; "" for none
    colour: str  # of the mark
    marker: str = "o"  # matplotlib's name of the mark
    shape: str = ""  # in the legend, with its marker; "" for none
    open: bool = False  # whether it is drawn open
    told: str = ""  # what a mouse over it shows, before its numbers


@dataclass(frozen=True)
class Scatter:
    """Two numbers a point."""

    title: str  # over the panel
    axis: tuple[str, str]  # names of both axes; ("", "") where they have no meaning, and then no ticks either
    points: tuple[Point, ...]  # what is drawn
    identity: bool = False  # whether y = x is drawn
    best: tuple[Quantity, Quantity] | None = None  # slope and intercept of a line through the points that are not open
    note: str | Under = ""  # under the panel: words, or a quantity with its word


Panel = Dots | Curves | Map | Scatter


@dataclass(frozen=True)
class Figure:
    """Panels beside and under each other; panels without a number are left out."""

    name: str  # as a table's
    caption: str  # what it shows and how to read it
    panels: tuple[Panel, ...]  # row by row
    missing: tuple[str, str] | None = None  # what is said where nothing was measured: (what, why), as of a table
    columns: int = 2  # how many panels stand side by side
    share: bool = False  # whether panels share the limits of their vertical axis
    wide: int = 0  # in a file, how many of the first panels stand two side by side whatever the others do


@dataclass(frozen=True)
class Custom:
    """A figure of its own kind."""

    name: str  # as a table's
    caption: str  # what it shows and how to read it
    draw: Callable[[Evidence], Sequence[Sketch] | None]  # None where nothing was measured
    missing: tuple[str, str]  # what is said then: (what, why)
    columns, share, wide = 2, False, 0  # as of a figure


Block = Grid | Figure | Custom
"""What a section of a study is made of."""
