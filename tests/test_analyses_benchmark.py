"""The benchmark of the analyses: its two sides do the same work, and memory does not grow with the samples."""

from __future__ import annotations

import dataclasses
import importlib.util
import tracemalloc

import numpy as np
import pytest
import torch

from metaprobe.probe.moments import MomentAccumulator, moments_of
from metaprobe.probe.store import open_store
from tests.benchmarks import many_tasks
from tests.benchmarks.similarities import FIVE, OTHERS, captured, forward_passes, ours, products, rows_like
from tests.benchmarks.work import Work
from tests.reference_measures import REFERENCES

SMALL = Work("full", channels=3, image_size=16, filters=4, downsample="max-pool", n_query=3, steps=2, tasks=3)


def test_the_products_are_those_that_the_measures_read():
    x, y = rows_like(5000, 6)
    xx, xy, yy = products(x.astype(float), y.astype(float))
    moments = moments_of(x, y)
    raw = moments.scatter + moments.n * np.outer(moments.mean, moments.mean)
    assert raw == pytest.approx(np.block([[xx, xy], [xy.T, yy]]), rel=1e-12, abs=1e-8)


@pytest.mark.parametrize("name", OTHERS)
def test_other_ways_give_the_same_values(name):
    module, other = OTHERS[name]
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    x, y = rows_like(2000, 6)
    expected, found = ours(x, y), other(x, y)
    assert set(expected) == set(FIVE) >= set(found) and found
    for measure, value in found.items():
        assert value == pytest.approx(expected[measure], abs=1e-9 if name == "plain QR, float64" else 1e-4)
        assert expected[measure] == pytest.approx(REFERENCES[measure](x, y), abs=1e-9)


def test_a_capture_makes_the_passes_that_it_is_timed_against(tmp_path):
    work = dataclasses.replace(SMALL, dtype="float64")
    network, tasks = work.problem()
    values = captured(network, tasks, work, tmp_path / "store.h5", chunk=2)
    assert list(values) == ["conv1", "conv2", "conv3", "conv4", "head"]
    assert all(set(found) == set(FIVE) for found in values.values())
    logits = forward_passes(network, tasks, work, chunk=2)
    before, after = torch.cat(logits[::2]), torch.cat(logits[1::2])
    with open_store(tmp_path / "store.h5") as store:
        for task in range(len(tasks)):
            expected = torch.cat([before[task].mean(dim=0), after[task].mean(dim=0)])
            assert store.moments("head", work.steps, task).mean == pytest.approx(expected.numpy(), abs=1e-12)


def test_memory_does_not_grow_with_the_number_of_tasks():
    x, y = rows_like(20_000, 16)

    def peak(tasks: int) -> int:
        accumulator = MomentAccumulator()
        tracemalloc.start()
        for _ in range(tasks):
            accumulator.add(x, y)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(1)
    assert peak(20) < 1.1 * peak(2)
    tracemalloc.start()
    moments_of(x, y)
    assert tracemalloc.get_traced_memory()[1] < 0.75 * 8 * (x.size + y.size)  # less than float64 copies of the rows
    tracemalloc.stop()


def test_a_store_of_made_up_tasks_is_one_like_any(tmp_path):
    with open_store(many_tasks.write(tmp_path / "store.h5", 6)) as store:
        assert (store.tasks, store.steps, store.layers) == (6, (1,), ("conv1", "conv2", "conv3", "conv4", "head"))
        for layer in many_tasks.LAYERS:
            (x, y), moments = many_tasks.made_up(layer, 1)
            found = store.moments(layer.name, 1, 5)
            assert (found.n, found.n) == (len(x), 75 * layer.positions)
            np.testing.assert_array_equal(found.scatter, moments.scatter)
            for step, rows in ((0, x), (1, y)):
                sketch = store.sketch(layer.name, step)
                here = sketch.tasks == 5
                np.testing.assert_array_equal(
                    sketch.rows[here], rows[sketch.samples[here] * layer.positions + sketch.positions[here]]
                )


def test_what_a_command_takes_is_told_unless_it_fails(tmp_path, capfd):
    with pytest.raises(RuntimeError, match=r"nothing\.h5: exit code 3"):
        many_tasks.taken_by(["similarity", str(tmp_path / "nothing.h5")])
    assert "nothing.h5" in capfd.readouterr().err
