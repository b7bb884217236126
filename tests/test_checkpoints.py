"""Checkpoints: what is written comes back, byte for byte, and what does not belong is refused in one line."""

import dataclasses
import hashlib
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from metaprobe.trainers.checkpoint import (
    Checkpoint,
    fingerprint_of,
    load_checkpoint,
    metadata_for,
    save_checkpoint,
    write_tensors,
)
from metaprobe.trainers.config import Adaptation, NetworkConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY, metadata_json, tensor_fingerprint
from metaprobe.trainers.networks import build_network
from tests.test_training import tiny

NETWORK = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "non-transductive")
SETTINGS = {"norm": "non-transductive", "inner_lr": 0.25, "inner_steps": 3, "adapt_norm": False, "iterations": 18}
CONFIG = tiny("fomaml", clip=10.0, filters=None, image_size=8, schedule="cosine", **SETTINGS)
LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")


def checkpoint(seed=1, **changes):
    params = dict(build_network(NETWORK, seed).named_parameters())
    made = Checkpoint(
        params=params,
        config=CONFIG,
        network_config=NETWORK,
        adaptation=Adaptation(LAYERS, 0.25, 3, first_order=True, adapt_norm=False),
        iteration=17,
        metrics={"val_accuracy": 61.25, "val_loss": 0.1 + 0.2},
        provenance={"torch": "2.0", "threads": 2},
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def write(path, made, change=None, params=None):
    """Write a checkpoint by the safetensors library alone, its metadata changed as told, and sealed again."""
    content = json.loads(metadata_json(metadata_for(made)))
    tensors = {name: value.detach() for name, value in (params or made.params).items()}
    if change:
        change(content)
        seal(content, tensors)
    save_file(tensors, path, {METADATA_KEY: json.dumps(content)})
    return path


def sha256(content):
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content, tensors):
    """Give metadata the fingerprint and the checksum that they would have been written with."""
    if len(content["fingerprint"]) == 64:
        content["fingerprint"] = fingerprint(tensors)
    content["checksum"] = sha256({name: value for name, value in content.items() if name != "checksum"})


def one_line(error):
    return "\n" not in str(error.value) and type(error.value) is UnreadableInput


def test_what_is_written_comes_back(path):
    made = checkpoint()
    save_checkpoint(path, made)
    found = load_checkpoint(str(path))
    for field in dataclasses.fields(Checkpoint):
        if field.name != "params":
            assert getattr(found, field.name) == getattr(made, field.name), field.name
    assert set(found.params) == set(made.params)
    assert all(torch.equal(found.params[name], value) for name, value in made.params.items())
    assert found.fingerprint == made.fingerprint
    own = dict(found.network().named_parameters())
    assert all(torch.equal(own[name], value) for name, value in made.params.items())
    assert found.network().head.n_way == 3


def test_bare_checkpoints_and_none_come_back(path):
    bare = tiny(norm="non-transductive")
    adaptation = Adaptation(LAYERS, bare.inner_lr, bare.inner_steps)
    made = checkpoint(config=bare, adaptation=adaptation, metrics={}, provenance={}, iteration=0)
    save_checkpoint(path, made)
    found = load_checkpoint(path)
    assert found.config == bare
    assert found.config.clip is None
    assert (dict(found.metrics), dict(found.provenance), found.iteration) == ({}, {}, 0)


def test_equal_checkpoints_give_equal_bytes_and_others_do_not(tmp_path):
    def written(name, made):
        save_checkpoint(tmp_path / name, made)
        return (tmp_path / name).read_bytes()

    first = written("a", checkpoint())
    assert written("b", checkpoint()) == first
    backwards = dict(reversed(checkpoint().params.items()))
    assert written("c", checkpoint(params=backwards, metrics=dict(reversed(checkpoint().metrics.items())))) == first
    strided = {name: value.detach().repeat_interleave(2, dim=0)[::2] for name, value in checkpoint().params.items()}
    assert not all(value.is_contiguous() for value in strided.values())
    assert written("d", checkpoint(params=strided)) == first
    changed = {
        "seed": 2,
        "iteration": 18,
        "metrics": {},
        "provenance": {},
        "config": dataclasses.replace(CONFIG, seed=7),
    }
    assert all(written("e", checkpoint(**{name: value})) != first for name, value in changed.items())


def test_the_fingerprint_is_of_names_types_shapes_and_values():
    params = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(2)}
    others = [
        {"a": params["a"], "c": params["b"]},
        {"a": params["a"].view(3, 2), "b": params["b"]},
        {"a": params["a"].double(), "b": params["b"]},
        {"a": params["a"], "b": torch.zeros(3)},
        {"a": params["a"], "b": -params["b"]},  # −0.0 is another weight: 1/x tells them apart
        {"a": params["a"]},
    ]
    found = [fingerprint_of(each) for each in (params, *others)]
    assert len(set(found)) == len(found)
    assert fingerprint_of(dict(reversed(params.items()))) == found[0]


def test_a_file_is_ordinary_and_nothing_is_left_beside_it(path):
    umask = os.umask(0o027)
    try:
        save_checkpoint(path, checkpoint(seed=2))
        save_checkpoint(path, checkpoint())
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert load_checkpoint(path).fingerprint == checkpoint().fingerprint


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(path, monkeypatch):
    save_checkpoint(path, checkpoint())
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, checkpoint(seed=2))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_metadata_that_is_no_json_is_refused_and_the_old_file_stays(path):
    save_checkpoint(path, checkpoint())
    before = path.read_bytes()
    for bad in (float("nan"), float("inf"), True, "high"):
        with pytest.raises(MetaprobeError, match=r"this metadata cannot be written into a checkpoint: "):
            save_checkpoint(path, checkpoint(metrics={"val_loss": bad}))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_equal_checkpoints_have_equal_bytes_though_they_have_two_keys(path):
    found = set()
    for _ in range(30):
        save_checkpoint(path, checkpoint())
        found.add(path.read_bytes())
    assert len(found) == 1
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert start % 8 == 0
    path.write_bytes(path.read_bytes().replace(b'"format":"pt"', b'"format":"tf"', 1))
    with pytest.raises(UnreadableInput, match="its 'format' is not pt; it was changed after it was written"):
        load_checkpoint(path)


def test_a_file_without_format_as_older_ones_are_is_the_same_checkpoint(path):
    made = checkpoint()
    save_checkpoint(path, made)
    with safe_open(path, framework="pt") as file:
        text = file.metadata()[METADATA_KEY]
    older = path.with_name("older.safetensors")
    save_file({name: value.detach() for name, value in made.params.items()}, older, {METADATA_KEY: text})
    assert older.read_bytes() != path.read_bytes()
    assert load_checkpoint(older).digest == load_checkpoint(path).digest


def test_the_safetensors_library_opens_it_and_finds_our_key_and_the_format(path):
    made = checkpoint()
    save_checkpoint(path, made)
    with safe_open(path, framework="pt") as file:
        assert set(file.metadata()) == {"format", METADATA_KEY}
        assert file.metadata()["format"] == "pt"
        assert set(file.keys()) == set(made.params)
        assert all(torch.equal(file.get_tensor(name), value) for name, value in made.params.items())
        content = json.loads(file.metadata()[METADATA_KEY])
    assert content["config"] == to_mapping(CONFIG)
    assert content["fingerprint"] == made.fingerprint
    assert list(content) == sorted(content)


def fingerprint(params):
    """Of tensors of any type."""
    names = {torch.uint8: "U8", torch.float64: "F64", torch.bfloat16: "BF16", torch.float32: "F32"}
    return tensor_fingerprint(
        (name, names[value.dtype], tuple(value.shape), value.detach().contiguous().view(torch.uint8).numpy().tobytes())
        for name, value in params.items()
    )


def test_other_metadata_write_other_kinds_of_file(path):
    made = checkpoint()
    write_tensors(path, made.params, metadata_for(made, "notes"))
    with pytest.raises(UnreadableInput, match=r"expected a checkpoint, got a notes"):
        load_checkpoint(path)


def test_weights_come_back_in_the_order_of_the_network(tmp_path):
    """safetensors gives tensors in another order each time, and sums over them round with it."""
    path = write(tmp_path / "a.safetensors", checkpoint())
    names = [name for name, _ in load_checkpoint(path).network().named_parameters()]
    for _ in range(5):
        assert list(load_checkpoint(path).params) == names
