"""Layers × layers of two checkpoints as a map of their similarity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analyses.table import Row, Table
from reports.figures import INK, Drawing, drawing, style
from reports.wording import ALGORITHM_NAMES, number
from trainers.errors import MetaprobeError

__all__ = ["Map", "draw_maps", "heatmaps"]

_PALE, _DARK = 0.0, 1.0  # the range of colours, that of a similarity; what lies below is as pale as 0
_LIGHT_TEXT = 0.62  # values above are written in white
_INCHES = 0.52  # of a cell
_COLUMNS = 2
_NOTHING = "\N{EM DASH}"


@dataclass(frozen=True)
class Map:
    """One panel: a value for each layer of one checkpoint against each of another.

    Attributes:
        title: over it.
        down: what the rows are layers of.
        across: what the columns are layers of.
        values: by (layer, other layer), in the order of the layers; None where it is undefined.
    """

    title: str
    down: str
    across: str
    values: dict[tuple[str, str], float | None]


def heatmaps(table: Table, measure: str) -> Drawing:
    """Draw what `analyses.compare` gives of one measure: a panel for each two checkpoints and phases.

    Args:
        table: the rows.
        measure: which to draw.

    Raises:
        MetaprobeError: the table holds no comparison of two checkpoints by this measure.
    """
    panels: dict[tuple[str | None, ...], list[Row]] = {}
    for row in table.rows:
        if row.measure == measure and row.other_layer is not None:
            panels.setdefault((row.source, row.phase), []).append(row)
    if not panels:
        raise MetaprobeError(f"nothing to draw: the table holds no {measure} of two checkpoints")
    return draw_maps("similarity", [_map(rows) for rows in panels.values()], f"{measure}, layers against layers")


def draw_maps(name: str, maps: Sequence[Map], title: str) -> Drawing:
    """Draw maps beside and under each other, the value in every cell; darker is more similar.

    Args:
        name: prefix of the drawing's ids.
        maps: at least one.
        title: of the drawing, for those who do not see it.
    """
    with style():
        columns = min(len(maps), _COLUMNS)
        lines = -(-len(maps) // columns)
        down, across = (max(len({pair[side] for pair in shown.values}) for shown in maps) for side in (0, 1))
        size = columns * (across * _INCHES + 0.9), lines * (down * _INCHES * 0.72 + 0.85)
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06))
        axes = figure.subplots(lines, columns, squeeze=False).ravel()
        for panel, shown in zip(axes, maps, strict=False):
            _draw(panel, shown)
        for panel in axes[len(maps) :]:
            panel.remove()
        return drawing(name, figure, title, f"A map for each of: {'; '.join(shown.title for shown in maps)}.")


def _draw(panel: Axes, shown: Map) -> None:
    down, across = (list(dict.fromkeys(pair[side] for pair in shown.values)) for side in (0, 1))
    for (layer, other), value in shown.values.items():
        x, y = across.index(other), down.index(layer)
        share = 0.0 if value is None else (min(max(value, _PALE), _DARK) - _PALE) / (_DARK - _PALE)
        panel.fill_between(
            [x - 0.5, x + 0.5], y - 0.5, y + 0.5, color="#ffffff" if value is None else _colour(share), linewidth=0
        )
        text = _NOTHING if value is None else number(value, 2)
        panel.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if share > _LIGHT_TEXT else INK)
    panel.set_xticks(range(len(across)), across, rotation=0 if max(map(len, across)) < 7 else 40)
    panel.set_yticks(range(len(down)), down)
    panel.set_xlim(-0.5, len(across) - 0.5)
    panel.set_ylim(len(down) - 0.5, -0.5)  # the first layer on top
    panel.grid(visible=False)
    for side in ("left", "bottom"):
        panel.spines[side].set_visible(False)
    panel.set_title(shown.title)
    panel.set_ylabel(shown.down)
    panel.set_xlabel(shown.across)


def _colour(share: float) -> str:
    """Return a blue between white and the darkest of the house's, by share."""
    dark = (0x00, 0x3F, 0x6B)
    return "#" + "".join(f"{round(255 + share * (end - 255)):02x}" for end in dark)


def _map(rows: Sequence[Row]) -> Map:
    first = rows[0]
    own = _named(first.algorithm, first.seed, first.checkpoint)
    other = _named(first.other_algorithm, first.other_seed, first.other_checkpoint)
    words = [{"pre": "before", "post": "after"}[phase] for phase in str(first.phase).split("-")]
    both = f"{words[0]} adaptation" if len(set(words)) == 1 else f"{words[0]} against {words[1]}"
    values = {(str(row.layer), str(row.other_layer)): row.value for row in rows}
    return Map(both.capitalize(), own, other, values)


def _named(algorithm: str | None, seed: int | None, checkpoint: str | None) -> str:
    if algorithm is None:
        return f"checkpoint {checkpoint}"
    return ALGORITHM_NAMES.get(algorithm, algorithm) + ("" if seed is None else f" seed {seed}")
