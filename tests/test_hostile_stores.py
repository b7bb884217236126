"""Stores that were tampered with are refused in one line."""

import dataclasses
import json
import os
import shutil

import h5py
import numpy as np
import pytest

from metaprobe.probe.store import open_store
from metaprobe.probe.store.metadata import ROOT_KEY, metadata_to_json
from metaprobe.trainers.errors import UnreadableInput
from tests.written_stores import LAYERS, METADATA, overwritten, write


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("store") / "whole.h5")


@pytest.fixture
def store(whole, tmp_path):
    return shutil.copy(whole, tmp_path / "store.h5")


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
    "raw is a list": (lambda p: claims(p, raw=[1]), "raw: expected options by name, got a list"),
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
