"""Moments of reweighted tasks: as if the tasks had been pooled one after the other."""

import tracemalloc
import weakref

import numpy as np
import pytest

from metaprobe.analyses.bootstrap import task_draws
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.task_moments import TaskMoments
from metaprobe.probe.moments import moments_of, pool

TASKS = 7


def samples(offset=0.0, dtype=np.float64):
    """Tasks of unlike sizes, means and spreads: [(x, y)] with 5 and 3 features."""
    generator = np.random.default_rng(3)
    tasks = []
    for task in range(TASKS):
        n = 20 + 3 * task
        x = generator.normal(size=(n, 5)) * (1 + task) + 2 * generator.normal(size=5) + offset
        y = x[:, :3] ** 2 / 9 - offset * x[:, :3] / 9 + generator.normal(size=(n, 3)) + offset
        tasks.append((x.astype(dtype), y.astype(dtype)))
    return tasks


def of(parts):
    return TaskMoments(list(parts).__getitem__, len(parts))


def weighted(moments, weights):
    (found,) = moments.resampled(np.asarray(weights)[None])
    return found


def assert_alike(found, expected):
    assert (found.n, found.split, found.eps) == (expected.n, expected.split, expected.eps)
    np.testing.assert_array_equal(found.largest, expected.largest)
    for name in ("mean", "scatter", "cubic", "quartic"):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max(), err_msg=name)


def repeated(parts, weights):
    return [part for part, times in zip(parts, weights, strict=True) for _ in range(times)]


WEIGHTS = [np.ones(TASKS, dtype=int), np.array([0, 3, 1, 0, 2, 1, 0]), np.array([0, 0, 0, 1, 0, 0, 0])]


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_weighting_is_the_pool_of_the_repeated_list(offset, weights):
    parts = [moments_of(x, y) for x, y in samples(offset)]
    expected, found = pool(repeated(parts, weights)), weighted(of(parts), weights)
    assert_alike(found, expected)
    for measure in MEASURES.values():
        a, b = measure.from_moments(found), measure.from_moments(expected)
        assert a.value == pytest.approx(b.value, abs=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_debiased_cka_is_that_of_the_repeated_samples(offset):
    tasks = samples(offset)
    weights = WEIGHTS[1]
    pooled = weighted(of([moments_of(*task) for task in tasks]), weights)
    found = MEASURES["debiased_cka"].from_moments(pooled)
    x, y = (np.concatenate(side) for side in zip(*repeated(tasks, weights), strict=True))
    assert found.value == pytest.approx(unbiased_cka(x - offset, y - offset), abs=1e-9)


def unbiased_cka(x, y):
    """Song et al. (2012, eq. 5) by its n × n matrices."""
    n = len(x)

    def hsic(a, b):
        k, m = a @ a.T, b @ b.T
        np.fill_diagonal(k, 0)
        np.fill_diagonal(m, 0)
        together = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (k.sum(axis=0) @ m.sum(axis=0)) / (n - 2)
        return np.sum(k * m) + together

    return hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))


SCATTER = 8 * 8 * 8  # bytes of one


@pytest.mark.parametrize("replicates", [1, 5, 40])  # fewer than tasks, and more
@pytest.mark.parametrize(
    ("several", "least"), [(0, 1), (0, 2), (3, 1), (100, 1)]
)  # tasks of a block, resamples of a pass
def test_blocks_and_passes_do_not_show(monkeypatch, several, least, replicates):
    monkeypatch.setattr("metaprobe.analyses.task_moments._BYTES", several * SCATTER)
    monkeypatch.setattr("metaprobe.analyses.task_moments._LEAST", least)
    parts = [moments_of(*task) for task in samples(1e4)]
    draws, moments = task_draws(TASKS, replicates), of(parts)
    assert (draws == 0).any()
    found = list(moments.resampled(draws))
    assert len(found) == replicates
    for row, one in zip(draws, found, strict=True):
        assert_alike(one, pool(repeated(parts, row)))
    assert_alike(moments.whole, pool(parts))


@pytest.mark.parametrize(("tasks", "replicates"), [(300, 40), (20, 200)])
def test_no_more_is_held_than_resamples_or_tasks_and_a_block(monkeypatch, tasks, replicates):
    """What numpy allocates is counted, and how many tasks' moments are alive: each reading makes them anew."""
    monkeypatch.setattr("metaprobe.analyses.task_moments._BYTES", 0)
    x, y = np.random.default_rng(0).normal(size=(2, 40, 32))
    alive, counts = weakref.WeakSet(), []

    def read(task):
        part = moments_of(x + task, y)
        alive.add(part)
        counts.append(len(alive))
        return part

    def peak(tasks, replicates):
        draws = task_draws(tasks, replicates)
        tracemalloc.start()
        for _ in TaskMoments(read, tasks).resampled(draws):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2, 1)  # what is allocated once
    counts.clear()
    block = 2 * 8  # tasks that are added at once, and what they add
    assert peak(tasks, replicates) < (min(tasks, replicates) + block + 8) * 8 * (64 + 2) ** 2
    assert max(counts) <= 3
    assert len(counts) <= 2 * tasks + replicates


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(3, dtype=int), r"one for each of 7 tasks and some above 0; got int64 of shape \(3,\)"),
        (np.ones(TASKS), "got float64"),
        (np.zeros(TASKS, dtype=int), "some above 0"),
        (np.array([2, 0, 0, 0, 0, 0, -1]), "whole weights ≥ 0"),
    ],
)
def test_what_is_no_weighting_is_refused(weights, match):
    moments = of([moments_of(*task) for task in samples()])
    with pytest.raises(ValueError, match=match):
        weighted(moments, weights)


def test_tasks_of_other_features_are_refused():
    x, y = samples()[0]
    with pytest.raises(ValueError, match="expected at least one part, got none"):
        _ = of([]).whole
    with pytest.raises(ValueError, match=r"pool moments of \(5, 3\) features with moments of \(3, 3\)"):
        _ = of([moments_of(x, y), moments_of(x[:, :3], y)]).whole
