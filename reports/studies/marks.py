"""What the figures of the study draw with: curves over training, and readings with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.entries import Entry
from reports.evidence import Estimate, Reading

__all__ = ["LEARNERS", "curve", "key", "points", "settle"]

LEARNERS = ("maml", "fomaml", "anil")


def curve(axes: Axes, rows: Sequence[Entry], colour: str, *, faint: bool) -> tuple[float, float] | None:
    """Draw a quantity over training: one line a seed, and the mean of several; return the last point."""
    known = sorted((row for row in rows if row.value is not None), key=lambda row: row.iteration or 0)
    if not known:
        return None
    seeds = sorted({row.seed or 0 for row in known})
    for seed in seeds:
        mine = [row for row in known if (row.seed or 0) == seed]
        x, y = [row.iteration or 0 for row in mine], [row.value or 0.0 for row in mine]
        alone = len(seeds) == 1 and not faint
        axes.plot(x, y, color=colour, linewidth=1.6 if alone else 0.6, alpha=0.3 if faint else 1.0 if alone else 0.55)
        if alone and all(row.low is not None and row.high is not None for row in mine):
            bounds = [row.low or 0.0 for row in mine], [row.high or 0.0 for row in mine]
            axes.fill_between(x, *bounds, color=colour, alpha=0.18, linewidth=0)
    at: dict[int, list[float]] = {}
    for row in known:
        at.setdefault(row.iteration or 0, []).append(row.value or 0.0)
    mean = {iteration: sum(values) / len(values) for iteration, values in at.items()}
    if len(seeds) > 1 and not faint:
        axes.plot(list(mean), list(mean.values()), color=colour, linewidth=1.8)
    last = max(mean)
    return float(last), mean[last]


def points(
    axes: Axes,
    readings: Sequence[Reading],
    offset: float,
    colour: str,
    *,
    line: str | tuple[int, tuple[int, ...]] = "-",
    marker: str = "o",
    label: str | None = None,
    at: Sequence[float] | None = None,
) -> tuple[float, float] | None:
    """Draw readings with their intervals at 0, 1, … (or `at`), those with a number; return the last point."""
    known = [(x, r) for x, r in zip(at or range(len(readings)), readings, strict=True) if isinstance(r, Estimate)]
    if not known:
        return None
    x = np.array([place for place, _ in known], float) + offset
    y = np.array([r.value for _, r in known])
    bars = np.array(
        [
            [r.value - (r.value if r.low is None else r.low), (r.value if r.high is None else r.high) - r.value]
            for _, r in known
        ]
    )
    axes.errorbar(
        x, y, np.clip(bars.T, 0, None), color=colour, linestyle=line, marker=marker, label=label, elinewidth=1.1
    )
    return float(x[-1]), float(y[-1])


def settle(axes: Axes) -> None:
    """Freeze the limits, so that labels placed by them stay where they are."""
    axes.set_ylim(axes.get_ylim())


def key(colour: str, marker: str, label: str) -> Line2D:
    """Return a legend's entry: a marker without the interval's bar."""
    return Line2D([], [], color=colour, linestyle="none", marker=marker, label=label)
