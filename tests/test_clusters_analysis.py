"""Clusters of tasks against the domains that they come from, by references that share no code with what is tested."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from metaprobe.analyses.clustering.clusters import agreement, usage
from metaprobe.analyses.clustering.view_clusters import relabelled
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset
from tests.task_learners import MIXED, PLAN, SMOOTH, maml, mean_move, moves, the, tsa, vectors

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
    scores = {(name, "body") for name in ("purity", "adjusted_rand", "normalised_mutual_information")}
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
