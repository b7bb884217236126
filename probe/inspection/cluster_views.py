"""Clusters as tables, for `metaprobe inspect` and `metaprobe diff`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metaprobe.probe.inspection.clusters import ClustersReport
from metaprobe.probe.show import Cell, Grid

if TYPE_CHECKING:
    from metaprobe.probe.inspection.cluster_diff import ClustersDifference

__all__ = ["adaptation_told", "cluster_difference_grids", "cluster_facts", "cluster_grids"]

_WORDS = {
    "all": "all parameters",
    "body": "the parameters of the body",
    "head": "the parameters of the head",
    "other": "some parameters",
}


def cluster_facts(found: ClustersReport | None) -> Iterator[tuple[Cell, ...]]:
    """Return what holds of all clusters of a file as (what, value) rows."""
    if found is None:
        return
    if found.count is not None:
        yield "clusters of tasks", found.count
    if found.clusters:
        norms = "" if found.norms or found.clustered_by == "head" else " but the norms'"
        yield "clustered by", f"{_WORDS[found.clustered_by]}{norms}, after adaptation from the base"
        yield "tasks adapt for that by", adaptation_told(found)
        yield "tasks are compared with", f"the {found.compared_with}"
    if found.base is not None:
        yield "id of the base checkpoint", found.base[:12]
    for problem in found.problems:
        yield "problem with the clusters", problem


def adaptation_told(found: ClustersReport) -> str:
    """Return in words how tasks adapt from the base to be clustered and assigned."""
    steps = "an unknown number of inner steps" if found.steps is None else f"{found.steps} inner steps"
    steps += " under a head of equal rows" * found.symmetric_head
    several = f", mean over {found.label_orders} orders of their labels"
    return steps + several * (found.label_orders > 1)


def cluster_grids(found: ClustersReport | None, with_statistics: bool) -> tuple[Grid, ...]:
    """Return the table of a file's clusters, one row each; nothing for a file without."""
    if found is None:
        return ()
    columns = ("cluster", "members", "share")
    if with_statistics:
        columns += ("centre_to_base_l2", "initialisation_to_base_l2")
    rows = tuple(
        (each.cluster, each.members, each.share)
        + ((each.centre_to_base, each.initialisation_to_base) if with_statistics else ())
        for each in found.clusters
    )
    return (Grid("clusters", columns, rows),)


def cluster_difference_grids(found: ClustersDifference | None) -> tuple[Grid, ...]:
    """Return the table of clusters that two files both have, by their numbers; nothing where neither has any."""
    if found is None:
        return ()
    columns = ("cluster", "members_a", "members_b", "centres_l2", "initialisations_l2", "relative", "cosine")
    columns += ("nearest_in_b",)
    return (
        Grid(
            "clusters",
            columns,
            tuple(
                (each.cluster, each.members_a, each.members_b, each.centres.l2 if each.centres else None)
                + ((own.l2, own.relative, own.cosine) if (own := each.initialisations) else (None, None, None))
                + (each.nearest_in_b,)
                for each in found.clusters
            ),
            unbroken=frozenset(columns),
        ),
    )
