"""The matrix of many tasks' parameters, its clusters, and which tasks train which initialisation."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.clustering.clusters import Clusters, starting_point
from metaprobe.trainers.clustering.kmeans import k_means
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.clustering.settings import Clustering, clustered_names
from metaprobe.trainers.clustering.stream import AssignedTasks, ConsecutiveTasks
from metaprobe.trainers.clustering.vectors import TaskVectors, isometric
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset

SHAPES = {"body.weight": (70, 100), "body.bias": (30,), "head.weight": (5, 4)}


def three_heaps(tasks=120, seed=0, spread=0.2):
    """Vectors around three centres that lie near each other, in float32."""
    generator = np.random.default_rng(seed)
    features = sum(int(np.prod(shape)) for shape in SHAPES.values())
    centres = spread * generator.normal(size=(3, features))
    return (centres[generator.integers(3, size=tasks)] + generator.normal(size=(tasks, features))).astype(np.float32)


def filed(matrix, folder, pieces=7):
    """The same matrix as TaskVectors, appended in pieces."""
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in SHAPES.values())])
    vectors = TaskVectors(SHAPES, len(matrix), folder)
    for first in range(0, len(matrix), pieces):
        rows = matrix[first : first + pieces]
        vectors.append({name: rows[:, ends[i] : ends[i + 1]] for i, name in enumerate(SHAPES)})
    return vectors


def distances(points):
    return ((points[:, None].astype(np.float64) - points[None]) ** 2).sum(-1)


def test_clusters_are_those_that_scikit_learn_finds_in_the_whole_matrix(tmp_path):
    """The heaps overlap, so that k-means has decisions to make: its labels must agree task by task."""
    matrix = three_heaps()
    with filed(matrix, tmp_path) as vectors:
        points = vectors.points(SHAPES)
        assert points.shape[1] <= len(matrix) < matrix.shape[1]
        np.testing.assert_allclose(distances(points), distances(matrix), rtol=2e-6, atol=2e-6 * distances(matrix).max())
        for m, seed in ((2, 0), (3, 0), (3, 5), (7, 1)):
            whole = KMeans(m, n_init=10, random_state=seed).fit_predict(matrix)
            np.testing.assert_array_equal(k_means(points, m, seed, matrix.shape[1]), whole)
        means = vectors.means(whole, 7)
    for cluster in range(7):
        expected = matrix[whole == cluster].mean(0, dtype=np.float64)
        found = np.concatenate([means[name][cluster].ravel() for name in SHAPES])
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not list(tmp_path.iterdir())


def test_vectors_in_few_directions_are_clustered_as_in_the_whole_matrix():
    """Where scikit-learn stops depends on the number of columns, and the points have far fewer."""
    generator = np.random.default_rng(0)
    matrix = (generator.normal(size=(600, 2)) @ generator.normal(size=(2, 3000))).astype(np.float32)
    points = isometric(iter([matrix[:, :1000], matrix[:, 1000:]]))
    assert points.shape[1] < 10
    for m in (3, 5, 8):
        whole = KMeans(m, n_init=10, random_state=0).fit_predict(matrix)
        np.testing.assert_array_equal(k_means(points, m, 0, matrix.shape[1]), whole)


def test_parameters_can_be_chosen_and_few_features_are_taken_as_they_are(tmp_path):
    matrix = three_heaps()
    with filed(matrix, tmp_path) as vectors:
        np.testing.assert_array_equal(vectors.points(["head.weight"]), matrix[:, -20:])
        body = distances(vectors.points(["body.weight", "body.bias"]))
    np.testing.assert_allclose(body, distances(matrix[:, :-20]), rtol=1e-5, atol=1e-2)


def test_equal_rows_stay_equal_and_zeros_stay_zero():
    rows = np.repeat(three_heaps(3), 4, axis=0)
    points = isometric(iter([rows]))
    assert np.abs(distances(points)[:4, :4]).max() < 1e-5 * distances(points).max()
    assert not isometric(iter([np.zeros((4, 9), np.float32)])).any()


def test_a_disk_too_small_is_told_before_anything_is_computed(tmp_path):
    with pytest.raises(MetaprobeError, match=r"take .* GiB .*lower --cluster-tasks"):
        TaskVectors({"weight": (1 << 20, 1 << 10)}, 10_000_000, tmp_path)


def test_more_clusters_than_tasks_and_empty_clusters_are_refused():
    with pytest.raises(MetaprobeError, match="5 clusters cannot be found in 4 tasks"):
        k_means(np.eye(4), 5, 0, 4)
    twice = np.repeat(np.eye(2), 5, axis=0)
    with pytest.raises(MetaprobeError, match=r"1 of 3 clusters empty: the 10 tasks are at only 2 different points"):
        k_means(twice, 3, 0, 2)


def small_clusters(m=3, assign_to="centres", by=("conv1.conv.weight", "head.weight"), adapt_norm=True):
    shape = NetworkConfig("conv4", 3, 1, 20, 4, "stride", "transductive")
    network = build_network(shape, 0).double()
    base = {name: value.detach() for name, value in network.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    near = {
        name: value + 0.05 * torch.randn(m, *value.shape, generator=generator, dtype=value.dtype)
        for name, value in base.items()
    }
    far = {
        name: value + 0.05 * torch.randn(m, *value.shape, generator=generator, dtype=value.dtype)
        for name, value in base.items()
    }
    adaptation = Adaptation(network.layer_names, 0.1, 2, adapt_norm=adapt_norm)
    return network, Clusters(
        base, {name: near[name] for name in by}, far, torch.ones(m, dtype=torch.int64), Moves(adaptation), assign_to
    )


def tasks_of(count=12):
    imageset = make_imageset(size=20)
    return EpisodeSampler(imageset, "train", 3, 1, 2, 0, dtype=torch.float64).batch(range(count))


@pytest.mark.parametrize("assign_to", ["centres", "initialisations"])
@pytest.mark.parametrize("adapt_norm", [True, False])
def test_a_task_goes_to_the_nearest_centre_by_the_clustered_parameters(assign_to, adapt_norm):
    by = ("conv1.conv.weight", "conv2.norm.bias", "head.weight")
    network, clusters = small_clusters(assign_to=assign_to, by=by, adapt_norm=adapt_norm)
    tasks = tasks_of()
    against = clusters.centres if assign_to == "centres" else clusters.initialisations
    expected = []
    for place in range(len(tasks)):
        adapted = adapt_as(network, clusters.base, tasks.support[place : place + 1], clusters.moves.adaptation).params
        squared = [
            sum(float(((adapted[name].reshape(against[name][i].shape) - against[name][i]) ** 2).sum()) for name in by)
            for i in range(clusters.count)
        ]
        expected.append(int(np.argmin(squared)))
    assert len(set(expected)) > 1
    assert clusters.assign(network, tasks.support).tolist() == expected
    start = starting_point(network, clusters, tasks.support)
    for name, value in clusters.initialisations.items():
        assert torch.equal(start[name], value[expected])


def test_assigning_computes_where_the_centres_are():
    """The number of members may lie elsewhere: with tensors on no device at all, only shapes are computed."""
    _, clusters = small_clusters()
    there = clusters.to("meta")
    there = dataclasses.replace(there, members=clusters.members)
    assert there.nearest({name: value[None] for name, value in there.base.items()}).device.type == "meta"


def test_one_cluster_needs_no_choice():
    network, clusters = small_clusters(m=1)
    assert clusters.assign(network, tasks_of(4).support).tolist() == [0] * 4


@given(
    owners=st.lists(st.integers(0, 2), min_size=60, max_size=60),
    meta_batch=st.integers(1, 5),
    stop=st.integers(0, 6),
)
def test_each_meta_batch_is_of_one_cluster_and_every_task_comes_once_in_order(owners, meta_batch, stop):
    class Indices:
        def batch(self, indices):
            return list(indices)

    def stream():
        return AssignedTasks(Indices(), meta_batch, 3, lambda tasks: [owners[task % 60] for task in tasks])

    whole, taken = stream(), []
    for iteration in range(8):
        cluster, tasks = whole.take(iteration)
        assert len(tasks) == meta_batch and {owners[task % 60] for task in tasks} == {cluster}
        taken.append((cluster, tasks))
    for cluster in range(3):
        mine = [task for own, tasks in taken for task in tasks if own == cluster]
        of_cluster = [task for task in range(2000) if owners[task % 60] == cluster]
        assert mine == of_cluster[: len(mine)]
    first, second = stream(), stream()
    again = [first.take(i) for i in range(stop)]
    second.state = first.state
    assert again + [second.take(i) for i in range(stop, 8)] == taken


def test_tasks_of_one_cluster_come_as_they_would_without_any():
    sampler = EpisodeSampler(make_imageset(size=8), "train", 3, 1, 2, 0)
    alone = AssignedTasks(sampler, 4, 1, lambda tasks: [0] * len(tasks))
    plain = ConsecutiveTasks(sampler, 4, range(4))
    for iteration in range(3):
        (_, a), (_, b) = alone.take(iteration), plain.take(iteration)
        assert a.indices == b.indices and torch.equal(a.support.ids, b.support.ids)


def test_waiting_tasks_of_another_number_of_clusters_are_refused():
    two, three = (AssignedTasks(None, 4, m, None) for m in (2, 3))
    with pytest.raises(UnreadableInput, match=r"other clusters \(2 of them\) than this run's 3"):
        three.state = two.state


def test_the_defaults_are_the_papers_code():
    wanted = Clustering.of(TrainConfig("tsa_maml", "toy", base="x", inner_steps=5))
    assert (wanted.m, wanted.by, wanted.steps, wanted.norms) == (3, "all", 20, False)
    assert (wanted.label_orders, wanted.symmetric_head, wanted.tasks) == (1, False, 10_000)
    names = ("conv1.conv.weight", "conv1.norm.weight", "head.weight")
    for by, norms, expected in (
        ("all", False, (0, 2)), ("all", True, (0, 1, 2)), ("body", False, (0,)), ("body", True, (0, 1)),
        ("head", True, (2,)), ("head", False, (2,)),
    ):  # fmt: skip
        found = clustered_names(names, {names[1]}, "head", Clustering(by=by, norms=norms))
        assert found == tuple(names[place] for place in expected)
