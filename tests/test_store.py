"""The activation store: exact round trips, and a folder of attacks, each with its answer."""

import dataclasses
import shutil

import numpy as np
import pytest

from metaprobe.probe.moments import JointMoments, pool
from metaprobe.probe.store import LayerInfo, RawOptions, open_store
from metaprobe.probe.store.metadata import metadata_from_json, metadata_to_json
from metaprobe.probe.store.picking import picked_rows, rows_per_task, sketch_rows
from metaprobe.probe.store.schema import expected_bytes, schema
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import sha256_of
from tests.written_stores import INDICES, LAYERS, METADATA, activations_for, numbers_for, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("store") / "whole.h5")


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "store.h5")


def assert_same(one, two):
    for field in dataclasses.fields(JointMoments):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))


def test_moments_come_back_exactly_and_pool(whole):
    with open_store(whole) as store:
        assert (store.layers, store.steps, store.tasks) == (tuple(layer.name for layer in LAYERS), (1, 2, 3), 5)
        assert store.metadata == METADATA
        assert store.task_indices == INDICES
        assert store.sha256 == sha256_of(whole)
        for layer in LAYERS:
            for step in store.steps:
                expected = [numbers_for(layer, step, task) for task in range(5)]
                for task in range(5):
                    assert_same(store.moments(layer.name, step, task), expected[task])
                assert_same(store.pooled(layer.name, step), pool(expected))


def test_whole_activations_come_back_exactly(tmp_path):
    path = write(tmp_path / "raw.h5", dataclasses.replace(METADATA, raw=RawOptions()))
    with open_store(path) as store:
        for layer in LAYERS:
            for step, phase in enumerate(METADATA.phases):
                for task in range(5):
                    found = store.activations(layer.name, step, task)
                    np.testing.assert_array_equal(found, activations_for(layer, phase, task))


def test_chunks_are_about_two_megabytes_and_hold_whole_samples():
    layers = (LayerInfo("wide", (64, 14, 14), 0, "float32"), LayerInfo("narrow", (64, 2, 2), 0, "float32"))
    metadata = dataclasses.replace(METADATA, n_tasks=100, n_query=75, layers=layers, raw=RawOptions())
    chunks = {spec.path: spec.chunk for spec in schema(metadata) if spec.path.startswith("activations/post")}
    assert chunks == {"activations/post/wide": (1, 25, 64, 14, 14), "activations/post/narrow": (27, 75, 64, 2, 2)}


def test_sketches_are_shared_evenly_and_picked_by_identity():
    for n_tasks, available, most in [(7, 30, 100), (7, 10, 100), (200, 30, 100), (7, 30, 210), (3, 1, 1)]:
        shares = [rows_per_task(place, n_tasks, available, most) for place in range(n_tasks)]
        assert sum(shares) == sketch_rows(n_tasks, available, most)
        assert max(shares) - min(shares) <= 1
    picked = picked_rows(0, 5, 20, (5, 10), 40)
    assert len(set(picked)) == 40
    assert list(picked) == sorted(picked)
    np.testing.assert_array_equal(picked, picked_rows(0, 5, 20, (5, 10), 40))
    np.testing.assert_array_equal(picked, picked_rows(0, 6, 20, (5, 10), 40))  # of the same ten tasks
    assert not np.array_equal(picked, picked_rows(0, 15, 20, (5, 10), 40))
    assert not np.array_equal(picked, picked_rows(1, 5, 20, (5, 10), 40))


def test_a_task_keeps_the_same_positions_of_all_its_images():
    picked = picked_rows(0, 5, 20, (5, 10), 47)
    samples, positions = np.divmod(picked, 50)
    counts = {int(place): int((positions == place).sum()) for place in np.unique(positions)}
    assert sorted(counts.values()) == [7, 20, 20]
    whole = [place for place, count in counts.items() if count == 20]
    assert all(set(samples[positions == place]) == set(range(20)) for place in whole)
    np.testing.assert_array_equal(picked_rows(0, 5, 20, (5, 10), 5000), np.arange(1000))
    np.testing.assert_array_equal(picked_rows(0, 5, 20, (), 20), np.arange(20))
    assert len(set(picked_rows(0, 5, 20, (), 7))) == 7


@pytest.mark.parametrize("fine", [(4, 8), (8, 8), (12, 4)])
def test_the_picks_of_a_coarser_map_lie_over_those_of_a_finer_one(fine):
    coarse, own, other = (4, 4), picked_rows(3, 7, 6, fine, 12), picked_rows(3, 7, 6, (4, 4), 12)
    at = np.stack(np.unravel_index(own % np.prod(fine), fine))
    cells = np.ravel_multi_index(tuple(at * np.array(coarse)[:, None] // np.array(fine)[:, None]), coarse)
    first = set(zip((own // np.prod(fine)).tolist(), cells.tolist(), strict=True))
    assert len(first & {divmod(int(row), 16) for row in other}) >= 6  # all images at the first position, at least


def test_points_fall_everywhere_alike():
    shares = np.zeros(24)
    for group in range(400):
        shares[np.unique(picked_rows(0, 10 * group, 5, (4, 6), 15) % 24)] += 1
    assert shares.sum() == 3 * 400
    assert abs(shares - 50).max() < 5 * np.sqrt(50)


@pytest.mark.parametrize("group", ["tasks", "moments/conv", "sketch/tokens", "activations/post"])
def test_xarray_opens_every_group(tmp_path, group):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = write(tmp_path / "raw.h5", dataclasses.replace(METADATA, raw=RawOptions()))
    with xarray.open_dataset(path, group=group, engine="h5netcdf") as found:
        if group == "moments/conv":
            assert found.scatter.dims == ("task", "step", "column", "column_b")
            chosen = found.scatter.sel(task=15, step=2).values
            np.testing.assert_array_equal(chosen, numbers_for(LAYERS[0], 2, 3).scatter)
        elif group == "activations/post":
            assert found.conv.dims == ("task", "sample", "conv.channel", "conv.height", "conv.width")
            np.testing.assert_array_equal(found.conv[4].values, activations_for(LAYERS[0], "post", 4))
        else:
            assert all(variable.size for variable in found.values())


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda store: store.moments("conf", 1, 0), "unknown layer 'conf'. Did you mean conv"),
        (lambda store: store.moments("conv", 0, 0), "no moments at inner step 0; captured: 1, 2, 3"),
        (lambda store: store.moments("conv", 1, 5), "task 5 does not exist; there are 5, from 0"),
        (lambda store: store.sketch("conv", 4), "no moments at inner step 4"),
        (lambda store: store.activations("conv", 1, 0), "holds no whole activations; capture again with raw=True"),
    ],
)
def test_questions_that_a_store_cannot_answer(whole, call, match):
    with open_store(whole) as store, pytest.raises(MetaprobeError, match=match) as caught:
        call(store)
    assert not isinstance(caught.value, UnreadableInput)


def test_metadata_round_trip_and_expected_size(whole):
    for raw in (None, RawOptions(), RawOptions("float16", zstd=True)):
        metadata = dataclasses.replace(METADATA, raw=raw, task_seed=None)
        assert metadata_from_json(metadata_to_json(metadata), "here") == metadata
    assert 0.2 < expected_bytes(METADATA) / whole.stat().st_size < 1
    with pytest.raises(MetaprobeError, match="'as computed' or as 'float16'; got 'int8'"):
        RawOptions("int8")  # pyright: ignore[reportArgumentType]
