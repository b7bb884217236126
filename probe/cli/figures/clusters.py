"""The figure of `metaprobe clusters`."""

from __future__ import annotations

from metaprobe.analyses.table import Row, Table
from metaprobe.probe.cli.figures.learners import of, said
from metaprobe.reports.blocks.declared import Dots, Figure, Map, Point, Scatter, Series
from metaprobe.reports.wording import GROUP_MARKS, capital, label_of

__all__ = ["clusters_figure"]

_SCORES = {  # in greys, as colours are the domains'
    "adjusted_rand": ("adjusted Rand index", "#222222", "D"),
    "normalised_mutual_information": ("normalised mutual information", "#6b6b6b", "P"),
    "purity": ("purity", "#a0a0a0", "X"),
}
_VIEWS = {"assignment": "own assignment", "all": "all adapted parameters", "body": "adapted body"}
_VIEWS |= {"head": "adapted head", "features": "mean features"}
_METHODS = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}


def clusters_figure(table: Table, called: str) -> Figure:
    """Return tasks of each domain by cluster, what clusters say of domains, and tasks in the plane where embedded.

    Args:
        table: as `metaprobe clusters` makes it.
        called: what a cluster is, "initialisation" or "cluster".
    """
    usage, agreement = _usage(table, called), _agreement(table)
    planes = _planes(table, called)
    caption = f"{called.capitalize()}s of test tasks by the domain that the tasks are of"
    caption += "; agreement of clusters with domains; tasks in the plane" if planes else "; agreement with the domains"
    best = [row for row in table.rows if row.measure == "adjusted_rand" and row.value is not None and row.task is None]
    told = " ".join(f"Adjusted Rand index by {_VIEWS.get(row.view or '', row.view)}: {said(row, 2)}." for row in best)
    how = _how(table) if planes else ""
    wide = bool(usage.values) + any(row is not None and row.value is not None for one in agreement.series
                                    for row in one.quantities if isinstance(row, Row))  # fmt: skip
    missing = ("Clusters", "nothing of this checkpoint adapts")
    panels = (*[usage] * bool(usage.values), agreement, *planes)
    return Figure("clusters", f"{caption}. {told}{how}", panels, missing, columns=3 if planes else 2, wide=wide)


def _usage(table: Table, called: str) -> Map:
    """Return how often tasks of each domain fall into each cluster (Zhou et al. 2021, Figure 3)."""
    found: dict[str, dict[tuple[str, str], Row]] = {"usage_frequency": {}, "usage_count": {}}
    for row in table.rows:
        if row.measure in found and row.group is not None:
            size = "" if row.n is None else f"\n({row.n:,} tasks)"
            found[row.measure][f"{called} {row.cluster}", row.group + size] = row
    share, number = found.values()
    title = f"{called.capitalize()}s of tasks by domain"
    return Map(title, "Share of the domain's tasks; below it their number", "", "Domain of the task", share, number)


def _agreement(table: Table) -> Dots:
    views = [view for view in _VIEWS if of(table.rows, measure="purity", view=view) is not None]
    every = tuple(
        Series(name, colour, tuple(of(table.rows, measure=score, view=view) for view in views), marker)
        for score, (name, colour, marker) in _SCORES.items()
    )
    title = "Agreement of clusters with domains (1: identical)"
    return Dots(title, tuple(_VIEWS[view] for view in views), every, lying=True)


def _planes(table: Table, called: str) -> list[Scatter]:
    """Return tasks in the plane, a panel for each view and method; colours are domains, shapes clusters."""
    points: dict[tuple[object, ...], Row] = {
        (row.view, row.algorithm, row.measure, row.task): row for row in table.rows if row.task is not None
    }
    across = [row for row in points.values() if row.measure.endswith("_x")]
    groups = list(dict.fromkeys(row.group or "" for row in across))
    several, panels = len({row.algorithm for row in across}) > 1, []
    for view, learner in dict.fromkeys((row.view, row.algorithm) for row in across):
        for method, name in _METHODS.items():
            drawn = tuple(
                Point(row, points[view, learner, f"{method}_y", row.task], row.group or "",
                      GROUP_MARKS[groups.index(row.group or "") % len(GROUP_MARKS)][0],
                      GROUP_MARKS[(row.cluster or 0) % len(GROUP_MARKS)][1],
                      "" if row.cluster is None else f"{called} {row.cluster}")
                for row in across if (row.view, row.algorithm, row.measure) == (view, learner, f"{method}_x")
            )  # fmt: skip
            if not drawn:
                continue
            trust = of(table.rows, view=view, algorithm=learner, measure=f"{method}_trustworthiness")
            note = "" if trust is None else f"trustworthiness {said(trust, 2)}"
            who = f"{label_of(learner)}, " if several and learner else ""
            panels.append(Scatter(f"{who}{_VIEWS.get(view or '', view)}: {name}", ("", ""), drawn, note=note))
    return panels


def _how(table: Table) -> str:
    """Say how places in the plane were found, and among how many neighbours they are trusted."""
    reasons = [row.reason for row in table.rows if row.measure.endswith("_trustworthiness") and row.reason]
    methods, among = ([one.partition("; ")[side] for one in reasons] for side in (0, 2))
    sentences = ("; ".join(dict.fromkeys(methods)), *map(capital, dict.fromkeys(filter(None, among))))
    return "".join(f" {one}." for one in sentences if one)
