"""Checkpoints that are changed, damaged, or of something else are refused in one line."""

import pytest
import torch
from safetensors.torch import save, save_file

from metaprobe.trainers.checkpoint import (
    load_checkpoint,
    save_checkpoint,
)
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset
from tests.test_checkpoints import CONFIG, checkpoint, one_line, write
from tests.test_training import tiny


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


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
