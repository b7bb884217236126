"""The mean over tasks of made-up pairs: what is left out, what a null without room says, what is kept."""

import tracemalloc

import numpy as np
import pytest

from metaprobe.analyses.bootstrap import task_draws
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.per_task import mean_over_tasks
from metaprobe.analyses.similarity import measures_named
from metaprobe.analyses.task_pairs import TaskPair
from metaprobe.probe.store import Sketch
from tests.reference_measures import REFERENCES


def task(x, y, images=75):
    """A task of so many images, one row each."""
    image, zero = np.arange(images), np.zeros(images, dtype=int)
    one, two = (Sketch(side, zero, image, zero, image, zero) for side in (x, y))
    return TaskPair(Pair.of_arrays(x, y), one, two, (2.0**-52, 2.0**-52), (x, y))


def heads(tasks, seed=0):
    """Logits that adaptation only renames: each task has its classes in an order of its own."""
    rng = np.random.default_rng(seed)
    for _ in range(tasks):
        x = rng.normal(size=(75, 5))
        yield x, x[:, rng.permutation(5)] + 0.1 * rng.normal(size=(75, 5))


def mean(pairs, names, **options):
    pairs = list(pairs)
    options = {"replicates": 40, "permutations": 8, "seed": [0]} | options
    return mean_over_tasks(pairs, measures_named(names), tasks=len(pairs), **options).found


def test_heads_whose_labels_are_in_random_order_are_alike_task_by_task_and_not_together():
    names = ["mean_cca", "debiased_cka"]
    found = mean((task(x, y) for x, y in heads(60)), names)
    x, y = (np.concatenate(side) for side in zip(*heads(60), strict=True))
    for name in names:
        assert found[name].value > 0.95
        assert found[name].calibrated.value > 0.9
        assert MEASURES[name].function(x, y).value < 0.35


def dead(x, y):
    return task(x, np.zeros_like(y))


def test_a_few_undefined_tasks_are_left_out_and_told():
    pairs = [task(x, y) for x, y in heads(38)] + [dead(x, y) for x, y in heads(2, 1)]
    found = mean(pairs, ["cka"])["linear_cka"]
    defined = [REFERENCES["linear_cka"](x, y) for x, y in heads(38)]
    assert found.value == pytest.approx(np.mean(defined), abs=1e-12)
    why = "left out in 2 of 40 tasks: dead layer: all 5 features of y are constant within rounding"
    assert (found.reason, found.null.reason, found.calibrated.reason) == (why, why, why)
    draws = task_draws(40, 40)[:, :38]
    assert found.replicates == pytest.approx(draws @ defined / draws.sum(axis=1), abs=1e-12)


def test_more_undefined_tasks_leave_no_mean():
    pairs = [task(x, y) for x, y in heads(37)] + [dead(x, y) for x, y in heads(3, 1)]
    found = mean(pairs, ["cka"])["linear_cka"]
    why = "in 3 of 40 tasks: dead layer: all 5 features of y are constant within rounding"
    assert (found.value, found.null.mean, found.calibrated.value) == (None, None, None)
    assert (found.reason, found.null.reason, found.calibrated.reason) == (why, why, why)


def test_few_images_have_a_null_without_ends():
    rng = np.random.default_rng(0)
    pairs = [task(rng.normal(size=(3, 50)), rng.normal(size=(3, 50)), 3) for _ in range(2)]
    found = mean(pairs, ["cka", "debiased_cka"])["linear_cka"]
    assert found.null.mean is not None and found.null.values == ()
    assert "can be exchanged in fewer than 39 ways: how the null spreads is not known" in found.null.reason
    assert found.reason.startswith("in all 2 tasks, the first: few samples: with those of y in any order, n=3 give 0.9")
    many = [task(rng.normal(size=(3, 9)), rng.normal(size=(3, 9)), 3) for _ in range(6)]
    assert len(mean(many, ["cka"])["linear_cka"].null.values) > 39  # two ways in each of six tasks


def test_a_null_that_leaves_no_room_calibrates_nothing():
    rng = np.random.default_rng(0)
    pairs = [task(rng.normal(size=(6, 500)), rng.normal(size=(6, 500)), 6) for _ in range(4)]
    found = mean(pairs, ["cka"])["linear_cka"]
    assert found.calibrated.value is None
    assert found.calibrated.reason == f"the null, {found.null.mean:.3f}, leaves no room below the largest value, 1"


def test_independent_tasks_are_calibrated_to_nothing():
    rng = np.random.default_rng(0)
    pairs = [task(rng.normal(size=(30, 8)), rng.normal(size=(30, 9)), 30) for _ in range(80)]
    for name, found in mean(pairs, list(MEASURES), permutations=40).items():
        assert abs(found.calibrated.value) < 0.03, name
        assert found.null.values and abs(found.null.mean - found.value) < 0.03


def test_what_is_kept_of_many_tasks_is_a_few_numbers_each(monkeypatch):
    monkeypatch.setattr("metaprobe.analyses.per_task._HELD", 1 << 10)  # which few tasks do not fill otherwise
    one = task(*next(heads(1)))

    def peak(tasks):
        options = {"replicates": 200, "permutations": 8, "seed": [0]}
        tracemalloc.start()
        mean_over_tasks((one for _ in range(tasks)), measures_named(["cka"]), tasks=tasks, **options)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert (peak(700) - peak(100)) / 600 < 1000  # bytes; what tasks are drawn for intervals is half of it
