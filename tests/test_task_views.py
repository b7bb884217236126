"""What tasks are described by, and k-means on that, by references that share no code with what is tested."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from metaprobe.analyses.clustering.task_views import (
    Viewer,
    adapted_parameters,
    batches_of,
    collect_views,
    flattened,
    mean_features,
)
from metaprobe.analyses.clustering.view_clusters import cluster_means, points_of, relabelled, spread
from metaprobe.analyses.testing import sampler_of
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network, forward_tasks
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.task_learners import LAYERS, MIXED, NETWORK, PLAN, maml, moves, tsa, vectors


def moved_parameters(viewer, network, tasks):
    return flattened(viewer, adapted_parameters(viewer, network, tasks.support), len(tasks))


@pytest.mark.parametrize("norm", ["transductive", "non-transductive"])
def test_views_are_what_each_task_alone_gives(norm):
    checkpoint = maml(norm=norm)
    viewer, sampler = Viewer.of(checkpoint), sampler_of(checkpoint, MIXED, PLAN)
    views = collect_views(viewer, batches_of(sampler, 7, 3), 7)
    assert views.groups == sampler.batch(range(7)).groups and len(set(views.groups)) == 2
    moved = moves(checkpoint, None, count=7)
    assert views.of("all").dtype == np.float32
    for view in ("all", "body", "head"):
        # folded and alone round apart in float32, and two inner steps multiply what does
        assert views.of(view) == pytest.approx(vectors(moved, view), abs=2e-4)
    assert np.shares_memory(views.of("body"), views.moved) and views.of("head").shape[1] == 3 * 4 + 3
    network = checkpoint.network()
    for index, row in enumerate(views.features):
        task = sampler.batch([index])
        support, query = task.support.images, task.query.images
        if norm == "transductive":
            maps = [forward_tasks(network, checkpoint.params, part, layers=LAYERS[:-1]) for part in (support, query)]
        else:
            maps = [forward_tasks(network, checkpoint.params, torch.cat([support, query], 1), 6, LAYERS[:-1])]
        pooled = torch.cat(maps, dim=1).double().mean(dim=(-2, -1))[0].mean(0)
        assert row == pytest.approx(pooled.detach().numpy(), abs=1e-5)


def test_norms_are_in_a_view_if_the_checkpoints_clusters_are_made_by_them():
    base = maml()
    same = {name: torch.zeros_like(value) for name, value in base.params.items()}
    by = {".norm.": tsa(base, [same, same]), "conv": tsa(base, [same, same], names=("conv1.conv.weight",))}
    for part, checkpoint in by.items():
        names, _ = Viewer.of(checkpoint).columns
        assert any(".norm." in name for name in names) == (part == ".norm.")
    assert not any(".norm." in name for name in Viewer.of(base).columns[0])


def test_the_views_and_the_assignment_take_the_checkpoints_own_label_orders():
    base = maml()
    zero = {name: torch.zeros_like(value) for name, value in base.params.items()}
    far = {name: torch.full_like(value, 0.05) for name, value in base.params.items()}
    plain = tsa(base, [zero, far])
    several = Moves(dataclasses.replace(base.adaptation, steps=5), 3, True)
    checkpoint = dataclasses.replace(plain, clusters=dataclasses.replace(plain.clusters, moves=several))
    viewer, tasks = Viewer.of(checkpoint), sampler_of(checkpoint, MIXED, PLAN).batch(range(5))
    expected = several.adapted(viewer.network, base.params, tasks.support)
    found = adapted_parameters(viewer, viewer.network, tasks.support)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert Viewer.of(base, moves=several).moves == several and Viewer.of(checkpoint, "own").moves == Moves(
        base.adaptation
    )
    assigned = checkpoint.clusters.assign(viewer.network, tasks.support)
    assert torch.equal(assigned, checkpoint.clusters.nearest(expected))


def test_views_do_not_depend_on_batches_or_workers():
    checkpoint = maml()
    sampler = sampler_of(checkpoint, MIXED, PLAN)
    one = collect_views(Viewer.of(checkpoint), batches_of(sampler, 9, 3), 9)
    torch.set_num_threads(3)
    try:
        three = collect_views(Viewer.of(checkpoint), batches_of(sampler, 9, 3), 9)
    finally:
        torch.set_num_threads(1)
    assert np.array_equal(one.moved, three.moved) and np.array_equal(one.features, three.features)
    with pytest.raises(MetaprobeError, match="at least one task"):
        collect_views(Viewer.of(checkpoint), [], 0)


def test_own_start_counts_from_the_base():
    base = maml()
    shift = {name: torch.full_like(value, 0.25) for name, value in base.params.items()}
    none = {name: torch.zeros_like(value) for name, value in base.params.items()}
    far = {name: torch.full_like(value, 50.0) for name, value in base.params.items()}
    checkpoint = tsa(base, [far, none])  # all tasks are assigned to the second …
    checkpoint.clusters.initialisations.update({n: torch.stack([v, v + shift[n]]) for n, v in base.params.items()})
    sampler = sampler_of(checkpoint, MIXED, PLAN)
    from_base = collect_views(Viewer.of(checkpoint, "base"), batches_of(sampler, 4, 2), 4)
    own = collect_views(Viewer.of(checkpoint, "own"), batches_of(sampler, 4, 2), 4)
    shifted = dataclasses.replace(base, params={name: value + 0.25 for name, value in base.params.items()})
    assert from_base.moved == pytest.approx(vectors(moves(base, None, count=4), norms=True), abs=2e-4)
    assert own.moved == pytest.approx(vectors(moves(shifted, None, count=4), norms=True) + 0.25, abs=2e-4)
    assert np.array_equal(own.features, from_base.features)  # the base's body makes both


def test_ways_are_permuted_and_images_stay():
    support = sampler_of(maml(), MIXED, PLAN).batch(range(40)).support
    changed = relabelled(support, 3, 1, tuple(range(40)))
    assert changed.images is support.images and changed.ids is support.ids
    orders = changed.labels[:, ::2]  # two shots of each way, one way after another
    assert torch.equal(orders.repeat_interleave(2, dim=1), changed.labels)
    assert {tuple(sorted(order)) for order in orders.tolist()} == {(0, 1, 2)}
    assert {tuple(order) for order in orders.tolist()} == set(itertools.permutations(range(3))) - {(0, 1, 2)}
    again = relabelled(support[10:12], 3, 1, (10, 11))  # a task's permutation is its own, whatever is drawn with it
    assert torch.equal(again.labels, changed.labels[10:12])
    for seed, place in ((4, 1), (3, 0)):
        assert not torch.equal(relabelled(support, seed, place, tuple(range(40))).labels, changed.labels)


def test_permuted_ways_permute_the_rows_of_a_head_that_begins_alike():
    start = maml()
    alike = start.params["head.weight"][:1].expand(3, -1).clone()
    params = {**start.params, "head.weight": alike, "head.bias": torch.zeros(3)}
    checkpoint = dataclasses.replace(start, params={name: value.double() for name, value in params.items()})
    network = build_network(NETWORK, 0).double()
    viewer = Viewer(network, checkpoint.params, checkpoint.params, Moves(checkpoint.adaptation), True)
    tasks = EpisodeSampler(MIXED, "test", 3, 2, 4, PLAN.seed, dtype=torch.float64).batch(range(6))
    permuted = dataclasses.replace(tasks, support=relabelled(tasks.support, 3, 0, tasks.indices))
    before, after = (moved_parameters(viewer, network, batch) for batch in (tasks, permuted))
    names, body = viewer.columns
    assert names[-2:] == ("head.weight", "head.bias") and before[:, :body].abs().max() > 1e-3
    torch.testing.assert_close(after[:, :body], before[:, :body], rtol=0, atol=1e-11)
    orders = permuted.support.labels[:, ::2]
    for part in (slice(body, body + 12), slice(body + 12, None)):
        rows, moved = (vector[:, part].unflatten(1, (3, -1)) for vector in (before, after))
        expected = torch.zeros_like(rows).scatter_(1, orders[:, :, None].expand_as(rows), rows)
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-11)
        assert (moved - rows).abs().max() > 1e-3
    assert torch.equal(mean_features(viewer, network, tasks), mean_features(viewer, network, permuted))


def test_a_head_without_symmetry_takes_the_body_with_it():
    viewer = Viewer.of(maml())
    tasks = sampler_of(maml(), MIXED, PLAN).batch(range(6))
    permuted = dataclasses.replace(tasks, support=relabelled(tasks.support, 3, 0, tasks.indices))
    before, after = (moved_parameters(viewer, viewer.network, batch) for batch in (tasks, permuted))
    assert (before - after)[:, : viewer.columns[1]].abs().max() > 1e-3


# k-means on views.


def test_points_keep_the_distances_of_wide_rows():
    generator = np.random.default_rng(8)
    rows = (generator.normal(size=(50, 9000)) * generator.exponential(size=9000) + 40).astype(np.float32)
    points = points_of(rows)
    assert points.shape[0] == 50 and points.shape[1] <= 50
    exact = rows.astype(np.float64)
    first, second = np.triu_indices(50, 1)
    expected, found = (np.linalg.norm(of[first] - of[second], axis=1) for of in (exact, points))
    assert found == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(points_of(rows[:, :50]), rows[:, :50])  # narrow ones are points already


def test_means_and_spread():
    rows = np.random.default_rng(9).normal(3, 1, (700, 11)).astype(np.float32)
    labels = np.arange(700) % 3
    expected = np.stack([rows.astype(np.float64)[labels == cluster].mean(0) for cluster in range(3)])
    assert cluster_means(rows, labels, 3) == pytest.approx(expected, abs=1e-12)
    last = np.ones((3, 5000), np.float32)
    assert spread(rows) and not spread(last)
    last[2, -1] = 2
    assert spread(last)
