"""Similarities over the seeds of a learner."""

import numpy as np
import pytest
import torch

from metaprobe.analyses.bootstrap import over_seeds, task_draws
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.similarity import measures_named
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.files import sha256_of
from tests.captures import small_network
from tests.test_similarity import LAYERS, PERMUTATIONS, REPLICATES, activations, capture, pooled, pooled_over_seeds, the


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    return [capture(folder / f"{seed}.h5", 6, small_network(seed=seed)) for seed in (1, 2, 3)]


FEW = {"replicates": REPLICATES, "permutations": PERMUTATIONS}


def test_the_mean_over_seeds_follows_the_rows_of_each(runs):
    measures = measures_named(["cka", "cca"])
    table = pooled_over_seeds(runs, measures, **FEW)
    alone = [pooled(run, measures, **FEW) for run in runs]
    assert table.rows[: 3 * len(alone[0])] == tuple(row for each in alone for row in each.rows)
    means = table.rows[3 * len(alone[0]) :]
    names = ["linear_cka", "linear_cka_null", "mean_cca", "mean_cca_null"]
    assert [(row.layer, row.measure) for row in means] == [(layer, name) for layer in LAYERS for name in names]
    for row in means:
        each = [the(one, layer=row.layer, measure=row.measure) for one in alone]
        assert row.value == pytest.approx(np.mean([one.value for one in each]), abs=1e-12)
        assert (row.checkpoint, row.seed, row.n) == (None, None, each[0].n)
        assert row.source == "+".join(one.source for one in each)
        assert row.low < row.high


def test_tasks_and_seeds_are_resampled_together(runs):
    measure = MEASURES["linear_cka"]
    row = pooled_over_seeds(runs, [measure], **FEW).rows[-2]
    values, replicates = [], []
    for run in runs:
        x, y = activations(run, "head", 0), activations(run, "head", 2)
        values.append(measure.function(np.concatenate(x), np.concatenate(y)).value)
        chosen = [np.repeat(np.arange(6), times) for times in task_draws(6, REPLICATES)]
        replicates.append([measure.function(np.concatenate(x[c]), np.concatenate(y[c])).value for c in chosen])
    expected = over_seeds(np.array(values), np.array(replicates), tasks=6, range=measure.range)
    assert (row.layer, row.measure) == ("head", "linear_cka")
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-7)


def test_one_store_has_no_mean_over_seeds(runs):
    measures = measures_named(["cka"])
    assert pooled_over_seeds(runs[:1], measures, **FEW) == pooled(runs[0], measures, **FEW)


def test_the_mean_is_undefined_where_a_seeds_value_is(tmp_path, runs):
    network = small_network(seed=4)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
    dead = capture(tmp_path / "dead.h5", 6, network)
    table = pooled_over_seeds([runs[0], dead], measures_named(["cka"]), **FEW)
    value, null = table.rows[-2:]
    for row in (value, null):
        assert (row.layer, row.value, row.low, row.status) == ("head", None, None, "undefined")
        assert row.reason.startswith(f"in store {sha256_of(dead)[:12]}: dead layer")


def test_stores_that_are_no_repeats_of_each_other_are_refused(tmp_path, runs):
    other_tasks = capture(tmp_path / "tasks.h5", 5, small_network(seed=5))
    other_layers = capture(tmp_path / "layers.h5", 6, small_network(seed=5), layers="conv*")
    other_steps = capture(tmp_path / "steps.h5", 6, small_network(seed=5), steps="all")
    for other, match in [
        (other_tasks, r"tasks\.h5.*number of tasks|number of tasks.*tasks\.h5"),
        (other_layers, r"1\.h5 and .*layers\.h5: .* seed alone: layers: conv1 .*, head \(3,\) and conv1"),
        (other_steps, r"captured steps: \(2,\) and \(1, 2\)"),
        (runs[0], r"1\.h5 and .*1\.h5: both are of checkpoint \w+; give each run's store once"),
    ]:
        with pytest.raises(MetaprobeError, match=match):
            pooled_over_seeds([runs[0], other], **FEW)
    with pytest.raises(MetaprobeError, match="expected at least one store, got none"):
        pooled_over_seeds([])
