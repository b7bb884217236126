"""Stores that cannot be compared are refused, and values that cannot be had are undefined, with the reason."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.compare import PHASES, compare_layers
from metaprobe.probe.store import open_store
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from tests.captures import FOREIGN_ADAPTATION, sampler, small_network, some_tasks
from tests.compared_stores import QUICK, TASKS, THREE, capture, pooled, strided, the


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    base = tmp_path_factory.mktemp("compare")
    return tuple(capture(base / f"{name}.h5", seed) for name, seed in (("a", 1), ("b", 2)))


@pytest.fixture(scope="module")
def table(stores):
    return pooled(*stores, THREE, replicates=40, permutations=40)


def test_too_few_shared_places_are_undefined_with_the_numbers(tmp_path):
    a, b = (capture(tmp_path / f"{s}.h5", s, sketch_rows=30) for s in (1, 2))
    table = pooled(a, b, THREE, phases=[("pre", "pre")], replicates=40, permutations=0)
    row = the(table, layer="conv1", other_layer="conv2", measure="mean_cca")
    assert (row.value, row.low, row.status, row.samples) == (None, None, "undefined", "positions")
    assert "places of the two feature maps, 40 are needed for 4 and 4 features; capture fewer tasks" in row.reason
    assert the(table, layer="conv1", other_layer="conv1", measure="mean_cca").value is not None


def test_a_dead_layer_has_no_number_and_says_why(tmp_path, stores):
    network = small_network(seed=3)
    with torch.no_grad():
        network.conv3.norm.weight.zero_()
        network.conv3.norm.bias.fill_(-1.0)
    table = pooled(stores[0], capture(tmp_path / "dead.h5", 3, network=network), THREE, replicates=40, permutations=3)
    for row in table.rows:
        if row.other_layer in ("conv1", "conv2"):
            assert row.status == "ok" and row.value is not None
        elif row.phase == "pre-pre" and row.other_layer in ("conv3", "conv4"):
            assert (row.value, row.low, row.high, row.status) == (None, None, None, "undefined")
            assert row.reason == "dead layer: all 4 features of y are constant within rounding"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"seed": 1}, "support ids of task 0, image 0: expected "),
        ({"n_query": 5}, "query images in a task: expected 12, as in a.h5, got 15 in other.h5"),
    ],
)
def test_other_tasks_are_refused(tmp_path, stores, other, what):
    path = capture(tmp_path / "other.h5", 2, some_tasks(TASKS, **other))
    with pytest.raises(MetaprobeError, match=what) as refused:
        pooled(stores[0], path, THREE, **QUICK)
    told = str(refused.value)
    assert str(stores[0]) in told and str(path) in told and told.endswith("same --data, --tasks, --seed and --n-query")
    assert refused.value.exit_code == 2


def test_another_number_or_order_of_tasks_is_refused(tmp_path, stores):
    fewer = capture(tmp_path / "fewer.h5", 2, some_tasks(TASKS - 1))
    with pytest.raises(MetaprobeError, match=r"number of tasks: expected 5, as in a.h5, got 4 in fewer.h5"):
        pooled(stores[0], fewer, THREE, **QUICK)
    order = capture(tmp_path / "order.h5", 2, sampler().batch([0, 1, 3, 2, 4]))
    with pytest.raises(MetaprobeError, match=r"index of the task in place 2: expected 2, as in a.h5, got 3"):
        pooled(stores[0], order, THREE, **QUICK)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"data_fingerprint": "f" * 64, "data": "other"},
            r"data: expected unnamed \(no fingerprint\).*got other \(fff",
        ),
        ({"split": "val"}, "split: expected not told, as in a.h5, got val in b.h5"),
        ({"task_seed": 3}, "seed of the tasks: expected not told, as in a.h5, got 3 in b.h5"),
        ({"sketch_seed": 4}, "seed of the sketch: expected 0, as in a.h5, got 4 in b.h5"),
    ],
)
def test_every_part_of_a_task_sets_identity_counts(stores, change, what):
    with open_store(stores[0]) as a, open_store(stores[1]) as b:
        from metaprobe.analyses.aligned import check_same_tasks

        check_same_tasks(a, b)
        b.metadata = dataclasses.replace(b.metadata, **change)
        with pytest.raises(MetaprobeError, match=what):
            check_same_tasks(a, b)


def test_stores_without_a_layer_in_common_compare_all_or_are_refused(tmp_path, stores):
    adaptation = dataclasses.replace(FOREIGN_ADAPTATION, layers=("conv", "head"))
    other = capture(tmp_path / "f.h5", 0, network=strided((2, 2)), adaptation=adaptation, layers="conv")
    part = capture(tmp_path / "p.h5", 1, layers="conv1")
    with pytest.raises(MetaprobeError, match=r"no layer has the same name in both: p\.h5 has conv1, f\.h5 has conv;"):
        pooled(part, other, THREE, layers="matching", **QUICK)
    assert {(row.layer, row.other_layer) for row in pooled(part, other, THREE, **QUICK).rows} == {("conv1", "conv")}


def test_what_is_no_store_is_refused(tmp_path, stores):
    (tmp_path / "s.h5").write_bytes(b"no store")
    with pytest.raises(UnreadableInput, match=r"s\.h5"):
        pooled(stores[0], tmp_path / "s.h5", THREE)


def test_a_resample_without_a_row_has_no_value(stores):
    with open_store(stores[0]) as a, open_store(stores[1]) as b:
        samples, found = compare_layers(
            a, b, ("head", "head"), PHASES["pre-pre"], THREE, over="tasks", replicates=40, permutations=0
        )
    assert samples == "images"
    assert all(np.isfinite(compared.replicates).all() and compared.null is None for compared in found.values())
