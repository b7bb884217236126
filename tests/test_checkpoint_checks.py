"""Checkpoints that were changed, contradict themselves or claim what no machine has; and those of the old format."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.torch import save_file

from metaprobe.trainers.checkpoint import load_checkpoint, metadata_for, save_checkpoint
from metaprobe.trainers.config import Adaptation, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY, metadata_json, read_metadata
from tests.test_checkpoints import CONFIG, LAYERS, NETWORK, checkpoint, fingerprint, sha256, write
from tests.test_refused_checkpoints import put


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def test_any_flipped_bit_of_the_header_is_noticed_or_changes_nothing(path):
    save_checkpoint(path, checkpoint())
    content, expected = path.read_bytes(), load_checkpoint(path)
    end = 8 + int.from_bytes(content[:8], "little")
    refused, generator = 0, np.random.default_rng(0)
    for place, bit in zip(generator.integers(0, end, 400), generator.integers(0, 8, 400), strict=True):
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
        try:
            found = load_checkpoint(path)
        except UnreadableInput as error:
            refused += "\n" not in str(error)
        else:  # as where the e of 1e-05 becomes an E
            assert found.fingerprint == expected.fingerprint
            assert (found.metrics, found.provenance) == (expected.metrics, expected.provenance)
            refused += 1
    assert refused == 400


@pytest.mark.parametrize(
    ("old", "new"), [("conv1.conv.weight", "conv1.conv.wEight"), ("[4,1,3,3]", "[1,4,3,3]"), ('"F32"', '"I32"')]
)
def test_what_the_header_alone_says_of_tensors_is_checked_without_them(path, old, new):
    save_checkpoint(path, checkpoint())
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    values = path.read_bytes()[8 + size :]
    mine = header.pop("__metadata__")
    tensors = json.dumps(header, separators=(",", ":"))
    assert old in tensors
    encoded = (json.dumps({"__metadata__": mine})[:-1] + "," + tensors.replace(old, new)[1:]).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + values)
    with pytest.raises(UnreadableInput, match="names, types or shapes of its tensors were changed"):
        read_metadata(path)


def test_our_metadata_under_another_key_are_no_foreign_file(path):
    save_checkpoint(path, checkpoint())
    path.write_bytes(path.read_bytes().replace(b'"metaprobe":', b'"metaproce":', 1))
    with pytest.raises(UnreadableInput, match="its 'metaprobe' metadata lie under 'metaproce'; it was changed"):
        read_metadata(path)


def test_our_metadata_twice_are_refused(path):
    save_checkpoint(path, checkpoint())
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    header["__metadata__"]["copy"] = header["__metadata__"]["metaprobe"]
    encoded = json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + path.read_bytes()[8 + size :])
    with pytest.raises(UnreadableInput, match="its 'metaprobe' metadata lie also under 'copy'; it was changed"):
        read_metadata(path)


def test_what_decides_a_number_is_in_the_digest_and_all_that_is_told_in_the_checksum(path):
    one = checkpoint()
    rate = dataclasses.replace(one.adaptation, inner_lr=0.5)
    others = [
        checkpoint(config=dataclasses.replace(CONFIG, inner_lr=0.5), adaptation=rate), checkpoint(iteration=16),
        checkpoint(config=dataclasses.replace(CONFIG, seed=7)), checkpoint(seed=2),
    ]  # fmt: skip
    assert len({each.digest for each in (one, *others)}) == 5
    assert len({each.fingerprint for each in (one, *others)}) == 2  # of the tensors alone
    assert checkpoint(metrics={}, provenance={}).digest == one.digest
    assert one.digest == sha256({
        "fingerprint": fingerprint(one.params), "kind": "checkpoint", "iteration": 17, "config": to_mapping(CONFIG),
        "network": to_mapping(NETWORK), "adaptation": to_mapping(one.adaptation),
    })  # fmt: skip
    for part, name, value in (("metrics", "val_accuracy", 71.25), ("adaptation", "steps", 2)):
        content = json.loads(metadata_json(metadata_for(one)))
        content[part][name] = value
        save_file({k: v.detach() for k, v in one.params.items()}, path, {METADATA_KEY: json.dumps(content)})
        with pytest.raises(UnreadableInput, match=r"it was changed after it was written: its checksum is now \w{12}"):
            load_checkpoint(path)


CONTRADICTIONS = {
    r"adaptation inner_lr is 0.5, by its config 0.25": put("adaptation", "inner_lr", 0.5),
    r"adaptation layers is \['head'\], by its config \['conv1'": put("adaptation", "layers", ["head"]),
    r"network norm is transductive, by its config non-transductive": put("network", "norm", "transductive"),
    r"network image_size is 9, by its config 8": put("network", "image_size", 9),
    r"it is of iteration 19 of 18": lambda content: content.update(iteration=19),
}


@pytest.mark.parametrize("told", CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_neither_read_nor_written(path, told):
    write(path, checkpoint(), CONTRADICTIONS[told])
    with pytest.raises(UnreadableInput, match=rf"a.safetensors: it contradicts itself: {told}"):
        load_checkpoint(path)
    wrong = checkpoint(adaptation=Adaptation(LAYERS, 0.5, 3, first_order=True, adapt_norm=False))
    with pytest.raises(MetaprobeError, match=r"contradicts itself: adaptation inner_lr is 0.5"):
        save_checkpoint(path.with_name("b.safetensors"), wrong)


@pytest.mark.parametrize("network", [{"filters": 4096, "blocks": 64}, {"image_size": 4096, "n_way": 65536}])
def test_claimed_sizes_are_compared_with_the_header_before_anything_is_made(path, network):
    asked = {name: value for name, value in network.items() if name != "n_way"}
    write(path, checkpoint(), lambda content: (content["network"].update(network), content["config"].update(asked)))
    with pytest.raises(UnreadableInput, match=r"do not fit network 'conv4': .* is F32 .*, expected F32"):
        load_checkpoint(path)  # which would take 38 GB if it were built


def test_a_file_larger_than_memory_is_refused_by_its_header(path, monkeypatch):
    save_checkpoint(path, checkpoint())
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1000))
    with pytest.raises(UnreadableInput, match=r"a.safetensors: 0.0 GB are too much for this machine's memory"):
        load_checkpoint(path)


def test_the_first_format_is_read_with_a_warning_and_keeps_its_id(path):
    def first(content):
        content["format"] = 1
        del content["checksum"]

    made = checkpoint()
    content = json.loads(metadata_json(metadata_for(made)))
    first(content)
    save_file({k: v.detach() for k, v in made.params.items()}, path, {METADATA_KEY: json.dumps(content)})
    with pytest.warns(UserWarning, match=r"a.safetensors: written in format 1, in which a checksum covers the weights"):
        found = load_checkpoint(path)
    assert found.fingerprint == fingerprint(made.params)
    save_checkpoint(path, found)
    assert load_checkpoint(path).fingerprint == made.fingerprint
