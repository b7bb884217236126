"""What a store holds is covered: no changed value is read without an error; stores of the first format are told."""

import dataclasses
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from metaprobe.probe.store import RawOptions, open_store
from metaprobe.probe.store.metadata import ROOT_KEY
from metaprobe.probe.store.schema import schema
from metaprobe.trainers.errors import UnreadableInput
from tests.written_stores import METADATA, overwritten, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("store") / "whole.h5")


FLIPS = """
import sys, numpy as np
from metaprobe.probe.store import open_store
from metaprobe.trainers.errors import UnreadableInput

whole, path = open(sys.argv[1], 'rb').read(), sys.argv[2]

def content(where):
    with open_store(where) as store:
        for layer in store.layers:
            for step in store.steps:
                for task in range(store.tasks):
                    m = store.moments(layer, step, task)
                    yield from (np.array(m.n), m.mean, m.scatter, m.cubic, m.quartic, m.largest)
                s = store.sketch(layer, step)
                yield from (s.rows, s.tasks, s.samples, s.positions, s.ids, s.labels)

expected = [a.tobytes() for a in content(sys.argv[1])]
generator, refused, unseen = np.random.default_rng(0), 0, 0
for place in sorted(generator.choice(len(whole), 150, replace=False)):
    damaged = bytearray(whole)
    damaged[place] ^= 1 << generator.integers(8)
    with open(path, 'wb') as file:
        file.write(damaged)
    try:
        assert [a.tobytes() for a in content(path)] == expected, f'another number was read after a flip at {place}'
        unseen += 1
    except UnreadableInput as error:
        assert '\\n' not in str(error)
        refused += 1
print(refused, unseen)
"""


def test_flipped_bits_are_noticed_or_change_nothing(whole, tmp_path):
    """In another process: what a C library makes of a damaged file must not take the tests with it."""
    command = [sys.executable, "-c", FLIPS, str(whole), str(tmp_path / "flipped.h5")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    refused, unseen = map(int, ended.stdout.split())
    assert refused > 0
    assert refused + unseen == 150


def everything(store):
    """Read all that a store gives."""
    assert len(store.task_indices) == store.tasks
    for layer in store.layers:
        for step in (0, *store.steps):
            store.sketch(layer, step)
            for task in range(store.tasks):
                if step:
                    store.moments(layer, step, task)
                store.activations(layer, step, task)


def told_of(path):
    """Read a store; return the error, if there is one."""
    try:
        with open_store(path) as store:
            everything(store)
    except UnreadableInput as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("byte", "zstd"), [(0, False), (255, True)])
def test_a_dataset_that_lost_its_values_is_noticed(tmp_path, byte, zstd):
    metadata = dataclasses.replace(METADATA, layers=METADATA.layers[:1], steps=(3,), raw=RawOptions(zstd=zstd))
    path = write(tmp_path / "a.h5", metadata)
    whole = path.read_bytes()
    assert told_of(path) == ""
    for spec in schema(metadata):
        path.write_bytes(whole)
        overwritten(path, spec.path, byte)
        read = not spec.is_scale and not spec.path.startswith("tasks/") and not spec.path.endswith("/eps")
        told = told_of(path)
        assert ("not those that were written" in told or "its checksums" in told) == (read or spec.path == "tasks/task")


def as_first_format(path):
    """Turn a store into one of format 1: with fletcher32, without checksums of ours."""
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        content = json.loads(file.attrs[ROOT_KEY].decode()) | {"format": 1}
        file.attrs[ROOT_KEY] = np.bytes_(json.dumps(content).encode())
        file.attrs["format"] = 1
        del file.attrs["checksum"], file["checks"]
        names = []
        file.visititems(lambda name, found: names.append(name) if isinstance(found, h5py.Dataset) else None)
        for name in names:
            values, chunks = file[name][...], file[name].chunks
            del file[name]
            file.create_dataset(name, data=values, chunks=chunks, fletcher32=True)


def test_the_first_format_is_read_with_a_warning(tmp_path):
    path = write(tmp_path / "a.h5")
    with open_store(path) as store:
        expected = store.moments("conv", 2, 3)
    as_first_format(path)
    with pytest.warns(UserWarning, match=r"a.h5: written in format 1, which does not notice every damage"):
        store = open_store(path)
    with store:
        assert store.metadata.format == 1
        np.testing.assert_array_equal(store.moments("conv", 2, 3).scatter, expected.scatter)
