"""Files are what their content says, whatever they are called; a folder is the file that is meant."""

import json
import pathlib

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from metaprobe.probe.inspection.diff import diff_files
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.errors import UnreadableInput

NAMES = ("w.pt", "w.pth.tar", "w.ckpt", "w.bin", "w.safetensors", "w")


def weights():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("legacy", [False, True])
def test_torchs_files_are_read_under_any_name(name, legacy, tmp_path):
    torch.save(weights(), tmp_path / name, _use_new_zipfile_serialization=not legacy)
    found = inspect_file(tmp_path / name, stats=True)
    assert found.kind == "PyTorch state dict" and found.total == 7
    assert sum(layer.parameters for layer in found.layers) == 18 + 2 + 4  # buffers are none


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [640, 0x4B50, 0x0480, 1024])  # begin as "\x80\x02", "PK", "\x80\x04" do
def test_safetensors_are_read_under_any_name_with_headers_of_any_length(name, length, tmp_path):
    content = save({"a": torch.ones(3)})
    used = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + used].rstrip() + b" " * length
    header = header[:length] if len(header) > length else header
    path = tmp_path / name
    path.write_bytes(length.to_bytes(8, "little") + header + content[8 + used :])
    assert inspect_file(path).kind == "safetensors"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04]", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(9)])
def test_errors_do_not_contradict_the_name(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableInput) as caught:
        inspect_file(tmp_path / name)
    assert "ends in" not in str(caught.value) and str(caught.value).count("not a readable") == 1


def test_a_diff_sees_through_wrappers_and_tells(tmp_path):
    bare = weights()
    torch.save(bare, tmp_path / "a")
    save_file({f"_orig_mod.module.{name}": value for name, value in bare.items()}, tmp_path / "b")
    found = diff_files(tmp_path / "a", tmp_path / "b")
    assert found.same and len(found.tensors) == 7
    assert "_orig_mod.module. taken off all names of B" in found.note
    # a layer may be called as wrappers are
    torch.save(nn.ModuleDict({"model": nn.Linear(2, 2)}).state_dict(), tmp_path / "c")
    assert [report.info.name for report in inspect_file(tmp_path / "c").tensors] == ["model.bias", "model.weight"]


def test_weights_in_several_files_are_one(tmp_path):
    bare, names = weights(), list(weights())
    folder = tmp_path / "model"
    folder.mkdir()
    torch.save(bare, tmp_path / "a")
    save_file({name: bare[name] for name in names[:3]}, folder / "1.safetensors")
    torch.save({name: bare[name] for name in names[3:]}, folder / "2.bin")
    places = {name: "1.safetensors" if name in names[:3] else "2.bin" for name in names}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    for path in (folder, index):
        assert diff_files(tmp_path / "a", path).same
    for change, told in (
        ({names[0]: "../a"}, "is no file beside it"),
        ({names[0]: "3.bin"}, "3.bin: cannot be opened"),
        ({names[0]: "2.bin"}, "is not in 2.bin"),
    ):
        index.write_text(json.dumps({"weight_map": places | change}))
        with pytest.raises(UnreadableInput, match=told):
            inspect_file(folder)
    index.write_text("{}")
    with pytest.raises(UnreadableInput, match="it has no weight_map"):
        inspect_file(folder)


def test_an_optimiser_alone_is_shown_whole(tmp_path):
    network = nn.Linear(2, 2)
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    torch.save(optimiser.state_dict(), tmp_path / "o.pt")
    assert {report.info.name for report in inspect_file(tmp_path / "o.pt").tensors} > {"state.0.exp_avg"}


def test_objects_are_refused_where_a_namespace_is_not(tmp_path):

    torch.save({"net": weights(), "args": pathlib.PurePosixPath("a")}, tmp_path / "w")
    with pytest.raises(UnreadableInput, match="holds objects other than tensors and plain values"):
        inspect_file(tmp_path / "w")
