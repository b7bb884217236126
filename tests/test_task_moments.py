"""Moments of reweighted tasks: as if the tasks had been pooled one after the other."""

import dataclasses

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


def repeated(parts, weights):
    return [part for part, times in zip(parts, weights, strict=True) for _ in range(times)]


WEIGHTS = [np.ones(TASKS, dtype=int), np.array([0, 3, 1, 0, 2, 1, 0]), np.array([0, 0, 0, 1, 0, 0, 0])]


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_weighting_is_the_pool_of_the_repeated_list(offset, weights):
    parts = [moments_of(x, y) for x, y in samples(offset)]
    expected, found = pool(repeated(parts, weights)), TaskMoments.of(parts).pooled(weights)
    assert (found.n, found.split, found.eps) == (expected.n, expected.split, expected.eps)
    np.testing.assert_array_equal(found.largest, expected.largest)
    for name in ("mean", "scatter", "cubic", "quartic"):
        a, b = getattr(found, name), getattr(expected, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max(), err_msg=name)
    for measure in MEASURES.values():
        a, b = measure.from_moments(found), measure.from_moments(expected)
        assert a.value == pytest.approx(b.value, abs=1e-10)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_debiased_cka_is_that_of_the_repeated_samples(offset):
    tasks = samples(offset)
    weights = WEIGHTS[1]
    found = MEASURES["debiased_cka"].from_moments(TaskMoments.of([moments_of(*task) for task in tasks]).pooled(weights))
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


def test_no_weights_take_every_task_once():
    moments = TaskMoments.of([moments_of(*task) for task in samples()])
    assert moments.tasks == TASKS
    a, b = moments.pooled(), moments.pooled(WEIGHTS[0])
    for field in dataclasses.fields(a):
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


def test_many_resamples_are_those_of_each(monkeypatch):
    moments = TaskMoments.of([moments_of(*task) for task in samples(1e4)])
    monkeypatch.setattr("metaprobe.analyses.task_moments._BYTES", 3 * 8 * 64)  # three at a time
    draws = task_draws(TASKS, 10)
    found = list(moments.resampled(draws))
    assert len(found) == 10
    for row, one in zip(draws, found, strict=True):
        alone = moments.pooled(row)
        assert one.n == alone.n
        for name in ("mean", "scatter", "cubic", "quartic", "largest"):
            a, b = getattr(one, name), getattr(alone, name)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


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
    moments = TaskMoments.of([moments_of(*task) for task in samples()])
    with pytest.raises(ValueError, match=match):
        moments.pooled(weights)


def test_tasks_of_other_features_are_refused():
    x, y = samples()[0]
    with pytest.raises(ValueError, match="the moments of at least one task, got none"):
        TaskMoments.of([])
    with pytest.raises(ValueError, match=r"numbers of features differ: \[\(3, 3\), \(5, 3\)\]"):
        TaskMoments.of([moments_of(x, y), moments_of(x[:, :3], y)])
