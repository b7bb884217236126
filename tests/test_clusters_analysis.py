"""Clusters of tasks against the domains that they come from, by references that share no code with what is tested."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from analyses.clustering.clusters import agreement, usage
from analyses.clustering.partitions import (
    adjusted_rand,
    agreement_scores,
    between_score,
    chance_of_agreeing,
    normalised_mutual_information,
    purity,
    resampled,
    table_of,
)
from analyses.clustering.task_views import (
    Viewer,
    adapted_parameters,
    batches_of,
    collect_views,
    flattened,
    mean_features,
)
from analyses.clustering.view_clusters import cluster_means, points_of, relabelled, spread
from analyses.testing import TestPlan, sampler_of
from tests.conftest import make_imageset
from trainers.adapt import adapt
from trainers.checkpoint import Checkpoint
from trainers.clustering.clusters import Clusters
from trainers.clustering.moves import Moves
from trainers.config import Adaptation, NetworkConfig, TrainConfig
from trainers.errors import MetaprobeError
from trainers.networks import build_network, forward_tasks
from trainers.tasks.episodes import EpisodeSampler
from trainers.tasks.imageset import ImageSet
from trainers.tasks.mixture import mix

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
NETWORK = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive")
PLAN = TestPlan(tasks=12, n_query=4, seed=5, chunk=5)
FUNCTIONS = {
    "purity": purity,
    "adjusted_rand": adjusted_rand,
    "normalised_mutual_information": normalised_mutual_information,
}


def rough(seed=3):
    """Classes are patterns of single pixels, where those of `make_imageset` are patches."""
    smooth, generator = make_imageset(n_classes=12, per_class=18, size=8), np.random.default_rng(seed)
    patterns = 255 * generator.integers(0, 2, (12, 1, 8, 8))
    noise = generator.normal(0, 25, (12, 18, 1, 8, 8))
    images = np.clip(patterns[:, None] + noise, 0, 255).astype(np.uint8).reshape(-1, 1, 8, 8)
    return dataclasses.replace(smooth, name="rough", images=images)


SMOOTH = make_imageset(n_classes=12, per_class=18, size=8)
MIXED: ImageSet = mix([("smooth", SMOOTH), ("rough", rough())])


def maml(layers=LAYERS, steps=3, seed=6, norm="transductive", **params):
    """A checkpoint that was never trained, which adapts as any does."""
    network = dataclasses.replace(NETWORK, norm=norm)
    made = {name: value.detach() for name, value in build_network(network, seed).named_parameters()} | params
    config = TrainConfig("maml", "toy", n_way=3, n_shot=2, seed=seed, norm=norm)
    return Checkpoint(made, config, network, Adaptation(layers, 0.4, steps), 40)


def tsa(base, centres, assign_to="centres", names=None):
    """A checkpoint with clusters whose centres and initialisations are given as changes of the base's parameters."""
    made = {name: torch.stack([value + centre[name] for centre in centres]) for name, value in base.params.items()}
    kept = {name: value for name, value in made.items() if names is None or name in names}
    members = torch.ones(len(centres), dtype=torch.int64)
    clusters = Clusters(base.params, kept, made, members, Moves(base.adaptation), assign_to)
    config = dataclasses.replace(base.config, algorithm="tsa_maml")
    return dataclasses.replace(base, clusters=clusters, config=config)


def moves(checkpoint, group, split="test", count=PLAN.tasks, n_query=PLAN.n_query, order=None):
    """θ_T − θ of each task, one task at a time, and the task; `order(index, support)` may change its labels."""
    config, network = checkpoint.config, build_network(checkpoint.network_config, 0)
    sampler = EpisodeSampler(MIXED, split, 3, config.n_shot, n_query, PLAN.seed, group=group)
    found = []
    for index in range(count):
        support = sampler.batch([index]).support
        if order:
            support = order(index, support)
        adapted = adapt(network, checkpoint.params, support, layers=checkpoint.adaptation.layers, inner_lr=0.4,
                        steps=checkpoint.adaptation.steps).params  # fmt: skip
        changes = {name: (adapted[name] - value).detach() for name, value in checkpoint.params.items()}
        found.append({name: change.reshape(checkpoint.params[name].shape) for name, change in changes.items()})
    return found


def vectors(moved, part="all", norms=False):
    """Rows of float64, the head last; without the norms, which are in no view of learners without clusters."""
    names = [name for name in moved[0] if norms or ".norm." not in name]
    names = [name for name in names if part == "all" or name.startswith("head.") == (part == "head")]
    return np.stack([np.concatenate([one[name].double().numpy().ravel() for name in names]) for one in moved])


def moved_parameters(viewer, network, tasks):
    return flattened(viewer, adapted_parameters(viewer, network, tasks.support), len(tasks))


def mean_move(moved):
    return {name: torch.stack([one[name] for one in moved]).mean(0) for name in moved[0]}


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


# How well two groupings agree.


# Manning, Raghavan and Schütze (2008), Section 16.3: 17 points of three classes in three clusters.
BOOK = np.array([[5, 1, 2], [1, 4, 0], [0, 1, 3]])


def labels_of(table):
    pairs = [(g, c) for g, row in enumerate(table) for c, count in enumerate(row) for _ in range(count)]
    return np.array(pairs).T


def rand_by_pairs(table):
    """Hubert and Arabie's index from its definition: pairs of points, counted one by one."""
    groups, clusters = labels_of(table)
    pairs = list(itertools.combinations(range(len(groups)), 2))
    same = [(groups[i] == groups[j], clusters[i] == clusters[j]) for i, j in pairs]
    both, first, second = (sum(bool(test(pair)) for pair in same) for test in (all, lambda p: p[0], lambda p: p[1]))
    expected = first * second / len(pairs)
    return (both - expected) / ((first + second) / 2 - expected)


def test_the_textbook_example():
    scores = agreement_scores(*labels_of(BOOK), 3, np.random.default_rng(0))
    assert scores["purity"].value == pytest.approx(12 / 17)
    assert scores["normalised_mutual_information"].value == pytest.approx(0.36, abs=0.005)
    assert scores["adjusted_rand"].value == pytest.approx(rand_by_pairs(BOOK), abs=1e-12)
    for name, function in FUNCTIONS.items():
        assert float(function(BOOK)) == pytest.approx(scores[name].value, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[7, 0], [0, 5]], (1, 1, 1)),
        ([[0, 7], [5, 0]], (1, 1, 1)),  # which cluster is which does not matter
        ([[5, 5], [5, 5]], (1 / 2, -1 / 18, 0)),
        ([[9, 0], [3, 0]], (3 / 4, 0, 0)),  # one cluster takes all
        ([[2, 1, 0], [0, 0, 3]], (1, None, None)),
    ],
)
def test_tables_worked_out_by_hand(table, expected):
    for function, value in zip(FUNCTIONS.values(), expected, strict=True):
        if value is not None:
            assert float(function(np.array(table))) == pytest.approx(value, abs=1e-12)


def test_many_tables_at_once_give_what_scikit_learn_gives_for_each():
    generator = np.random.default_rng(1)
    tables = generator.integers(0, 9, (60, 3, 4)) * generator.integers(0, 2, (60, 1, 4))
    tables[:, :, 0] += 1
    tables[0] = [[4, 0, 0, 0], [4, 0, 0, 0], [1, 0, 0, 0]]
    values = {name: function(tables) for name, function in FUNCTIONS.items()}
    for place, table in enumerate(tables):
        groups, clusters = labels_of(table)
        assert values["adjusted_rand"][place] == pytest.approx(adjusted_rand_score(groups, clusters), abs=1e-12)
        mutual = normalized_mutual_info_score(groups, clusters)
        assert values["normalised_mutual_information"][place] == pytest.approx(mutual, abs=1e-12)
        assert values["purity"][place] == table.max(axis=0).sum() / table.sum()
        assert np.array_equal(table_of(groups, clusters, (3, 4)), table)


def test_resamples_keep_each_group_and_are_drawn_from_it():
    table = np.array([[80, 20, 0], [5, 45, 50]])
    draws = resampled(table, np.random.default_rng(2), 4000)
    assert draws.shape == (4000, 2, 3) and (draws.sum(axis=2) == 100).all()
    assert (draws[:, 0, 2] == 0).all()
    assert draws.mean(axis=0) == pytest.approx(table, abs=0.4)
    assert draws[:, 0, 0].std() == pytest.approx(np.sqrt(100 * 0.8 * 0.2), rel=0.05)  # that of a binomial


@pytest.mark.parametrize("name", ["purity", "adjusted_rand"])
def test_intervals_cover_the_value_of_the_population(name):
    shares, generator = np.array([[0.9, 0.1], [0.25, 0.75]]), np.random.default_rng(3)
    truth = float(FUNCTIONS[name]((shares * 10_000_000).astype(np.int64)))
    covered = 0
    for _ in range(200):
        score = agreement_scores(*labels_of(generator.multinomial(120, shares)), 2, generator)[name]
        covered += score.low <= truth <= score.high
    assert 0.9 <= covered / 200 <= 0.985


def test_intervals_are_the_same_for_the_same_generator_and_degenerate_where_nothing_can_vary():
    groups, clusters = labels_of(BOOK)
    first, second, third = (agreement_scores(groups, clusters, 3, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert first == second != third
    assert first["purity"].low < first["purity"].value < first["purity"].high
    perfect = agreement_scores(np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0]), 3, np.random.default_rng(0))
    assert {(score.value, score.low, score.high) for score in perfect.values()} == {(1.0, 1.0, 1.0)}
    alone = agreement_scores(np.array([0, 0, 1]), np.array([1, 1, 0]), 2, np.random.default_rng(0))
    assert {(score.value, score.low, score.high) for score in alone.values()} == {(1.0, None, None)}
    one = agreement_scores(np.array([0, 0, 1, 1]), np.zeros(4, np.int64), 1, np.random.default_rng(0))
    assert [(one[name].value, one[name].low, one[name].high) for name in FUNCTIONS] == [(0.5,) * 3, (0,) * 3, (0,) * 3]


def test_two_clusterings_are_compared_over_all_groups_and_resampled_within_them():
    generator = np.random.default_rng(6)
    groups = np.repeat([0, 1], 200)
    first = generator.integers(0, 3, 400)
    second = np.where(generator.random(400) < 0.8, (first + 1) % 3, generator.integers(0, 3, 400))
    score = between_score(groups, first, second, 3, np.random.default_rng(0))
    assert score.value == adjusted_rand_score(first, second)
    draws = []
    for _ in range(1000):  # tasks themselves, not counts
        chosen = np.concatenate([generator.integers(0, 200, 200), generator.integers(200, 400, 200)])
        draws.append(adjusted_rand_score(first[chosen], second[chosen]))
    assert (score.low, score.high) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.012)
    assert between_score(np.array([0, 1, 1]), np.zeros(3, int), np.zeros(3, int), 3, generator).low is None


# What a task is described by.


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


def test_chance_of_agreeing_is_the_mean_and_spread_over_all_exchanges():
    first, second = np.array([0, 0, 1, 2, 2, 2, 1, 0]), np.array([1, 0, 1, 2, 0, 2, 2, 2])
    every = [
        sum(a == b for a, b in zip(order, second.tolist(), strict=True)) / 8
        for order in itertools.permutations(first.tolist())
    ]
    found = chance_of_agreeing(first, second, 3, np.random.default_rng(0))
    assert found.value == pytest.approx(math.fsum(every) / len(every), rel=1e-12)
    inside = [found.low <= one <= found.high for one in every]
    assert sum(inside) / len(inside) >= 0.95
    assert 0.5 < sum(found.low < one < found.high for one in every) / len(every) < 0.95
    same = np.repeat(np.arange(3), 400)
    large = chance_of_agreeing(same, same, 3, np.random.default_rng(0))
    assert large.value == pytest.approx(1 / 3)
    assert (large.high - large.low) / 2 == pytest.approx(1.96 * math.sqrt(2 / 9 / 1199), rel=0.3)


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


# Which initialisation the tasks of a domain start from.


@pytest.fixture(scope="module")
def learner():
    """Clusters at the mean adapted parameters of either domain's training tasks."""
    base = maml()
    return tsa(base, [mean_move(moves(base, group, "train", 20)) for group in ("rough", "smooth")])


def nearest(points, centres):
    return np.array([int(np.argmin([np.linalg.norm(point - centre) for centre in centres])) for point in points])


def wilson(count, n):
    """Wilson (1927), as Brown, Cai and DasGupta (2001, Eq. 4) write it."""
    z, share = stats.norm.ppf(0.975), count / n
    centre = (count + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(n) / (n + z**2) * np.sqrt(share * (1 - share) + z**2 / (4 * n))
    return centre - half, centre + half


def test_usage_counts_what_each_task_alone_is_assigned(learner):
    plan = dataclasses.replace(PLAN, tasks=30)
    table = usage(learner, MIXED, plan)
    base = vectors([learner.params])[0]
    centres = [
        vectors([{name: value[cluster] for name, value in learner.clusters.centres.items()}])[0] - base
        for cluster in range(2)
    ]
    found, groups = [], []
    for place, group in enumerate(("smooth", "rough")):
        chosen = nearest(vectors(moves(learner, group, count=30)), centres)
        found.append(chosen)
        groups.append(np.full(30, place))
        for cluster in range(2):
            count = the(table, measure="usage_count", group=group, cluster=cluster)
            assert (count.value, count.n, count.view) == ((chosen == cluster).sum(), 30, "assignment")
            share = the(table, measure="usage_frequency", group=group, cluster=cluster)
            assert (share.value, share.n) == (count.value / 30, 30)
            assert (share.low, share.high) == pytest.approx(wilson(count.value, 30), abs=1e-9)
    found, groups = np.concatenate(found), np.concatenate(groups)
    assert 0 < found.sum() < 60 and not np.array_equal(found, groups)
    rand = the(table, measure="adjusted_rand")
    assert (rand.value, rand.n, rand.view) == (adjusted_rand_score(groups, found), 60, "assignment")
    assert rand.low < rand.value < rand.high
    mutual = normalized_mutual_info_score(groups, found)
    assert the(table, measure="normalised_mutual_information").value == pytest.approx(mutual)
    pure = sum(max(np.bincount(groups[found == cluster])) for cluster in range(2)) / 60
    assert the(table, measure="purity").value == pytest.approx(pure)
    row = table.rows[0]
    assert (row.algorithm, row.seed, row.iteration, row.checkpoint) == ("tsa_maml", 6, 40, learner.fingerprint[:12])
    assert len(table) == 2 * 2 * 2 + 3
    assert usage(learner, MIXED, dataclasses.replace(plan, chunk=7)) == table


def test_usage_tells_zeros_and_a_single_cluster():
    base = maml()
    none = {name: torch.zeros_like(value) for name, value in base.params.items()}
    far = {name: torch.full_like(value, 50.0) for name, value in base.params.items()}
    table = usage(tsa(base, [far, none, far]), MIXED, PLAN)
    for group, cluster in itertools.product(("smooth", "rough"), range(3)):
        row = the(table, measure="usage_frequency", group=group, cluster=cluster)
        assert row.value == (cluster == 1)
        assert (row.low, row.high) == pytest.approx(wilson(12 * (cluster == 1), 12), abs=1e-9)
    values = {row.measure: (row.value, row.low, row.high) for row in table.rows[-3:]}
    assert values["purity"] == (0.5, 0.5, 0.5)
    assert values["adjusted_rand"] == values["normalised_mutual_information"] == (0, 0, 0)
    assert usage(tsa(base, [none]), MIXED, PLAN).rows[-2].value == 0


def test_one_domain_has_usage_and_no_agreement(learner):
    for imageset, plan in ((SMOOTH, PLAN), (MIXED, dataclasses.replace(PLAN, group="smooth"))):
        name = imageset.domain_names[0]
        table = usage(learner, imageset, plan)
        assert sum(row.value for row in table.rows if row.measure == "usage_count") == 12
        assert {row.group for row in table.rows if row.cluster is not None} == {name}
        for row in table.rows[-3:]:
            assert (row.value, row.low, row.status, row.n) == (None, None, "undefined", 12)
            assert f"one domain, {name}" in row.reason and "mixture:" in row.reason


def test_what_has_no_clusters_says_how_to_get_some(learner):
    told = r"a checkpoint of maml has no clusters.*metaprobe train tsa_maml --base CHECKPOINT --data toy"
    for measured in (usage, agreement):
        with pytest.raises(MetaprobeError, match=told):
            measured(maml(), MIXED, PLAN)
    with pytest.raises(MetaprobeError, match="trained on images of 1 × 8 × 8; toy has 1 × 28 × 28"):
        usage(learner, make_imageset(), PLAN)
    narrow = mix([("smooth", SMOOTH), ("few", make_imageset(n_classes=6, per_class=18, size=8))])
    with pytest.raises(MetaprobeError, match=r"test split of few \(of smooth\+few\) has 2 classes"):
        usage(learner, narrow, PLAN)
    with pytest.raises(MetaprobeError, match="cannot find 2 clusters in 1 tasks; raise --fit-tasks to 2"):
        agreement(learner, MIXED, PLAN, fit_tasks=1)
    with pytest.raises(MetaprobeError, match="at least one cluster; got 0"):
        agreement(maml(), MIXED, PLAN, m=0)


# The same with k-means on views.


@pytest.fixture(scope="module")
def agreed(learner):
    return agreement(learner, MIXED, dataclasses.replace(PLAN, tasks=20), fit_tasks=40)


def clusterings(checkpoint, order=None, tasks=20):
    """The cluster of each test task by view, from scikit-learn's k-means on the whole vectors of 40 training tasks."""
    found, test = {}, []
    for place, group in enumerate(("smooth", "rough")):
        change = order and (lambda index, support, place=place: order(place, index, support))
        test += moves(checkpoint, group, count=tasks, order=change)
    train = moves(checkpoint, None, "train", 40)
    for view in ("all", "body", "head"):
        rows = vectors(train, view)
        labels = KMeans(2, n_init=10, random_state=PLAN.seed).fit(rows).labels_
        found[view] = nearest(vectors(test, view), [rows[labels == cluster].mean(0) for cluster in range(2)])
    return found


def test_agreement_of_views_is_that_of_plain_k_means(learner, agreed):
    found, groups = clusterings(learner), np.repeat([0, 1], 20)
    for view, clusters in found.items():
        row = the(agreed, measure="adjusted_rand", view=view)
        assert (row.value, row.n) == (pytest.approx(adjusted_rand_score(groups, clusters), abs=1e-12), 40)
        assert row.low <= row.value <= row.high
        mutual = normalized_mutual_info_score(groups, clusters)
        assert the(agreed, measure="normalised_mutual_information", view=view).value == pytest.approx(mutual, abs=1e-12)
    for first, second in itertools.combinations(found, 2):
        row = the(agreed, measure="adjusted_rand_between", view=f"{first}~{second}")
        assert row.value == pytest.approx(adjusted_rand_score(found[first], found[second]), abs=1e-12)
    assert len({row.value for row in agreed.rows}) > 5
    assert "k-means, m 2, on 40 tasks of the train split, seed 5" in agreed.rows[0].reason
    row = the(agreed, measure="purity", view="features")
    assert row.status == "ok" and 0.5 <= row.value <= 1
    assert len(agreed) == 4 * 3 + 3 + 2 * 3


def test_label_order_is_what_changes_the_labels_alone(learner, agreed):
    before = clusterings(learner)
    after = clusterings(learner, lambda place, index, support: relabelled(support, PLAN.seed, place, (index,)))
    shares = {view: (before[view] == after[view]).mean() for view in before}
    for view, share in shares.items():
        row = the(agreed, measure="unchanged_by_label_order", view=view)
        assert row.value == pytest.approx(share)
        assert (row.low, row.high) == pytest.approx(wilson(40 * share, 40), abs=1e-9)
        assert row.n == 40
        null = the(agreed, measure="unchanged_by_label_order_null", view=view)
        chance = sum(float((before[view] == i).mean()) * float((after[view] == i).mean()) for i in range(2))
        assert null.value == pytest.approx(chance, rel=1e-12)
        assert 0 <= null.low <= chance <= null.high <= 1
    assert min(shares.values()) < 1
    assert not [row for row in agreed.rows if row.measure == "unchanged_by_label_order" and row.view == "features"]


def test_a_view_that_does_not_adapt_is_undefined_with_its_reason():
    table = agreement(maml(layers=("head",)), MIXED, PLAN, m=2, fit_tasks=12)
    undefined = {(row.measure, row.view) for row in table.rows if row.status == "undefined"}
    scores = {(name, "body") for name in FUNCTIONS}
    rest = {("adjusted_rand_between", "all~body"), ("adjusted_rand_between", "body~head")}
    assert undefined == scores | rest | {("unchanged_by_label_order", "body")}
    assert all("nothing of it adapts" in row.reason for row in table.rows if row.status == "undefined")
    assert the(table, measure="adjusted_rand_between", view="all~head").value == 1
    assert all((row.value is None) == (row.status == "undefined") for row in table.rows)


def test_agreement_counts_progress_and_does_not_depend_on_batches(learner):
    seen = []
    table = agreement(learner, MIXED, PLAN, fit_tasks=10, advance=seen.append)
    assert sum(seen) == 10 + 2 * 12
    other = agreement(learner, MIXED, dataclasses.replace(PLAN, chunk=3), fit_tasks=10)
    assert other == table
    both = agreement(learner, MIXED, PLAN, fit_tasks=10, with_usage=True)
    assert both == usage(learner, MIXED, PLAN) + table
    of_none = agreement(maml(), MIXED, PLAN, m=2, fit_tasks=10, with_usage=True).rows  # those that k-means finds
    assert {row.view for row in of_none if row.measure == "usage_count"} == {"all"}
    assert sum(row.value for row in of_none if row.measure == "usage_count") == 2 * 12
