"""Task optima, constants and terms of the bound against formulas and autograd written out."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metaprobe.analyses.clustering import bound
from metaprobe.analyses.clustering.bound import bound_terms
from metaprobe.analyses.clustering.smoothness import curvature
from metaprobe.analyses.clustering.task_optimum import OptimumSearch, task_samples
from metaprobe.analyses.freezing import TestPlan
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset
from tests.interval_coverage import interval_of
from tests.reference_maml import adapt, conv4
from tests.several_starts import ADAPTATION, LAYERS, NETWORK, checkpoint_of, own_start, two_starts

IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)
PLAN = TestPlan(tasks=3, n_query=4, seed=3, chunk=2)
SEARCH = OptimumSearch(images=6, steps=25, rate=0.1)


def one_start(scale=1.5, layers=LAYERS, seed=6, **adaptation):
    config = TrainConfig("maml", "toy", n_way=3, n_shot=2, seed=6)
    params = {name: scale * value.detach() for name, value in build_network(NETWORK, seed).named_parameters()}
    how = dataclasses.replace(ADAPTATION, layers=layers, **adaptation)
    return Checkpoint(params, config, NETWORK, how, 40)


def task_of(place, imageset=IMAGESET):
    return EpisodeSampler(imageset, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed).batch([place])


def rows(table, measure):
    return [row for row in table.rows if row.measure == measure]


def the(table, measure):
    (row,) = rows(table, measure)
    return row


# ---- the whole, against plain adaptation one task at a time


def plain_optimum(start, task, layers=LAYERS, steps=2):
    ((_, sample),) = task_samples(IMAGESET, task, SEARCH.images)
    leaves = {name: value.detach().requires_grad_() for name, value in start.items()}
    names = [name for name in leaves if name.partition(".")[0] in layers]
    images, labels = task.support.images[0], task.support.labels[0]
    adapted = adapt(leaves, images, labels, names, 0.3, steps, True, "stride")
    adapted = {name: value.detach().requires_grad_() for name, value in adapted.items()}
    found = adapt(adapted, sample.images[0], sample.labels[0], names, SEARCH.rate, SEARCH.steps, True, "stride")
    loss = F.cross_entropy(conv4(found, sample.images[0], "stride"), sample.labels[0])
    norm = flat_norm(torch.autograd.grad(loss, [found[name] for name in names]))
    return {name: value.detach() for name, value in found.items()}, norm


def flat_norm(parts):
    return float(torch.cat([part.flatten() for part in parts]).double().norm())


def apart(a, b):
    return sum(float(((a[name].double() - b[name].double()) ** 2).sum()) for name in a)


def assert_mean(row, per_task, rel=2e-3):
    per_task = np.array(per_task)
    low, high = interval_of(per_task, (0.0, np.inf))
    assert (row.value, row.low, row.high) == pytest.approx((per_task.mean(), low, high), rel=rel)
    assert (row.n, row.status) == (len(per_task), "ok")


@pytest.mark.parametrize("layers", [LAYERS, ("conv4", "head")])
def test_distances_and_constants_are_those_of_plain_descent(layers):
    checkpoint = one_start(layers=layers)
    table = bound_terms(checkpoint, IMAGESET, PLAN, SEARCH, steps=4)
    distances, left, steepest, curved = [], [], 0.0, 0.0
    network = checkpoint.network()
    for place in range(PLAN.tasks):
        task = task_of(place)
        optimum, norm = plain_optimum(checkpoint.params, task, layers)
        distances.append(apart(checkpoint.params, optimum))
        left.append(norm)
        images, labels = task.support.images[0], task.support.labels[0]
        for step in range(3):
            leaves = {name: value.detach().requires_grad_() for name, value in checkpoint.params.items()}
            names = [name for name in leaves if name.partition(".")[0] in layers]
            at = adapt(leaves, images, labels, names, 0.3, step, True, "stride")
            losses = F.cross_entropy(conv4(at, images, "stride"), labels, reduction="none")
            for loss in losses:
                each = torch.autograd.grad(loss, [at[name] for name in names], retain_graph=True)
                steepest = max(steepest, flat_norm(each))
            curved = max(curved, float(curvature(network, at, task.support, layers)))
    assert_mean(the(table, "estimated_squared_distance"), distances)
    assert_mean(the(table, "estimated_squared_distance_to_common_optimum"), distances)
    assert_mean(the(table, "estimated_optimum_gradient_norm"), left, rel=1e-2)
    assert_mean(the(table, "estimated_second_term"), np.array(distances) / 0.6)
    assert the(table, "estimated_gradient_bound").value == pytest.approx(steepest, rel=1e-3)
    smooth = the(table, "estimated_smoothness").value
    assert smooth == pytest.approx(curved, rel=1e-2)
    assert the(table, "estimated_growth").value == pytest.approx(1 + 0.6 * smooth)
    terms = rows(table, "estimated_first_term")
    assert [row.step for row in terms] == [0, 1, 2, 3, 4]
    bound = the(table, "estimated_gradient_bound").value
    expected = [2 * bound**2 * ((1 + 0.6 * smooth) ** q - 1) / (6 * smooth) for q in range(5)]
    assert [row.value for row in terms] == pytest.approx(expected)
    assert all(row.reason.startswith("estimate: ") for row in table.rows)
    row = terms[0]
    assert (row.checkpoint, row.algorithm, row.n, row.inner_steps) == (checkpoint.fingerprint[:12], "maml", 3, 2)


def test_constants_are_of_the_first_tasks_and_a_start_of_ones_own_is_searched_once(monkeypatch):
    checkpoint, plan = one_start(), dataclasses.replace(PLAN, chunk=1, per_task=True)
    full = bound_terms(checkpoint, IMAGESET, plan, SEARCH, steps=2)
    first = bound_terms(checkpoint, IMAGESET, dataclasses.replace(plan, tasks=2), SEARCH, steps=2)
    searches = []
    real = bound.descend
    monkeypatch.setattr(bound, "descend", lambda *given: searches.append(1) or real(*given))
    some = bound_terms(checkpoint, IMAGESET, plan, SEARCH, steps=2, constant_tasks=2, common=checkpoint)
    assert len(searches) == PLAN.tasks
    for measure in ("estimated_gradient_bound", "estimated_smoothness"):
        assert the(some, measure).value == the(first, measure).value
        assert (the(some, measure).n, the(full, measure).n) == (2, PLAN.tasks)
    for measure in ("estimated_squared_distance", "estimated_squared_distance_to_common_optimum"):
        pairs = zip(*(rows(table, measure) for table in (some, full)), strict=True)
        assert all((a.task, a.value, a.low, a.high) == (b.task, b.value, b.low, b.high) for a, b in pairs)
    reason = rows(some, "estimated_squared_distance_to_common_optimum")[0].reason
    assert f"lead from maml {checkpoint.fingerprint[:12]}, whichever learner" in reason


def test_of_several_initialisations_distances_begin_at_the_tasks_own():
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    clusters = two_starts(sampler, PLAN.tasks)
    table = bound_terms(checkpoint_of(clusters), IMAGESET, PLAN, SEARCH)
    own, common = [], []
    for place in range(PLAN.tasks):
        task = task_of(place)
        start = own_start(clusters, task.support)
        own.append(apart(start, plain_optimum(start, task)[0]))
        common.append(apart(start, plain_optimum(clusters.base, task)[0]))
    assert_mean(the(table, "estimated_squared_distance"), own)
    assert_mean(the(table, "estimated_squared_distance_to_common_optimum"), common)
    assert max(abs(a - b) for a, b in zip(own, common, strict=True)) > 1
    # The learner that the base is has its own optimum there; and the base may be named from outside.
    base = dataclasses.replace(one_start(), params=clusters.base)
    of_base = bound_terms(base, IMAGESET, PLAN, SEARCH)
    assert the(of_base, "estimated_squared_distance").value != the(table, "estimated_squared_distance").value
    named = bound_terms(checkpoint_of(clusters), IMAGESET, PLAN, SEARCH, common=base)
    assert [row.value for row in named.rows] == [row.value for row in table.rows]
    reason = the(named, "estimated_squared_distance_to_common_optimum").reason
    assert f"lead from maml {base.fingerprint[:12]}, whichever learner" in reason
    reason = the(table, "estimated_squared_distance_to_common_optimum").reason
    assert "lead from the base of its initialisations, whichever learner is measured; an interval over" in reason
    assert the(of_base, "estimated_squared_distance_to_common_optimum").reason.startswith("estimate: ")


def test_each_task_gets_rows_of_its_distances_when_asked():
    plain = bound_terms(one_start(), IMAGESET, PLAN, SEARCH)
    table = bound_terms(one_start(), IMAGESET, dataclasses.replace(PLAN, per_task=True), SEARCH)
    assert tuple(row for row in table.rows if row.task is None) == plain.rows
    single = [row for row in table.rows if row.task is not None]
    assert len(single) == 2 * PLAN.tasks
    for measure in ("estimated_squared_distance", "estimated_squared_distance_to_common_optimum"):
        tasks = [row for row in single if row.measure == measure]
        assert [row.task for row in tasks] == list(range(PLAN.tasks))
        assert np.mean([row.value for row in tasks]) == pytest.approx(the(plain, measure).value)


def test_chunks_and_workers_play_no_part_beyond_rounding():
    first = bound_terms(one_start(), IMAGESET, PLAN, SEARCH)
    allowed, done = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        assert bound_terms(one_start(), IMAGESET, PLAN, SEARCH, advance=done.append) == first
    finally:
        torch.set_num_threads(allowed)
    assert done == [2, 1]
    other = bound_terms(one_start(), IMAGESET, dataclasses.replace(PLAN, chunk=1), SEARCH)
    name = "estimated_squared_distance"
    assert the(other, name).value == pytest.approx(the(first, name).value, rel=1e-3)


def test_the_condition_on_the_rate_is_told():
    broken = bound_terms(one_start(), IMAGESET, PLAN, SEARCH)
    smooth = the(broken, "estimated_smoothness").value
    assert 0.3 * smooth > 1
    for measure in ("estimated_smoothness", "estimated_growth", "estimated_first_term"):
        assert "asks for α ≤ 1/L, and here α = 0.3 > " in rows(broken, measure)[0].reason
    kept = bound_terms(one_start(inner_lr=1e-4), IMAGESET, PLAN, SEARCH)
    assert 1e-4 * the(kept, "estimated_smoothness").value < 1
    assert "is not contradicted: α = 0.0001, αL ≥ 0." in the(kept, "estimated_growth").reason


def test_numbers_that_are_not_finite_are_undefined_with_the_reason():
    table = bound_terms(one_start(), IMAGESET, PLAN, OptimumSearch(images=6, steps=30, rate=1e30))
    for measure in ("estimated_squared_distance", "estimated_second_term", "estimated_optimum_loss"):
        row = the(table, measure)
        assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
        assert row.reason.startswith("the descent left the finite numbers in 3 of 3 tasks, lower its rate; ")
    terms = rows(bound_terms(one_start(), IMAGESET, PLAN, SEARCH, steps=4000), "estimated_first_term")
    assert terms[-1].status == "undefined"
    assert terms[-1].reason.startswith("not a finite float64 number; estimate")
    assert {row.status for row in terms[:100]} == {"ok"}


def test_a_learner_that_adapts_nothing_stays():
    table = bound_terms(one_start(layers=()), IMAGESET, PLAN, SEARCH)
    for measure in ("squared_distance", "gradient_bound", "smoothness", "second_term", "optimum_gradient_norm"):
        assert the(table, f"estimated_{measure}").value == 0
    assert the(table, "estimated_growth").value == 1


def test_what_does_not_fit_is_named():
    with pytest.raises(MetaprobeError, match=r"images and steps of at least 1 and a rate above 0; got images=0"):
        OptimumSearch(images=0)
    with pytest.raises(MetaprobeError, match=r"rate=-1"):
        OptimumSearch(rate=-1)
    sampler = EpisodeSampler(IMAGESET, PLAN.split, 3, 2, PLAN.n_query, PLAN.seed)
    several = checkpoint_of(two_starts(sampler, PLAN.tasks))
    with pytest.raises(MetaprobeError, match=r"from one initialisation; checkpoint .* has 2, pass the one it was made"):
        bound_terms(one_start(), IMAGESET, PLAN, SEARCH, common=several)
    other = dataclasses.replace(one_start(), network_config=dataclasses.replace(NETWORK, filters=5))
    with pytest.raises(MetaprobeError, match=r"is of another network than .*filters=5"):
        bound_terms(one_start(), IMAGESET, PLAN, SEARCH, common=other)
