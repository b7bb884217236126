"""The study's figure of tasks as points in the plane (Zhou et al. 2021, Figure 1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.entries import Entry
from reports.evidence import Estimate, Undefined, pool
from reports.figures import GROUP_MARKS, INK, Drawing, canvas, drawing, style
from reports.studies.zhou2021.study_table import ZhouTable

__all__ = ["METHODS", "VIEWS", "embeddings", "told_of"]

METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}
"""Columns of the figure."""

VIEWS: dict[tuple[str, str], str] = {
    ("features", "maml"): "Mean features",
    ("all", "maml"): "Parameters adapted\nby MAML",
    ("all", "tsa_maml"): "Parameters adapted\nby TSA-MAML",
}
"""Rows of the figure: (view, algorithm) of the table's rows, and what they are called."""


def embeddings(study: ZhouTable) -> Drawing | None:
    """Draw tasks in the plane: methods beside each other, what they are described by below each other."""
    seed = study.seeds[0]
    shown = {view: [row for method in METHODS for row in _rows(study, method, view, seed)] for view in VIEWS}
    views = [view for view, rows in shown.items() if rows]
    methods = [m for m in METHODS if any(r.measure.startswith(m) for rows in shown.values() for r in rows)]
    if not views:
        return None
    with style():
        figure, _ = canvas(1, 0.5 + 2.15 * len(views))
        figure.clear()
        panels = figure.subplots(len(views), len(methods), squeeze=False)
        for i, view in enumerate(views):
            for j, method in enumerate(methods):
                _panel(panels[i, j], study, _rows(study, method, view, seed), method)
                if i == 0:
                    panels[i, j].set_title(METHODS[method], loc="center")
            panels[i, 0].set_ylabel(VIEWS[view], fontweight="bold")
        keys = [
            Line2D([], [], linestyle="none", marker=marker, color=colour, label=domain, markersize=5.5)
            for domain, (colour, marker) in _marks(study).items()
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 5), title="Domain of the task")
        return drawing(
            "embeddings",
            figure,
            "Tasks in the plane",
            "Each point a task, coloured and marked by its domain: embedded by each method from mean features, from "
            "parameters adapted by MAML and from parameters adapted by TSA-MAML.",
        )


def told_of(study: ZhouTable) -> str:
    """Return how the embeddings were made, as their rows say."""
    reasons = []
    for method in METHODS:
        rows = [row for view in VIEWS for row in _rows(study, method, view, study.seeds[0])]
        reasons += list(dict.fromkeys(row.reason.partition(";")[0] for row in rows if row.reason))[:1]
    return "; ".join(reasons)


def _panel(axes: Axes, study: ZhouTable, rows: Sequence[Entry], method: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color("#cccccc")
    points: dict[int, list[float | None]] = {}
    groups: dict[int, str] = {}
    for row in rows:
        if row.task is not None:
            points.setdefault(row.task, [None, None])[row.measure.endswith("_y")] = row.value
            groups[row.task] = row.group
    for domain, (colour, marker) in _marks(study).items():
        own = np.array([xy for task, xy in points.items() if groups[task] == domain], float).reshape(-1, 2)
        axes.scatter(*own.T, s=9, c=colour, marker=marker, alpha=0.75, linewidths=0)
    trust = pool([row for row in rows if row.measure == f"{method}_trustworthiness" and row.task is None])
    if isinstance(trust, Undefined):
        axes.text(0.5, 0.5, "undefined", transform=axes.transAxes, ha="center", color=INK)
    note = f"trustworthiness {trust.value:.2f}" if isinstance(trust, Estimate) else "no trustworthiness"
    axes.set_xlabel(note, fontsize=8)


def _rows(study: ZhouTable, method: str, view: tuple[str, str], seed: int) -> list[Entry]:
    names = (f"{method}_x", f"{method}_y", f"{method}_trustworthiness")
    return [
        row
        for name in names
        for row in study.every(name, study.main)
        if (row.view, row.algorithm) == view and row.seed == seed
    ]


def _marks(study: ZhouTable) -> dict[str, tuple[str, str]]:
    return {domain: GROUP_MARKS[place % len(GROUP_MARKS)] for place, domain in enumerate(study.domains)}
