"""The figure of `metaprobe distance`."""

from __future__ import annotations

from metaprobe.analyses.table import Table
from metaprobe.probe.cli.figures.learners import bars_of, learners_of, of, said
from metaprobe.reports.blocks.declared import Dots, Figure, Series

__all__ = ["distance_figure"]

_TITLES = {
    "relative_distance": "Relative to its norm",
    "rms_change": "RMS change of a weight",
    "euclidean_distance": "Euclidean distance",
}
_MOST, _SPAN = 8, 20.0  # layers beside each other; the ratio of values from which an axis is logarithmic


def distance_figure(table: Table) -> Figure:
    """Return how far the weights of each layer move, in three units."""
    rows = [row for row in table.rows if row.task is None]
    learners, layers = learners_of(rows), tuple(dict.fromkeys(row.layer or "" for row in rows))
    lying, panels = len(layers) > _MOST, []
    every = [[row.value for row in rows if row.measure == measure and row.value is not None] for measure in _TITLES]
    known = [values for values in every if values]
    log = min(map(min, known), default=0.0) > 0 and any(max(values) / min(values) > _SPAN for values in known)
    for measure, title in _TITLES.items():
        series = tuple(
            Series(one.label * (len(learners) > 1), one.colour,
                   tuple(of(one.rows, measure=measure, layer=layer) for layer in layers), one.marker)
            for one in learners
        )  # fmt: skip
        panels.append(Dots(title, layers, series, lying=lying, log=log))
    caption = "How far the weights of each layer move in the inner loop."
    for one in learners:
        moved = [row for row in one.rows if row.measure == "relative_distance" and row.value is not None]
        if moved:
            far = max(moved, key=lambda row: row.value or 0.0)
            where = f"farthest {far.layer}, {said(far, 3)} of its norm" if far.value else "nothing moved"
            caption += f" {one.title}: {where}."
    caption += bars_of(row for row in rows if row.measure in _TITLES)
    return Figure("distance", caption, tuple(panels), columns=2 if lying else 3)
