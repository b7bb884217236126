"""Layers of hundreds of features: the same numbers as ever, from one product over the samples an order."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import metaprobe.analyses.measures.pair as pairs
from metaprobe import probe
from metaprobe.analyses import per_task
from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.threads import cores, side_by_side
from metaprobe.probe.cli import main
from metaprobe.trainers.config import Adaptation
from tests.captures import some_tasks
from tests.reference_measures import REFERENCES

OF_MOMENTS = [name for name, measure in MEASURES.items() if measure.needs == "moments"]


def sides(n, p, q, skewed):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, p)) @ rng.normal(size=(p, p))
    y = x[:, :1] + x[:, : min(p, q)] @ rng.normal(size=(min(p, q), q)) / 9 + rng.normal(size=(n, q))
    return (x * np.logspace(0, -5 if skewed else -1, p), y)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize(("n", "p", "q"), [(400, 90, 90), (400, 90, 70), (60, 90, 70), (80, 90, 60)])
@pytest.mark.parametrize("name", OF_MOMENTS)
def test_exchanged_pairs_are_those_of_exchanged_samples(name, n, p, q, skewed):
    x, y = sides(n, p, q, skewed)
    order = np.random.default_rng(1).permutation(n)
    found = MEASURES[name].apply(Pair.of_arrays(x, y, reduced=False).exchanged(order))
    if found.value is None:
        assert "forced to 1" in found.reason or "samples in any order let" in found.reason
        return
    assert found.value == pytest.approx(REFERENCES[name](x, y[order]), abs=1e-9)
    assert found.value == pytest.approx(MEASURES[name].function(x, y[order]).value, abs=1e-10)


def test_an_order_costs_one_product_over_the_samples(monkeypatch):
    pair = Pair.of_arrays(*sides(4000, 90, 90, True), reduced=False)
    assert pair.x.unit.shape == pair.y.unit.shape == (90, 90)
    shapes = []
    taken = np.take
    monkeypatch.setattr(pairs.np, "take", lambda a, *rest, **more: shapes.append(a.shape) or taken(a, *rest, **more))
    exchanged = pair.exchanged(np.random.default_rng(0).permutation(4000))
    for name in OF_MOMENTS:
        MEASURES[name].apply(exchanged)
    assert shapes == [(4000, 90)]


@pytest.mark.parametrize(("features", "orders"), [(64, 34), (65, 7)])
def test_wide_layers_take_as_many_orders_as_are_asked_for_and_others_five_times(features, orders):
    rows = np.zeros((80, features))
    pair = type("Pair", (), {"x": type("Rows", (), {"rows": rows}), "y": type("Rows", (), {"rows": rows})})
    assert per_task._orders(pair, 40, 6) == orders


def test_parts_side_by_side_come_in_order_on_as_many_threads_as_are_allowed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert cores() >= 1
    monkeypatch.setattr("metaprobe.analyses.threads.cores", lambda: 3)
    assert list(side_by_side(lambda item: item * 2, range(20))) == [2 * item for item in range(20)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.Linear(8, 3))
    path, tasks = tmp_path_factory.mktemp("width") / "s.h5", some_tasks(4, dtype=torch.float32)
    return probe.capture(network, None, tasks, out=path, adaptation=Adaptation(("*",), 0.1, 1), layers="1,2")


def test_the_command_takes_replicates_and_permutations(store, capsys):
    def rows(*words):
        assert main(["similarity", str(store), "--measures", "cka", "--json", *words]) == 0
        return {(row["layer"], row["measure"]): row for row in json.loads(capsys.readouterr().out)}

    whole, few = rows(), rows("--replicates", "50", "--permutations", "10")
    for key in (("1", "linear_cka"), ("2", "linear_cka")):
        assert whole[key]["value"] == few[key]["value"] and whole[key]["low"] != few[key]["low"]
    null = ("1", "linear_cka_null")
    assert whole[null]["value"] != few[null]["value"]
    bare = rows("--replicates", "0", "--permutations", "0")
    assert null not in bare and bare[("1", "linear_cka")].get("low") is None
    assert main(["similarity", str(store), "--replicates", "-1"]) == 2
    assert "--replicates must be at least 0 and at most 100,000; got -1" in capsys.readouterr().err
