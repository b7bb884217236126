"""TSA-MAML: tasks are clustered by their adapted parameters, and each cluster has an initialisation of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, adapt_all, meta_gradient

if TYPE_CHECKING:
    from metaprobe.trainers.clustering.clusters import Clusters
    from metaprobe.trainers.clustering.finding import Search

__all__ = ["TSA_MAML"]

_MOVES = ("cluster_steps", "cluster_norms", "label_orders", "symmetric_head")  # how tasks are told apart


def _cluster(search: Search, advance: Callable[[int], None]) -> Clusters:
    from metaprobe.trainers.clustering.finding import find_clusters

    return find_clusters(search, advance)


TSA_MAML = Algorithm(
    name="tsa_maml",
    summary="MAML with an initialisation for each cluster of tasks, from a MAML checkpoint (--base).",
    citation="Zhou, Zou, Yuan, Feng, Xiong, Hoi: Task Similarity Aware Meta Learning, UAI 2021, Section 4.2",
    adaptation=adapt_all,
    meta_gradient=meta_gradient,
    needs_base=True,
    cluster=_cluster,
    options=frozenset({"clusters", "clustered", "assign_to", "cluster_tasks", *_MOVES}),
)
