"""Steps after which a layer is as it was after the one before: what is the same is compared once."""

import dataclasses

import pytest

from metaprobe import probe
from metaprobe.analyses.similarity import similarity
from metaprobe.analyses.task_pairs import alike_since
from tests.captures import ADAPTATION, small_network, some_tasks


@pytest.mark.parametrize("over", ["task", "tasks"])
def test_what_no_step_moves_is_compared_once(tmp_path, over, monkeypatch):
    still = dataclasses.replace(ADAPTATION, layers=("conv4", "head"), steps=3)
    how = {"adaptation": still, "steps": "all"}
    path = probe.capture(small_network(seed=1), None, some_tasks(4), out=tmp_path / "s.h5", **how)
    with probe.open_store(path) as store:
        assert {layer: alike_since(store, layer) for layer in store.layers} == {
            **{key: {1: 1, 2: 1, 3: 1} for key in ("conv1", "conv2", "conv3")},
            **{key: {1: 1, 2: 2, 3: 3} for key in ("conv4", "head")},
        }
    how = {"replicates": 39, "permutations": 5, "over": over}
    table = similarity(path, **how)
    assert [(row.layer, row.step) for row in table.rows if row.measure == "linear_cka"] == [
        (f"conv{n}" if n < 5 else "head", step) for n in range(1, 6) for step in (1, 2, 3)
    ]

    def said(layer, step):
        rows = (row for row in table.rows if (row.layer, row.step) == (layer, step))
        return [(row.measure, row.value, row.low, row.high, row.n) for row in rows]

    assert said("conv1", 1) == said("conv1", 2) == said("conv1", 3) and said("head", 1) != said("head", 3)
    monkeypatch.setattr("metaprobe.analyses.similarity.alike_since", lambda store, _: {n: n for n in store.steps})
    each = similarity(path, **how)
    kept = [row for row in each.rows if row.step == 1 or row.layer in ("conv4", "head") or "null" not in row.measure]
    calibrated = [row for row in kept if not row.measure.endswith("_calibrated")]
    assert calibrated and all(row in table.rows for row in calibrated)
