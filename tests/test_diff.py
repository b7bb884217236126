"""`diff` says what differs, exactly, and says "same" only of what is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file as save_torch_file

from metaprobe.probe.inspection.diff import Difference, diff_files
from metaprobe.probe.inspection.distance import DistanceSums
from metaprobe.probe.inspection.views import difference_grids, show_difference
from tests.tensor_files import write_checkpoint

A = {
    "conv1.w": np.arange(1, 7, dtype="f4").reshape(2, 3),
    "conv1.b": np.array([3.0, 4.0], "f4"),
    "head.w": np.array([np.nan, 1.0, np.inf], "f4"),
}


def _diff(folder: Path, a: dict[str, np.ndarray], b: dict[str, np.ndarray], **changed: Any) -> Difference:
    return diff_files(
        write_checkpoint(folder / "a.safetensors", a), write_checkpoint(folder / "b.safetensors", b, **changed)
    )


def test_the_same_tensors_and_configurations_are_the_same(tmp_path: Path) -> None:
    found = _diff(tmp_path, A, dict(reversed(A.items())))
    assert found.same
    assert found.keys == ()
    assert [tensor.distance.l2 for tensor in found.tensors if tensor.distance] == [0.0, 0.0, 0.0]
    assert found.layers[0].distance is not None
    assert found.layers[0].distance.cosine == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conv1.b", np.array([3.0, 4.0000005], "f4")),  # one bit
        ("conv1.b", np.array([3.0, 4.0], "f8")),  # the dtype alone
        ("conv1.b", np.array([[3.0, 4.0]], "f4")),  # the shape alone
        ("head.w", np.array([np.nan, 1.0, -np.inf], "f4")),
        ("head.w", np.array([-np.nan, 1.0, np.inf], "f4")),  # another NaN
        ("more", np.zeros(1, "f4")),
    ],
)
def test_one_bit_dtype_shape_or_name_is_a_difference(tmp_path: Path, name: str, value: np.ndarray) -> None:
    found = _diff(tmp_path, A, A | {name: value})
    assert not found.same
    assert [x.a.name for x in found.tensors if not x.equal] == ([] if name == "more" else [name])


def test_minus_zero_is_another_bit_pattern_at_distance_nothing(tmp_path: Path) -> None:
    found = _diff(tmp_path, {"w": np.array([0.0, 1.0], "f4")}, {"w": np.array([-0.0, 1.0], "f4")})
    assert not found.same
    assert found.tensors[0].distance is not None
    assert found.tensors[0].distance.max_abs == 0


def test_distances_by_tensor_and_layer_are_those_of_numpy(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    a = {name: noise.normal(size=size).astype("f4") for name, size in (("c.x", 700_000), ("c.y", (9, 5)), ("h", 4))}
    b = {name: value + noise.normal(size=value.shape).astype("f4") / 10 for name, value in a.items()}
    found = _diff(tmp_path, a, b)
    parts = {"c.x": ("c.x",), "c.y": ("c.y",), "h": ("h",), "layer c": ("c.x", "c.y")}
    distances = {x.a.name: x.distance for x in found.tensors} | {f"layer {x.name}": x.distance for x in found.layers}
    for name, names in parts.items():
        x, y = (np.concatenate([side[n].ravel() for n in names]).astype("f8") for side in (a, b))
        distance = distances[name]
        assert distance is not None
        assert distance.max_abs == np.abs(x - y).max()
        assert distance.l2 == pytest.approx(np.linalg.norm(x - y), rel=1e-12)
        assert distance.relative == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x), rel=1e-12)
        assert distance.cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-12)


def test_zero_vectors_and_infinities_give_no_made_up_numbers(tmp_path: Path) -> None:
    zero, inf = np.zeros(3, "f4"), np.array([np.inf, np.nan, 2.0], "f4")
    found = _diff(
        tmp_path,
        {"z": zero, "i": inf, "e": zero[:0], "n": inf[:2]},
        {"z": zero + 1, "i": zero, "e": zero[:0], "n": zero[:2]},
    )
    by_name = {x.a.name: x for x in found.tensors}
    assert by_name["z"].distance is not None
    assert (by_name["z"].distance.relative, by_name["z"].distance.cosine) == (None, None)
    assert by_name["i"].distance is not None
    assert (by_name["i"].distance.left_out, by_name["i"].distance.l2) == (2, 2.0)
    assert (by_name["e"].equal, by_name["e"].distance, by_name["e"].reason) == (True, None, "no values")
    assert (by_name["n"].distance, by_name["n"].reason) == (None, "no finite values in both")


def test_whole_numbers_beyond_doubles_are_compared_exactly(tmp_path: Path) -> None:
    found = _diff(tmp_path, {"n": np.array([2**62, -(2**63)])}, {"n": np.array([2**62 + 1, 2**63 - 1])})
    assert found.tensors[0].distance is not None
    assert found.tensors[0].distance.max_abs == 2**64 - 1


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1.0, 1e160, 1e307])
def test_extreme_sizes_keep_their_ratios(size: float) -> None:
    sums = DistanceSums()
    for a, b in (([3.0], [4.0]), ([0.0, 1.0], [0.0, -1.0])):
        sums.add(np.array(a) * size, np.array(b) * size)
    found = sums.distance()
    assert found is not None
    assert found.max_abs == pytest.approx(2 * size, rel=1e-12)
    assert found.l2 == pytest.approx(5**0.5 * size, rel=1e-12)
    assert found.relative == pytest.approx(0.5**0.5, rel=1e-12)
    assert found.cosine == pytest.approx(11 / (10 * 17) ** 0.5, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3)] * 2), min_size=1, max_size=30), st.integers(1, 7))
def test_sums_do_not_depend_on_the_pieces(pairs: list[tuple[float, float]], width: int) -> None:
    values = np.array(pairs)
    whole, parts = DistanceSums(), DistanceSums()
    whole.add(values[:, 0], values[:, 1])
    for start in range(0, len(values), width):
        part = DistanceSums()
        part.add(values[start : start + width, 0], values[start : start + width, 1])
        parts.add_sums(part)
    one, two = whole.distance(), parts.distance()
    assert one is not None
    assert two is not None
    assert one.max_abs == two.max_abs
    assert one.l2 == pytest.approx(two.l2, rel=1e-12)
    if one.cosine is not None:
        assert one.cosine == pytest.approx(two.cosine, rel=1e-9, abs=1e-12)


def test_configurations_count_and_the_rest_is_listed(tmp_path: Path) -> None:
    config = {"algorithm": "anil", "inner_lr": 0.1, "network": {"filters": 64, "new": True}}
    found = _diff(tmp_path, A, A, config=config, provenance={"version": "0.2"}, iteration=200)
    listed = {key.key: (key.a, key.b, key.counts) for key in found.keys}
    assert listed == {
        "config.algorithm": ('"maml"', '"anil"', True),
        "config.network.new": (None, "true", True),
        "iteration": ("100", "200", False),
        "provenance.seed": ("3", None, False),
        "provenance.version": ('"0.1"', '"0.2"', False),
    }
    assert not found.same
    assert _diff(tmp_path, A, A, provenance={}, iteration=200, metrics={}).same


def test_a_checkpoint_compares_with_a_state_dict_and_plain_safetensors(tmp_path: Path) -> None:
    ours = write_checkpoint(tmp_path / "a.safetensors", A)
    tensors = {name: torch.from_numpy(value.copy()) for name, value in A.items()}
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "b.pt")
    save_torch_file(tensors, tmp_path / "c.safetensors")
    for other in ("b.pt", "c.safetensors"):
        found = diff_files(ours, tmp_path / other)
        assert found.same
        assert found.note == "configurations not compared: B holds none"
        assert not any(key.counts for key in found.keys)
    torch.save({name: value.to(torch.bfloat16) for name, value in tensors.items()}, tmp_path / "b.pt")
    found = diff_files(tmp_path / "b.pt", ours)
    assert not found.same
    assert [(x.a.dtype, x.b.dtype, x.distance and x.distance.l2) for x in found.tensors] == [("BF16", "F32", 0.0)] * 3


def test_complex_and_real_values_are_not_compared_by_accident(tmp_path: Path) -> None:
    for name, dtype in (("a", torch.complex64), ("b", torch.float32)):
        save_torch_file({"w": torch.ones(3, dtype=dtype)}, tmp_path / f"{name}.safetensors")
    found = diff_files(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert (found.tensors[0].distance, found.tensors[0].reason) == (None, "values not compared: C64 and F32")


def test_a_difference_is_shown_as_tables_and_json(tmp_path: Path) -> None:
    found = _diff(
        tmp_path, A | {"only.a": np.ones(1, "f4")}, A | {"conv1.b": np.array([1.0], "f4"), "x": np.ones(2, "f4")}
    )
    grids = {grid.title: grid for grid in difference_grids(found)}
    assert grids["comparison"].rows[0] == ("verdict", "different")
    assert grids["tensors of one side"].rows == (("A", "only.a", "F32", (1,)), ("B", "x", "F32", (2,)))
    assert grids["tensors that differ"].rows[0][-1] == "the shapes differ"
    assert all(len(row) == len(grid.columns) for grid in grids.values() for row in grid.rows)
    stream = io.StringIO()
    show_difference(found, json_wanted=True, stream=stream)
    assert json.loads(stream.getvalue())["same"] is False
    stream = io.StringIO()
    show_difference(found, stream=stream)
    assert "\tthe shapes differ\n" in stream.getvalue()
