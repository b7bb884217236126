"""Tasks as points in the plane, by PCA, t-SNE and UMAP, each with a figure of how far to trust its neighbourhoods."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64, Int64

from metaprobe.analyses.clustering.cluster_rows import domains_of, undefined_row
from metaprobe.analyses.clustering.clusters import assigned, domain_batches
from metaprobe.analyses.clustering.task_views import StartName, TaskViews, View, Viewer, collect_views
from metaprobe.analyses.clustering.view_clusters import points_of, spread
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import TestPlan, identity_of
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["METHODS", "EmbeddingPlan", "embed", "embedding", "trust"]

Method = Literal["pca", "tsne", "umap"]
Plane = Float64[np.ndarray, "task 2"]
Points = Float64[np.ndarray, "task coordinate"]


@dataclasses.dataclass(frozen=True)
class EmbeddingPlan:
    """How tasks are brought into the plane.

    Attributes:
        seed: of t-SNE and UMAP.
        perplexity: of t-SNE.
        neighbours: of UMAP.
        trust_neighbours: how many nearest tasks trustworthiness looks at.
        methods: which embeddings.
    """

    seed: int = 0
    perplexity: float = 30.0
    neighbours: int = 15
    trust_neighbours: int = 10
    methods: tuple[Method, ...] = ("pca", "tsne", "umap")

    def told(self, method: Method) -> str:
        """Return what a reader must know of an embedding."""
        told = {
            "pca": "PCA",
            "tsne": f"t-SNE, seed {self.seed}, perplexity {self.perplexity:g}, begun at PCA",
            "umap": f"UMAP, seed {self.seed}, {self.neighbours} neighbours, begun at PCA",
        }
        return told[method]

    @property
    def least(self) -> int:
        """Fewest tasks that all of it can be computed of."""
        return int(max(self.perplexity, self.neighbours, 2 * self.trust_neighbours)) + 1

    def check(self, count: int) -> None:
        """Refuse to embed too few tasks.

        Raises:
            MetaprobeError: `count` is below `least`.
        """
        if count < self.least:
            raise MetaprobeError(
                f"{count} tasks are too few to embed: perplexity {self.perplexity:g}, {self.neighbours} neighbours and "
                f"trustworthiness among {self.trust_neighbours} need at least {self.least} of all domains together; "
                "ask for more tasks"
            )


def embedding(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    embed_plan: EmbeddingPlan | None = None,
    moves: Moves | None = None,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Embed tasks in the plane by their mean features and by their adapted parameters (Zhou et al. 2021, Figure 1).

    Vectors are the base's features; θ_T − θ adapted from the base; and, of a checkpoint with clusters, θ_T − θ adapted
    from its own initialisations, θ being the base's in both, so that what the clusters begin with counts.

    Args:
        checkpoint: any.
        imageset: a mixture of domains.
        plan: `plan.tasks` tasks of each domain. For n tasks together, `collect_views` says what they take.
        embed_plan: how.
        moves: how tasks adapt from the base (default: see `Viewer.of`).
        advance: called with the number of tasks just adapted to.

    Returns:
        For each view (of tsa_maml: "features" and "all" of the base, named maml; "all" of its own) and method a row
        "<method>_trustworthiness" and for each task, counted through all domains, "<method>_x" and "<method>_y".

    Raises:
        MetaprobeError: too few tasks for the embedding, or the data do not fit.
    """
    how = embed_plan or EmbeddingPlan()
    domains = domains_of(imageset, plan)
    count = plan.tasks * len(domains)
    how.check(count)
    identity = identity_of(checkpoint)
    own = checkpoint.clusters is not None
    found = None
    if own:
        found = assigned(checkpoint, domain_batches(checkpoint, imageset, plan), plan.device, advance)[1]
    base = dataclasses.replace(identity, algorithm="maml") if own else identity

    def collected(start: StartName) -> TaskViews:
        batches = (tasks for _, tasks in domain_batches(checkpoint, imageset, plan))
        return collect_views(Viewer.of(checkpoint, start, plan.device, moves), batches, count, advance)

    views = collected("base")
    rows = _view_rows(base, "features", views, found, how) + _view_rows(base, "all", views, found, how)
    if own:
        rows += _view_rows(identity, "all", collected("own"), found, how)
    return Table.of(rows)


def embed(points: Points, method: Method, plan: EmbeddingPlan) -> Plane:
    """Return points in the plane; the same ones for the same seed. Points on a line lie in a plane as well."""
    missing = max(2 - points.shape[1], 0)
    return METHODS[method](np.pad(points, ((0, 0), (0, missing))), plan)


def trust(points: Points, plane: Plane, neighbours: int) -> float:
    """Return the trustworthiness of an embedding, 0 … 1 (Venna and Kaski 2001): below 1 as far as tasks that were no
    neighbours have become ones.
    """
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(points, plane, n_neighbors=neighbours))


def _view_rows(
    identity: Row, view: View, views: TaskViews, found: Int64[np.ndarray, " task"] | None, plan: EmbeddingPlan
) -> list[Row]:
    row = dataclasses.replace(identity, view=view)
    vectors = views.of(view)
    if not spread(vectors):
        why = "all tasks have the same vector: nothing of it adapts"
        whole = dataclasses.replace(row, n=len(vectors))
        return [undefined_row(whole, f"{method}_trustworthiness", why) for method in plan.methods]
    points = points_of(vectors)
    rows = []
    for method in plan.methods:
        plane = embed(points, method, plan)
        value = trust(points, plane, plan.trust_neighbours)
        told = f"{plan.told(method)}; trustworthiness among {plan.trust_neighbours} neighbours"
        made = dataclasses.replace(row, reason=told)
        rows.append(dataclasses.replace(made, measure=f"{method}_trustworthiness", value=value, n=len(points)))
        for task, group in enumerate(views.groups):
            cluster = None if found is None else int(found[task])
            point = dataclasses.replace(made, task=task, group=group, cluster=cluster)
            rows += [
                dataclasses.replace(point, measure=f"{method}_{axis}", value=float(plane[task, place]))
                for place, axis in enumerate("xy")
            ]
    return rows


def _pca(points: Points, plan: EmbeddingPlan) -> Plane:
    from sklearn.decomposition import PCA

    return PCA(2, svd_solver="full").fit_transform(points)


def _tsne(points: Points, plan: EmbeddingPlan) -> Plane:
    from sklearn.manifold import TSNE

    made = TSNE(2, perplexity=plan.perplexity, init="pca", random_state=plan.seed, n_jobs=1)
    return made.fit_transform(points).astype(np.float64)


def _umap(points: Points, plan: EmbeddingPlan) -> Plane:
    with warnings.catch_warnings():  # it tells of TensorFlow, which a part of it needs that is not used here
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        import umap  # seconds

    made: Any = umap.UMAP(n_neighbors=plan.neighbours, init="pca", random_state=plan.seed, n_jobs=1)
    return np.asarray(made.fit_transform(points), np.float64)


METHODS: Mapping[Method, Callable[[Points, EmbeddingPlan], Plane]] = {"pca": _pca, "tsne": _tsne, "umap": _umap}
"""What brings points into the plane."""
