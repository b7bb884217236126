"""Weight distances against norms taken from `adapt` directly."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from metaprobe.analyses.freezing import TestPlan
from metaprobe.analyses.weight_distance import layer_distances, weight_distance
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.checkpoint import Checkpoint, save_checkpoint
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset
from tests.interval_coverage import interval_of
from tests.several_starts import checkpoint_of, nearest, own_start, two_starts

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
NETWORK = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive")
IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)
PLAN = TestPlan(tasks=5, n_query=7, seed=4, chunk=2)


def written(path, layers=LAYERS, steps=3, adapt_norm=True, **params):
    made = dict(build_network(NETWORK, 6).named_parameters()) | params
    adaptation = Adaptation(layers, 0.3, steps, adapt_norm=adapt_norm)
    algorithm = "maml" if (layers, steps > 0) == (LAYERS, True) else "of one's own"  # which may adapt as it likes
    how = {"inner_lr": 0.3, "inner_steps": max(1, steps), "adapt_norm": adapt_norm}
    config = TrainConfig(algorithm, "toy", n_way=3, n_shot=2, seed=6, **how)
    save_checkpoint(path, Checkpoint(made, config, NETWORK, adaptation, 40))
    return path, made


def moved(params, layers=LAYERS, steps=3, adapt_norm=True):
    """‖θ_T − θ‖ of each layer and task, one task at a time."""
    network = build_network(NETWORK, 0)
    sampler = EpisodeSampler(IMAGESET, "test", 3, 2, PLAN.n_query, PLAN.seed)
    found = {layer: [] for layer in LAYERS}
    for place in range(PLAN.tasks):
        support = sampler.batch([place]).support
        adapted = adapt(network, params, support, layers=layers, inner_lr=0.3, steps=steps, adapt_norm=adapt_norm)
        for layer, distances in found.items():
            names = [name for name in params if name.startswith(f"{layer}.")]
            change = [(adapted.params[name] - params[name]).detach().double().flatten() for name in names]
            distances.append(float(torch.linalg.vector_norm(torch.cat(change))))
    return {layer: np.array(distances) for layer, distances in found.items()}


def length(params, layer):
    parts = [value.detach().double().flatten() for name, value in params.items() if name.startswith(f"{layer}.")]
    return float(torch.linalg.vector_norm(torch.cat(parts)))


def rows(table, measure):
    return {row.layer: row for row in table.rows if row.measure == measure}


def assert_mean(row, per_task):
    low, high = interval_of(per_task, (0.0, math.inf))
    assert (row.value, row.low, row.high) == pytest.approx((per_task.mean(), low, high), rel=1e-4)


@pytest.mark.parametrize("adapt_norm", [True, False])
def test_distances_are_the_norms_of_what_adapt_changes(tmp_path, adapt_norm):
    path, params = written(tmp_path / "a.safetensors", adapt_norm=adapt_norm)
    table = weight_distance(path, IMAGESET, PLAN)
    assert [(row.layer, row.measure) for row in table.rows] == [
        (layer, measure) for layer in LAYERS for measure in ("euclidean_distance", "rms_change", "relative_distance")
    ]
    expected = moved(params, adapt_norm=adapt_norm)
    for layer, row in rows(table, "euclidean_distance").items():
        assert_mean(row, expected[layer])
        assert row.value > 1e-3
    for layer, row in rows(table, "relative_distance").items():
        assert_mean(row, expected[layer] / length(params, layer))
    for layer, row in rows(table, "rms_change").items():  # of each weight of the layer, whether it may move or not
        weights = sum(value.numel() for name, value in params.items() if name.startswith(layer))
        assert_mean(row, expected[layer] / weights**0.5)
    row = table.rows[0]
    assert (row.algorithm, row.seed, row.iteration, row.phase, row.n) == ("maml", 6, 40, "pre-post", 5)
    assert (row.step, row.inner_steps) == (3, 3)


def test_each_task_has_rows_where_the_plan_asks_for_them(tmp_path):
    path, params = written(tmp_path / "a.safetensors")
    table, expected = weight_distance(path, IMAGESET, dataclasses.replace(PLAN, per_task=True)), moved(params)
    assert [row for row in table.rows if row.task is None] == list(weight_distance(path, IMAGESET, PLAN).rows)
    for measure in ("euclidean_distance", "rms_change", "relative_distance"):
        for layer, distances in expected.items():
            found = [row for row in table.rows if (row.measure, row.layer) == (measure, layer) and row.task is not None]
            assert [(row.task, row.n, row.low) for row in found] == [(task, 1, None) for task in range(PLAN.tasks)]
            scale = found[0].value / distances[0]
            assert [row.value for row in found] == pytest.approx(scale * distances, rel=1e-4)


def test_more_steps_than_it_was_trained_with(tmp_path):
    path, _ = written(tmp_path / "a.safetensors")
    longer, trained = (written(tmp_path / f"{steps}.safetensors", steps=steps)[0] for steps in (7, 3))
    table = weight_distance(path, IMAGESET, PLAN, inner_steps=7)
    assert {(row.step, row.inner_steps) for row in table.rows} == {(7, 7)}
    values = [[row.value for row in one.rows] for one in (table, weight_distance(longer, IMAGESET, PLAN))]
    assert values[0] == values[1]
    assert values[0] != [row.value for row in weight_distance(trained, IMAGESET, PLAN).rows]


def test_frozen_layers_do_not_move_at_all(tmp_path):
    path, params = written(tmp_path / "a.safetensors", layers=("conv2", "head"))
    found = rows(weight_distance(path, IMAGESET, PLAN), "euclidean_distance")
    expected = moved(params, layers=("conv2", "head"))
    for layer, row in found.items():
        if layer in ("conv2", "head"):
            assert_mean(row, expected[layer])
        else:
            assert (row.value, row.low, row.high) == (0, 0, 0)


def test_a_layer_of_zeros_has_no_relative_distance(tmp_path):
    zeros = {"head.weight": torch.zeros(3, 4), "head.bias": torch.zeros(3)}
    path, params = written(tmp_path / "a.safetensors", layers=("head",), **zeros)
    table = weight_distance(path, IMAGESET, PLAN)
    head = rows(table, "relative_distance")["head"]
    assert (head.value, head.low, head.high) == (None, None, None)
    assert (head.status, head.reason) == ("undefined", "the layer's weights are all zero")
    assert_mean(rows(table, "euclidean_distance")["head"], moved(params, layers=("head",))["head"])
    others = [row for row in table.rows if row is not head]
    assert {row.status for row in others} == {"ok"}
    assert all(row.reason.startswith("an interval over 5 tasks, fewer than 10") for row in others)


def test_no_step_is_no_distance_and_one_task_has_no_interval(tmp_path):
    path, _ = written(tmp_path / "a.safetensors", steps=0)
    assert {row.value for row in weight_distance(path, IMAGESET, PLAN).rows} == {0}
    path, params = written(tmp_path / "b.safetensors")
    table = weight_distance(path, IMAGESET, dataclasses.replace(PLAN, tasks=1))
    assert {(row.low, row.high, row.n) for row in table.rows} == {(None, None, 1)}
    assert table.rows[0].value == pytest.approx(moved(params)["conv1"][0], rel=1e-4)


def test_chunks_play_no_part(tmp_path):
    path, _ = written(tmp_path / "a.safetensors")
    first = weight_distance(path, IMAGESET, PLAN)
    other = weight_distance(path, IMAGESET, dataclasses.replace(PLAN, chunk=5))
    assert [row.value for row in other.rows] == pytest.approx([row.value for row in first.rows], rel=1e-4)
    assert weight_distance(path, IMAGESET, dataclasses.replace(PLAN, seed=5)) != first


def test_distances_of_given_parameters():
    before = {"a.weight": torch.tensor([3.0, 4.0]), "a.bias": torch.tensor([0.0]), "b.weight": torch.tensor([5.0])}
    after = {
        "a.weight": torch.tensor([[3.0, 4.0], [6.0, 8.0]]),
        "a.bias": torch.tensor([[2.0], [0.0]]),
        "b.weight": before["b.weight"],
    }
    distances, norms = layer_distances(before, after, "a", 2)
    assert (distances.tolist(), norms.tolist()) == ([2.0, 5.0], [5.0, 5.0])
    distances, norms = layer_distances(before, after, "b", 2)
    assert (distances.tolist(), norms.tolist()) == ([0.0, 0.0], [5.0, 5.0])


def test_no_tasks_are_refused(tmp_path):
    path, _ = written(tmp_path / "a.safetensors")
    with pytest.raises(MetaprobeError, match=r"at least"):
        weight_distance(path, IMAGESET, dataclasses.replace(PLAN, tasks=0))


@pytest.mark.parametrize("layers", [LAYERS, ("conv2", "head")])
def test_of_several_initialisations_a_task_is_measured_from_its_own(tmp_path, layers):
    sampler = EpisodeSampler(IMAGESET, "test", 3, 2, PLAN.n_query, PLAN.seed)
    adaptation = Adaptation(layers, 0.3, 3)
    clusters = two_starts(sampler, PLAN.tasks, adaptation=adaptation)
    assert len({nearest(clusters, sampler.batch([place]).support) for place in range(PLAN.tasks)}) == 2
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, checkpoint_of(clusters, adaptation=adaptation))
    table = weight_distance(path, IMAGESET, PLAN)
    found, relative = rows(table, "euclidean_distance"), rows(table, "relative_distance")
    network, each = build_network(NETWORK, 0), {layer: [] for layer in LAYERS}
    for place in range(PLAN.tasks):
        support = sampler.batch([place]).support
        start = own_start(clusters, support)
        adapted = adapt(network, start, support, layers=layers, inner_lr=0.3, steps=3).params
        for layer, values in each.items():
            names = [name for name in start if name.startswith(f"{layer}.")]
            change = torch.cat([(adapted[name] - start[name]).double().flatten() for name in names])
            values.append((float(change.norm()), length(start, layer)))
    for layer, values in each.items():
        distances, norms = np.array(values).T
        assert np.ptp(norms) > 0.01  # so that dividing by another task's norm would show
        if layer in layers:
            assert_mean(found[layer], distances)
            assert_mean(relative[layer], distances / norms)
        else:
            assert (found[layer].value, relative[layer].value) == (0, 0)


def test_distances_of_given_parameters_with_a_start_for_each_task():
    before = {"a.weight": torch.tensor([[3.0, 4.0], [0.0, 1.0]]), "a.bias": torch.tensor([[0.0], [0.0]])}
    after = {"a.weight": torch.tensor([[3.0, 4.0], [6.0, 9.0]]), "a.bias": torch.tensor([[2.0], [0.0]])}
    distances, norms = layer_distances(before, after, "a", 2, per_task=True)
    assert (distances.tolist(), norms.tolist()) == ([2.0, 10.0], [5.0, 1.0])


def test_rows_tell_the_domain(tmp_path):
    path, _ = written(tmp_path / "a.safetensors")
    plan = dataclasses.replace(PLAN, group="toy")
    assert {row.group for row in weight_distance(path, IMAGESET, plan).rows} == {"toy"}
