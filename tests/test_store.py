"""The activation store: exact round trips, and a folder of attacks, each with its answer."""

import dataclasses
import json
import os
import shutil

import h5py
import numpy as np
import pytest

from probe.moments import JointMoments, moments_of, pool
from probe.store import LayerInfo, RawOptions, StoreMetadata, open_store
from probe.store.metadata import ROOT_KEY, metadata_from_json, metadata_to_json
from probe.store.picking import picked_rows, rows_per_task, sketch_rows
from probe.store.schema import expected_bytes, schema
from probe.store.writing import StoreWriter
from trainers.config import Adaptation
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.files import replacing, sha256_of

LAYERS = (
    LayerInfo("conv", (3, 4, 2), 0, "float32"),
    LayerInfo("odd/na%me#1", (5,), 0, "float64"),
    LayerInfo("tokens", (6, 2), 1, "bfloat16"),
)
METADATA = StoreMetadata(
    fingerprint="ab" * 32,
    checkpoint=None,
    adaptation=Adaptation(("conv",), 0.1, 3),
    normalisation="transductive",
    data="toy",
    data_fingerprint="cd" * 32,
    split="test",
    task_seed=4,
    n_tasks=5,
    n_query=6,
    n_support=2,
    n_way=2,
    steps=(1, 2, 3),
    sketch_rows=50,
    sketch_seed=0,
    layers=LAYERS,
    raw=None,
    provenance={"threads": 1},
)
INDICES = (10, 11, 12, 15, 19)


def numbers_for(layer, step, task):
    """The moments that the test stores hold."""
    generator = np.random.default_rng([LAYERS.index(layer), step, task])
    x, y = generator.normal(size=(2, 6 * layer.positions, layer.features))
    return dataclasses.replace(moments_of(x, y + 3), eps=(layer.eps, layer.eps))


def activations_for(layer, phase, task):
    generator = np.random.default_rng([LAYERS.index(layer), len(phase), task])
    dtype = np.float64 if layer.dtype == "float64" else np.float32
    return generator.normal(size=(6, *layer.shape)).astype(dtype)


def write(path, metadata=METADATA):
    with replacing(path) as temporary, StoreWriter(temporary, metadata) as writer:
        ids = {"query_ids": 6, "query_labels": 6, "support_ids": 2, "support_labels": 2, "class_ids": 2}
        arrays = {name: np.arange(5 * n).reshape(5, n) for name, n in ids.items()}
        writer.tasks(0, INDICES, arrays)
        for layer in metadata.layers:
            for task in range(5):
                labels = (arrays["query_ids"][task], arrays["query_labels"][task])
                writer.sketch_labels(layer.name, task, *labels)
                for phase in metadata.phases:
                    block = activations_for(layer, phase, task)
                    rows = np.moveaxis(block, layer.channel_axis + 1, -1).reshape(-1, layer.features)
                    writer.sketch(layer.name, phase, task, rows)
                    if metadata.raw is not None:
                        writer.activations(layer.name, phase, task, block[None])
                for place, step in enumerate(metadata.steps):
                    writer.moments(layer.name, task, place, numbers_for(layer, step, task))
    return path


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


# What is refused. Each attack changes a good store; the answer is one line, exit status 3.


def replaced(path, place, **options):
    """Put another dataset in the place of one."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file[place]
        if options:
            file.create_dataset(place, **options)


def linked(path, place, link):
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        if place in file:
            del file[place]
        file[place] = link


def virtual(path):
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        shape = file["moments/conv/n"].shape
        layout = h5py.VirtualLayout(shape, dtype="<i8")
        layout[...] = h5py.VirtualSource("/etc/hostname", "x", shape)
        del file["moments/conv/n"]
        file.create_virtual_dataset("moments/conv/n", layout)


def group_instead(path):
    replaced(path, N)
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file.create_group(N)


def attribute(path, name, value):
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value


def claims(path, **changed):
    content = json.loads(metadata_to_json(METADATA)) | changed
    attribute(path, ROOT_KEY, np.bytes_(json.dumps(content).encode()))


def overwritten(path, name, byte):
    """Fill a dataset with a byte, as a lost chunk (0) or an erased block (255) would."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        dataset = file[name]
        raw = np.full(dataset.size * dataset.dtype.itemsize, byte, np.uint8)
        dataset[...] = raw.view(dataset.dtype).reshape(dataset.shape)


def timed(path):
    """Put values of a type that numpy has not."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file[N]
        created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        created.set_chunk((5, 3))
        h5py.h5d.create(file.id, N.encode(), h5py.h5t.UNIX_D32LE, h5py.h5s.create_simple((5, 3)), created)


def named(path, name):
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        h5py.h5g.create(file.id, name)


def stepped_layer(**changed):
    return [dataclasses.asdict(LAYERS[0]) | changed, *map(dataclasses.asdict, LAYERS[1:])]


N = "moments/conv/n"
CHECKPOINT = {name: {} for name in ("config", "network", "adaptation", "metrics", "provenance")}
CHECKPOINT |= {"format": 1, "kind": "checkpoint", "fingerprint": "ab" * 32, "iteration": 3}
ATTACKS = {
    "incomplete": (lambda p: attribute(p, "complete", None), "incomplete; its capture did not end"),
    "half complete": (lambda p: attribute(p, "complete", 0), "incomplete"),
    "complete is a list": (lambda p: attribute(p, "complete", [1, 1]), "'complete' is not one number or text"),
    "another HDF5 file": (lambda p: attribute(p, ROOT_KEY, None), "not an activation store of metaprobe"),
    "metadata is a number": (lambda p: attribute(p, ROOT_KEY, 3), "not an activation store of metaprobe"),
    "metadata is not JSON": (lambda p: attribute(p, ROOT_KEY, np.bytes_(b"{")), "the JSON is broken"),
    "metadata of another kind": (lambda p: claims(p, kind="checkpoint"), "not those of an activation store"),
    "newer format": (lambda p: claims(p, format=9), "store format 9, newer than 2; update metaprobe"),
    "unknown key": (lambda p: claims(p, more=1), "unknown key 'more'"),
    "steps descend": (lambda p: claims(p, steps=[3, 2, 1]), "steps must ascend"),
    "tasks is text": (lambda p: claims(p, n_tasks="5"), "n_tasks must be a whole number from 1 to"),
    "absurdly many tasks": (lambda p: claims(p, n_tasks=10**6), "claims [0-9]+ bytes of arrays; the file has"),
    "more tasks than any": (lambda p: claims(p, n_tasks=10**15), "n_tasks must be a whole number from 1 to"),
    "absurd layer": (lambda p: claims(p, layers=stepped_layer(shape=[10**8, 1, 1])), "claims [0-9]+ bytes"),
    "impossible layer": (lambda p: claims(p, layers=stepped_layer(shape=[10**9] * 9)), "impossible shape"),
    "layer without axis": (lambda p: claims(p, layers=stepped_layer(channel_axis=3)), "has no axis 3"),
    "layer of another dtype": (lambda p: claims(p, layers=stepped_layer(dtype="int8")), "unknown dtype 'int8'"),
    "layers is text": (lambda p: claims(p, layers="conv"), "metadata is damaged"),
    "raw is a list": (lambda p: claims(p, raw=[1]), "raw: unknown RawOptions field"),
    "adaptation is wrong": (lambda p: claims(p, adaptation={"layers": 3}), "adaptation"),
    "another layer": (lambda p: claims(p, layers=stepped_layer(name="fern")), "'conv' in moments does not belong"),
    "external link": (lambda p: linked(p, N, h5py.ExternalLink("/etc/passwd", "x")), "'n' in moments/conv is a link"),
    "soft link": (lambda p: linked(p, N, h5py.SoftLink("/moments/tokens/n")), "'n' in moments/conv is a link"),
    "link beside": (lambda p: linked(p, "out", h5py.ExternalLink("/etc/passwd", "x")), "'out' is a link that leads"),
    "linked group": (lambda p: linked(p, "sketch", h5py.ExternalLink("/tmp/x.h5", "x")), "'sketch' is a link"),
    "virtual dataset": (virtual, "is virtual, or its values lie in another file; refused"),
    "external storage": (
        lambda p: replaced(p, N, shape=(5, 3), dtype="<i8", external=[("/etc/hostname", 0, 120)]),
        "is virtual, or its values lie in another file; refused",
    ),
    "dataset missing": (lambda p: replaced(p, N), "'n' in moments/conv is missing"),
    "dataset too many": (
        lambda p: linked(p, "moments/conv/m", np.arange(3)),
        "'m' in moments/conv does not belong in a store",
    ),
    "group for a dataset": (group_instead, "is not a dataset"),
    "other shape": (
        lambda p: replaced(p, N, shape=(5, 4), dtype="<i8", chunks=(5, 4)),
        "expected <i8",
    ),
    "other dtype": (lambda p: replaced(p, N, shape=(5, 3), dtype="<f8", chunks=(5, 3)), "is float64"),
    "another filter": (
        lambda p: replaced(p, N, data=np.ones((5, 3), "<i8"), chunks=(5, 3), fletcher32=True),
        r"is stored with the filters \[3\]",
    ),
    "compressed unasked": (
        lambda p: replaced(p, N, data=np.ones((5, 3), "<i8"), chunks=(5, 3), compression="gzip"),
        "is stored with the filters",
    ),
    "never written": (
        lambda p: replaced(p, N, shape=(5, 3), dtype="<i8", chunks=(5, 3)),
        "stores 0 bytes, expected 120",
    ),
    "a time": (timed, "damaged: "),
    "a name that is no text": (lambda p: named(p, b"moments/conv/\xff\xfe"), "damaged|does not belong"),
    "a checkpoint that lacks a field": (
        lambda p: claims(p, checkpoint=CHECKPOINT),
        r"checkpoint: not a TrainConfig: .*missing.*'algorithm'",
    ),
    "another data set is told": (lambda p: claims(p, data="tay"), "what it says, or its checksums, were changed"),
    "another checksum": (lambda p: attribute(p, "checksum", np.bytes_(b"ab" * 32)), "or its checksums, were changed"),
    "checksums of others": (lambda p: overwritten(p, "checks/crc32", 0), "or its checksums, were changed"),
    "empty": (lambda p: os.truncate(p, 0), "an empty file"),
    "cut short": (lambda p: os.truncate(p, os.path.getsize(p) - 100), "damaged or cut short"),
    "cut to the first block": (lambda p: os.truncate(p, 48), "damaged or cut short"),
    "longer than it says": (lambda p: os.truncate(p, 5 * 2**30), "damaged or cut short: it says that it ends at byte"),
    "text": (lambda p: p.write_text("hello"), "not an activation store"),
    "PNG": (lambda p: p.write_bytes(b"\x89PNG\r\n"), "not an activation store .HDF5. but a PNG image"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_store_that_was_tampered_with_is_refused_in_one_line(store, attack):
    change, match = ATTACKS[attack]
    change(store)
    with pytest.raises(UnreadableInput, match=match) as caught:
        open_store(store)
    assert "\n" not in str(caught.value)
    assert str(store) in str(caught.value)
    assert caught.value.exit_code == 3


def test_no_file_and_no_regular_file(tmp_path):
    for path, match in ((tmp_path / "none.h5", "No such file"), (tmp_path, "expected a file, got a folder")):
        with pytest.raises(UnreadableInput, match=match):
            open_store(path)


def test_metadata_round_trip_and_expected_size(whole):
    for raw in (None, RawOptions(), RawOptions("float16", zstd=True)):
        metadata = dataclasses.replace(METADATA, raw=raw, task_seed=None)
        assert metadata_from_json(metadata_to_json(metadata), "here") == metadata
    assert 0.2 < expected_bytes(METADATA) / whole.stat().st_size < 1
    with pytest.raises(MetaprobeError, match="'as computed' or as 'float16'; got 'int8'"):
        RawOptions("int8")  # pyright: ignore[reportArgumentType]
