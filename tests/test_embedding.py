"""Tasks in the plane: the same ones for the same seed, and a trustworthiness that a reference counts by hand."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.embedding import METHODS, EmbeddingPlan, embed, embedding, trust
from metaprobe.analyses.testing import TestPlan
from metaprobe.trainers.errors import MetaprobeError
from tests.task_learners import MIXED, mean_move, moves, the, tsa, vectors
from tests.task_learners import maml as untrained

PLAN = TestPlan(tasks=16, n_query=2, seed=5, chunk=8)
HOW = EmbeddingPlan(seed=1, perplexity=5, neighbours=5, trust_neighbours=4)


def blobs(seed=0):
    """Three groups of 20 points in 30 dimensions, far from each other."""
    generator = np.random.default_rng(seed)
    centres = 20 * np.eye(3, 30)
    return np.concatenate([centre + generator.normal(size=(20, 30)) for centre in centres])


def trust_by_counting(points, plane, k):
    """Venna and Kaski (2001), Equation 2, neighbour by neighbour."""
    n, penalty = len(points), 0
    far, close = (np.linalg.norm(of[:, None] - of, axis=-1) for of in (points, plane))
    for i in range(n):
        others = [j for j in range(n) if j != i]
        order = sorted(others, key=lambda j: far[i, j])
        near = sorted(others, key=lambda j: close[i, j])[:k]
        penalty += sum(max(order.index(j) + 1 - k, 0) for j in near)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * penalty


@pytest.mark.parametrize("method", METHODS)
def test_groups_far_apart_stay_apart(method):
    plane = embed(blobs(), method, HOW)
    assert plane.shape == (60, 2) and plane.dtype == np.float64 and np.isfinite(plane).all()
    distances = np.linalg.norm(plane[:, None] - plane, axis=-1) + 1e9 * np.eye(60)
    assert np.array_equal(distances.argmin(1) // 20, np.repeat([0, 1, 2], 20))
    assert np.array_equal(embed(blobs(), method, HOW), plane)
    other = embed(blobs(), method, dataclasses.replace(HOW, seed=2))
    assert np.array_equal(other, plane) == (method != "umap")  # t-SNE that begins at PCA leaves nothing to chance


def test_points_on_a_line_lie_in_the_plane():
    line = np.linspace(0, 1, 30)[:, None] ** 2
    for method in ("pca", "tsne"):
        assert embed(line, method, HOW).shape == (30, 2)
    assert np.abs(embed(line, "pca", HOW)[:, 0]) == pytest.approx(np.abs(line[:, 0] - line.mean()), abs=1e-12)


def test_trustworthiness_is_counted_neighbour_by_neighbour():
    points = blobs()
    generator = np.random.default_rng(1)
    for plane in (points[:, :2], generator.normal(size=(60, 2)), embed(points, "pca", HOW)):
        assert trust(points, plane, 6) == pytest.approx(trust_by_counting(points, plane, 6), abs=1e-12)
    assert trust(points[:, :2], 3 * points[:, :2], 6) == 1
    assert trust(points, generator.normal(size=(60, 2)), 6) < 0.6 < trust(points, embed(points, "pca", HOW), 6)


@pytest.fixture(scope="module")
def learner():
    base = untrained()
    return tsa(base, [mean_move(moves(base, group, "train", 10)) for group in ("rough", "smooth")])


@pytest.fixture(scope="module")
def table(learner):
    return embedding(learner, MIXED, PLAN, embed_plan=HOW)


def test_every_task_has_a_place_for_each_description(learner, table):
    described = {(row.algorithm, row.view) for row in table.rows}
    assert described == {("maml", "features"), ("maml", "all"), ("tsa_maml", "all")}
    assert len(table) == 3 * 3 * (1 + 2 * 32)
    for row in table.rows:
        assert (row.checkpoint, row.seed, row.iteration) == (learner.fingerprint[:12], 6, 40)
    tasks = [row for row in table.rows if row.measure == "umap_x" and row.algorithm == "tsa_maml"]
    assert [(row.task, row.group) for row in tasks] == [*enumerate(["smooth"] * 16 + ["rough"] * 16)]
    assert {row.cluster for row in tasks} == {0, 1}
    reasons = {row.measure.partition("_")[0]: row.reason for row in table.rows}
    assert "t-SNE, seed 1, perplexity 5" in reasons["tsne"] and "UMAP, seed 1, 5 neighbours" in reasons["umap"]
    assert "trustworthiness among 4 neighbours" in reasons["pca"] and "seed" not in reasons["pca"]


def test_coordinates_and_trust_are_of_the_vectors_themselves(learner, table):
    moved = (vectors(moves(untrained(), group, count=16), norms=True) for group in ("smooth", "rough"))
    moved = np.concatenate(list(moved))  # with the norms, as the learner's clusters are made by them, too
    rows = [row for row in table.rows if (row.algorithm, row.view) == ("maml", "all")]
    plane = np.array([[row.value for row in rows if row.measure == f"pca_{axis}"] for axis in "xy"]).T
    centred = moved - moved.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(plane) == pytest.approx(np.abs(left[:, :2] * scale[:2]), abs=1e-4 * scale[0])
    for method in METHODS:
        row = the(table, algorithm="maml", view="all", measure=f"{method}_trustworthiness")
        plane = np.array([[row.value for row in rows if row.measure == f"{method}_{axis}"] for axis in "xy"]).T
        assert row.value == pytest.approx(trust_by_counting(moved, plane, 4), abs=1e-6)
        assert (row.n, row.task, row.status) == (32, None, "ok")


def test_initialisations_of_the_clusters_count(table, learner):
    far = {name: value + 3.0 for name, value in learner.params.items()}
    started = {name: torch.stack([learner.params[name], far[name]]) for name in far}
    apart = dataclasses.replace(learner, clusters=dataclasses.replace(learner.clusters, initialisations=started))
    rows = embedding(apart, MIXED, PLAN, embed_plan=dataclasses.replace(HOW, methods=("pca",))).rows
    own = [row for row in rows if row.algorithm == "tsa_maml" and row.measure == "pca_x"]
    first, second = ([row.value for row in own if row.cluster == cluster] for cluster in (0, 1))
    assert max(first) < min(second) or max(second) < min(first)
    base = [row.value for row in rows if (row.algorithm, row.view, row.measure) == ("maml", "all", "pca_x")]
    kept = [row.value for row in table.rows if (row.algorithm, row.view, row.measure) == ("maml", "all", "pca_x")]
    assert base == kept  # the base's are the same


def test_a_checkpoint_without_clusters_is_embedded_as_itself():
    how = dataclasses.replace(HOW, methods=("pca",))
    rows = embedding(untrained(), MIXED, PLAN, embed_plan=how).rows
    assert {(row.algorithm, row.view, row.cluster) for row in rows} == {
        ("maml", "features", None),
        ("maml", "all", None),
    }
    still = embedding(untrained(steps=0), MIXED, PLAN, embed_plan=how)
    row = the(still, view="all")
    assert (row.status, row.value, row.measure) == ("undefined", None, "pca_trustworthiness")
    assert "nothing of it adapts" in row.reason


def test_too_few_tasks():
    with pytest.raises(MetaprobeError, match=r"32 tasks are too few.*perplexity 40.*at least 41 of all domains"):
        embedding(untrained(), MIXED, PLAN, embed_plan=EmbeddingPlan(perplexity=40))
    assert EmbeddingPlan(perplexity=3, neighbours=2, trust_neighbours=5).least == 11
