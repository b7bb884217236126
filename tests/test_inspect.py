"""What `inspect` says of a file is true, quick, complete, and safe to print."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file as save_torch_file

from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.numbers import Statistics
from metaprobe.probe.inspection.tree import tree_lines
from metaprobe.probe.inspection.views import inspection_grids, show_inspection
from metaprobe.probe.show import Grid, as_json, show, write_line
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.checkpoint_format import (
    CheckpointMetadata,
    metadata_json,
    read_metadata,
)
from metaprobe.trainers.formats.text import visible
from tests.tensor_files import entry, write_checkpoint, write_raw

TENSORS = {
    "conv1.conv.weight": np.arange(-4, 14, dtype="f4").reshape(2, 1, 3, 3),
    "conv1.norm.weight": np.ones(2, "f4"),
    "conv2.conv.weight": np.full((2, 2), np.nan, "f4"),
    "head.bias": np.zeros(5, "f4"),
    "head.weight": np.array([[np.inf, 3.0, -4.0]], "f4"),
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "a.safetensors", TENSORS)


def test_the_header_alone_gives_everything_but_values(checkpoint: Path) -> None:
    found = inspect_file(checkpoint)
    assert [report.info.name for report in found.tensors] == sorted(TENSORS)
    assert found.kind == "metaprobe checkpoint"
    assert found.file_size == checkpoint.stat().st_size
    assert [(layer.name, layer.tensors, layer.parameters, layer.nbytes) for layer in found.layers] == [
        ("conv1", 2, 20, 80),
        ("conv2", 1, 4, 16),
        ("head", 2, 8, 32),
    ]
    assert found.fingerprint is None
    assert found.fingerprint_matches is None
    assert all(report.statistics is None for report in found.tensors)
    assert found.layers[0].norm is None
    assert found.checkpoint is not None
    assert found.checkpoint.provenance == {"version": "0.1", "seed": 3}


def test_statistics_are_those_of_numpy_and_flag_what_is_odd(checkpoint: Path) -> None:
    found = {report.info.name: report.statistics for report in inspect_file(checkpoint, stats=True).tensors}
    values = TENSORS["conv1.conv.weight"].astype("f8")
    first = found["conv1.conv.weight"]
    assert first is not None
    assert first.norm == pytest.approx(np.linalg.norm(values), rel=1e-14)
    assert (first.minimum, first.maximum, first.mean) == (-4.0, 13.0, values.mean())
    assert found["conv2.conv.weight"] == Statistics(None, None, None, None, 4, 0, False)
    assert found["head.bias"] == Statistics(0.0, 0.0, 0.0, 0.0, 0, 0, True)
    assert found["head.weight"] == Statistics(5.0, -4.0, 3.0, -0.5, 0, 1, False)


def test_layer_norms_join_the_tensors(checkpoint: Path) -> None:
    layers = {layer.name: layer for layer in inspect_file(checkpoint, stats=True).layers}
    both = np.concatenate([TENSORS["conv1.conv.weight"].ravel(), TENSORS["conv1.norm.weight"]])
    assert layers["conv1"].norm == pytest.approx(np.linalg.norm(both.astype("f8")), rel=1e-14)
    assert (layers["conv2"].nan, layers["head"].inf, layers["head"].all_zero) == (1, 1, 1)


def test_norms_of_layers_are_of_their_parameters_without_counters_of_batches(tmp_path: Path) -> None:
    tensors = {"norm.weight": np.array([3.0, -4.0], "f4"), "norm.running_var": np.full(2, 50.0, "f4")}
    tensors |= {"norm.num_batches_tracked": np.array(30_000), "counts.num_batches_tracked": np.array(7)}
    found = inspect_file(write_checkpoint(tmp_path / "b.safetensors", tensors), stats=True)
    assert {layer.name: layer.norm for layer in found.layers} == {"counts": None, "norm": 5.0}


def test_the_fingerprint_is_recomputed_over_all_tensors_and_a_mismatch_is_said(checkpoint: Path) -> None:
    assert inspect_file(checkpoint, glob="head", stats=True).fingerprint_matches is True
    content = bytearray(checkpoint.read_bytes())
    content[-1] ^= 1
    checkpoint.write_bytes(content)
    found = inspect_file(checkpoint, glob="conv1", stats=True)
    assert found.fingerprint_matches is False
    assert ("fingerprint check", "MISMATCH: these are not the tensors that were saved") in inspection_grids(found)[
        0
    ].rows


@pytest.mark.parametrize(
    ("glob", "count"), [("conv*", 3), ("conv1", 2), ("conv1.conv", 1), ("*.weight", 4), ("head.bias", 1)]
)
def test_a_pattern_chooses_names_modules_and_layers(checkpoint: Path, glob: str, count: int) -> None:
    found = inspect_file(checkpoint, glob=glob)
    assert (len(found.tensors), found.total) == (count, 5)


def test_a_pattern_that_matches_nothing_names_the_layers(checkpoint: Path) -> None:
    with pytest.raises(MetaprobeError, match=r"matches 'convX'. Its layers: conv1, conv2, head") as caught:
        inspect_file(checkpoint, glob="convX")
    assert caught.value.exit_code == 2


def test_the_tree_folds_below_its_depth(checkpoint: Path) -> None:
    assert [line.split("  (")[0] for line in tree_lines(inspect_file(checkpoint), depth=1)] == [
        str(checkpoint),
        "├── conv1",
        "├── conv2",
        "└── head",
    ]
    lines = tree_lines(inspect_file(checkpoint, glob="conv1"))
    assert lines[2:] == [
        "    ├── conv  (1 tensor, 18 parameters, 72 B)",
        "    │   └── weight  F32 [2, 1, 3, 3]  18",
        "    └── norm  (1 tensor, 2 parameters, 8 B)",
        "        └── weight  F32 [2]  2",
    ]


def test_a_name_of_a_million_dots_makes_a_bounded_tree(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.safetensors", {"a" + "." * 1_000_000: entry(), "": entry(start=4, end=8)}, bytes(8))
    assert len(tree_lines(inspect_file(path))) == 34


def test_metadata_round_trips_with_sorted_keys_and_refuses_what_is_not_json(checkpoint: Path) -> None:
    metadata = read_metadata(checkpoint)
    assert metadata.checkpoint_id == metadata.fingerprint[:12]
    text = metadata_json(metadata)
    assert list(json.loads(text)) == sorted(json.loads(text))
    for wrong in ({"loss": float("nan")}, {"loss": "low"}):
        broken = CheckpointMetadata("checkpoint", "0" * 64, 1, {}, {}, {}, wrong, {})  # type: ignore[arg-type]
        with pytest.raises(MetaprobeError, match="cannot be written into a checkpoint"):
            metadata_json(broken)


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_are_found_inside_what_people_save(tmp_path: Path, legacy: bool) -> None:
    weights = {"conv1.weight": torch.arange(6.0).reshape(2, 3).t(), "conv1.bias": torch.zeros(2, dtype=torch.bfloat16)}
    moments = {"state": {0: {"exp_avg": torch.ones(3)}}, "lr": 0.1}
    for content, prefix in (
        (weights, ""),
        ({"state_dict": weights, "epoch": 7, "losses": [0.5] * 300_000}, "state_dict"),
        ({"model": weights, "optimizer": moments, "epoch": 7}, "model"),
    ):
        path = tmp_path / "a.pt"
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
        found = inspect_file(path, stats=True)
        assert [report.info.name for report in found.tensors] == ["conv1.bias", "conv1.weight"]
        assert [report.info.dtype for report in found.tensors] == ["BF16", "F32"]
        assert found.tensors[1].statistics is not None
        assert found.tensors[1].statistics.norm == pytest.approx(55**0.5)
        assert dict(found.metadata).get("tensors under", "") == prefix
        assert dict(found.metadata).get("epoch") == ("7" if prefix else None)
    assert dict(found.metadata)["optimizer.state.0.exp_avg"] == "tensor float32 [3]"


def test_a_state_dict_and_a_safetensors_file_of_the_same_tensors_have_one_fingerprint(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 4), "b": torch.randn(5).to(torch.bfloat16), "c": torch.tensor(3), "d": torch.ones(0)}
    torch.save(tensors, tmp_path / "a.pt")
    save_torch_file(tensors, tmp_path / "a.safetensors")
    (tmp_path / "really.pth").write_bytes((tmp_path / "a.safetensors").read_bytes())
    prints = [inspect_file(tmp_path / name, stats=True).fingerprint for name in ("a.pt", "a.safetensors", "really.pth")]
    assert len(set(prints)) == 1


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts there what a process reads")
def test_of_200_megabytes_the_header_alone_is_read_without_torch(tmp_path: Path) -> None:
    tensors = {f"layer{i}.weight": np.zeros((500, 1000), "f4") for i in range(100)}
    path = write_checkpoint(tmp_path / "big.safetensors", tensors)
    assert path.stat().st_size > 200_000_000
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from metaprobe.probe.inspection import inspect_file\n"
        "from metaprobe.probe.inspection.views import show_inspection\n"
        "read = lambda: int(Path('/proc/self/io').read_text().split()[1])\n"
        "before = read()\nfound = inspect_file(sys.argv[1])\nassert read() - before < 1_000_000\n"
        "show_inspection(found)\nassert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert "layer99.weight\tlayer99\tF32\t[500, 1000]\t500000\t2000000\n" in done.stdout


def test_statistics_differences_and_refusals_do_not_import_torch(checkpoint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.bin"
    bad.write_bytes(b"\x80\x02}.")
    evil = tmp_path / "evil.pt"
    evil.write_bytes(b"\x80\x02cos\nsystem\n.")
    program = (
        "import sys\nfrom metaprobe.probe.inspection.inspect import inspect_file\n"
        "from metaprobe.probe.inspection.diff import diff_files\n"
        "from metaprobe.trainers.errors import UnreadableInput\n"
        "inspect_file(sys.argv[1], stats=True)\nassert diff_files(sys.argv[1], sys.argv[1]).same\n"
        "for path in sys.argv[2:]:\n    try:\n        inspect_file(path)\n        raise SystemExit(1)\n"
        "    except UnreadableInput:\n        pass\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(checkpoint), str(bad), str(evil)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


NASTY = "a\tb\nc\x1b[31m[bold]red[/bold]\u202e\\:smile:\x9b"


@pytest.mark.parametrize("stats", [False, True])
def test_nothing_in_a_file_reaches_the_terminal_as_a_command(tmp_path: Path, stats: bool) -> None:
    header = {"__metadata__": {NASTY: NASTY}, NASTY: entry()}
    found = inspect_file(write_raw(tmp_path / "a.safetensors", header, bytes(4)), stats=stats)
    for stream in (_Terminal(), io.StringIO()):
        show_inspection(found, stream=stream)
        text = stream.getvalue()
        assert r"a\tb\nc\x1b[31m[bold]red[/bold]\u202e\\:smile:\x9b" in text
        assert not {"\x1b[31m", "\u202e", "\x9b"} & {text[i : i + n] for n in (1, 5) for i in range(len(text))}
    stream = io.StringIO()
    show_inspection(found, stream=stream)
    tensors = stream.getvalue().split("# tensors\n")[1].split("\n\n")[0].splitlines()
    assert [line.count("\t") for line in tensors] == [13 if stats else 5] * 2
    stream = io.StringIO()
    show_inspection(found, json_wanted=True, stream=stream)
    assert json.loads(stream.getvalue())["tensors"][0]["name"] == NASTY
    assert stream.getvalue().isascii()


def test_a_terminal_gets_the_tree_and_tables(checkpoint: Path) -> None:
    stream = _Terminal()
    show_inspection(inspect_file(checkpoint, stats=True), depth=1, stream=stream)
    assert "├── conv1  (2 tensors, 20 parameters, 80 B)" in stream.getvalue()
    assert "matches" in stream.getvalue()


def test_json_stays_valid_whatever_the_numbers() -> None:
    text = as_json(
        {
            "a": float("nan"),
            "b": [float("inf"), -float("inf"), 1.5],
            "c": Statistics(None, None, None, None, 0, 0, True),
        }
    )
    assert json.loads(text)["b"] == ["Infinity", "-Infinity", 1.5]
    assert json.loads(text)["a"] == "NaN"
    with pytest.raises(TypeError, match="set has no JSON form"):
        as_json({1, 2})


def test_one_table_in_a_pipe_is_plain_tsv() -> None:
    stream = io.StringIO()
    show([Grid("t", ("a", "b"), ((1e-17, True), (None, "x" * 500)))], stream)
    assert stream.getvalue() == "a\tb\n1e-17\t1\n\t" + "x" * 500 + "\n"


def test_a_stream_that_cannot_write_a_character_gets_an_escape() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_line("├ é", stream)
    stream.seek(0)
    assert stream.read() == "\\u251c \\xe9\n"


def test_visible_text_is_printable_unambiguous_and_short() -> None:
    assert visible("plain é") == "plain é"
    assert visible("\\n") != visible("\n")
    assert visible("\ud800\x00") == r"\ud800\x00"
    assert visible("x" * 99, 10) == "x" * 9 + "…"
    assert len(visible("\x1b" * 99, 10)) == 10
