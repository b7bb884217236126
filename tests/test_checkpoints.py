"""Checkpoints: what is written comes back, byte for byte, and what does not belong is refused in one line."""

import dataclasses
import hashlib
import json
import os

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

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
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset
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


def test_any_changed_weight_is_noticed(path):
    save_checkpoint(path, checkpoint())
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in (start, (start + len(content)) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(
            UnreadableInput,
            match=r"the tensors were changed after the file was written: fingerprint \w{12}, expected",
        ):
            load_checkpoint(path)
    path.write_bytes(content)
    assert load_checkpoint(path).iteration == 17


def test_weights_that_do_not_fit_the_network_are_named(path):
    params = dict(checkpoint().params)
    cases = {
        r"head.weight is F32 \(5, 4\), expected F32 \(3, 4\)": params | {"head.weight": torch.zeros(5, 4)},
        r"conv5.conv.weight is F32 \(1,\), expected not there": params | {"conv5.conv.weight": torch.zeros(1)},
        r"head.bias is not there, expected F32 \(3,\)": {k: v for k, v in params.items() if k != "head.bias"},
    }
    for told, weights in cases.items():
        save_checkpoint(path, checkpoint(params=weights))
        with pytest.raises(UnreadableInput, match=rf"the weights do not fit network 'conv4': {told}$") as error:
            load_checkpoint(path)
        assert one_line(error)


def test_a_resume_state_is_no_checkpoint(tmp_path):
    imageset = make_imageset(9, 18, 8)
    train(tiny(iterations=1, val_tasks=2), imageset, tmp_path / "run")
    with pytest.raises(UnreadableInput, match=r"last.resume.safetensors: expected a checkpoint, got a resume state"):
        load_checkpoint(RunFolder(tmp_path / "run").resume_file)


def test_files_that_are_no_checkpoints(path, tmp_path):
    save_file({"head.weight": torch.zeros(3)}, path, {"format": "pt"})
    with pytest.raises(UnreadableInput, match=r"a safetensors file without 'metaprobe' metadata.*metaprobe inspect"):
        load_checkpoint(path)
    with pytest.raises(UnreadableInput, match=r"none.safetensors: cannot be opened: No such file or directory"):
        load_checkpoint(tmp_path / "none.safetensors")
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(UnreadableInput, match=r"looks like a zip archive, as torch.save writes it"):
        load_checkpoint(path)
    path.write_bytes(save({"a": torch.zeros(3)}, {METADATA_KEY: "{"}))
    with pytest.raises(UnreadableInput, match=r"its 'metaprobe' metadata is damaged: the JSON is broken"):
        load_checkpoint(path)


def put(part, name, value):
    return lambda content: content[part].__setitem__(name, value)


METADATA = {
    "unknown field": (
        put("config", "inner_lrr", 1),
        r"config: unknown option 'inner_lrr'. Did you mean inner_lr or .*Known: algorithm",
    ),
    "unknown in network": (
        put("network", "depth", 4),
        r"network: unknown option 'depth'.* Known: name",
    ),
    "missing": (lambda c: c["config"].pop("algorithm"), r"config: not a TrainConfig: .*missing.*'algorithm'"),
    "missing in network": (lambda c: c["network"].pop("filters"), r"network: not a NetworkConfig: .*'filters'"),
    "missing in adaptation": (lambda c: c["adaptation"].pop("steps"), r"adaptation: not a Adaptation: .*'steps'"),
    "text for a number": (put("config", "n_way", "5"), r"config: option n_way is '5', expected int"),
    "true for a number": (put("config", "seed", True), r"seed is True, expected int"),
    "a fraction for a whole": (put("adaptation", "steps", 2.5), r"steps is 2.5, expected int"),
    "a number for a choice": (put("config", "norm", 3), r"norm is 3, expected .*transductive"),
    "an unknown choice": (put("network", "norm", "layer"), r"network: option norm is 'layer', expected"),
    "text for a list": (put("adaptation", "layers", "conv1"), r"layers is 'conv1', expected tuple"),
    "numbers in a list": (put("adaptation", "layers", [1]), r"layers\[0\] is 1, expected str"),
    "a number for a flag": (put("adaptation", "first_order", 1), r"first_order is 1, expected bool"),
    "text for an option": (put("config", "clip", "none"), r"clip is 'none', expected float"),
    "out of range": (put("config", "n_shot", 0), r"config: not a TrainConfig: --n-shot must be at least 1 .*; got 0"),
    "no rate": (put("adaptation", "inner_lr", 0), r"needs steps >= 0 and inner_lr > 0; got steps=3, inner_lr=0"),
    "no object": (lambda c: c.update(config=[]), r"'config' must be an object, got \[\]"),
    "no part": (lambda c: c.pop("adaptation"), r"missing key 'adaptation'"),
    "another part": (lambda c: c.update(extra={}), r"unknown key 'extra'"),
    "a later version": (lambda c: c.update(format=3), r"checkpoint format 3, newer than 2; update metaprobe"),
    "a negative iteration": (lambda c: c.update(iteration=-1), r"'iteration' must be a whole number from 0, got -1"),
    "a word for a metric": (put("metrics", "val_loss", "low"), r"metric 'val_loss' must be a number, got \"low\""),
    "no fingerprint": (lambda c: c.update(fingerprint="abc"), r"'fingerprint' must be 64 hexadecimal digits"),
}


@pytest.mark.parametrize("case", METADATA)
def test_metadata_that_say_something_else_are_refused_in_one_line(path, case):
    change, told = METADATA[case]
    write(path, checkpoint(), change)
    with pytest.raises(UnreadableInput, match=rf"a.safetensors: .*{told}") as error:
        load_checkpoint(path)
    assert one_line(error)


def test_the_file_that_the_cases_above_change_is_a_good_one(path):
    assert load_checkpoint(write(path, checkpoint())).config == CONFIG


WRONG_NETWORKS = {
    "an unknown network": put("network", "name", "resnet"),
    "a negative size": put("network", "n_way", -3),
    "no filters": put("network", "filters", 0),
    "images too small": put("network", "downsample", "max-pool"),
    "a network larger than memory": put("network", "filters", 10**12),
}


@pytest.mark.parametrize("case", WRONG_NETWORKS)
def test_a_network_that_cannot_be_built_is_an_unreadable_input(path, case):
    write(path, checkpoint(), WRONG_NETWORKS[case])
    with pytest.raises(UnreadableInput, match=r"a.safetensors") as error:
        load_checkpoint(path)
    assert one_line(error)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.bfloat16])
def test_weights_of_another_type_are_refused(path, dtype):
    made = checkpoint()
    params = dict(made.params) | {"head.bias": made.params["head.bias"].detach().to(dtype)}
    write(path, made, params=params, change=lambda content: None)
    with pytest.raises(UnreadableInput, match=r"a.safetensors.*head.bias"):
        load_checkpoint(path)


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
