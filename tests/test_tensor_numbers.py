"""Numbers of tensors as `inspect` decodes and sums them, and the fingerprint over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.probe.inspection.numbers import Accumulator, decode
from metaprobe.trainers.formats.checkpoint_format import (
    tensor_fingerprint,
)
from metaprobe.trainers.formats.safetensors_header import DTYPE_BITS
from tests.tensor_files import entry, write_checkpoint, write_raw

TORCH_DTYPES = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E5M2FNUZ": torch.float8_e5m2fnuz, "F8_E8M0": torch.float8_e8m0fnu,
}  # fmt: skip


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
def test_every_bit_pattern_of_the_narrow_floats_means_what_torch_says(dtype: str) -> None:
    bits = torch.arange(2 ** DTYPE_BITS[dtype])
    words = bits.to(torch.uint8) if DTYPE_BITS[dtype] == 8 else bits.to(torch.int32).to(torch.uint16)
    expected = words.view(TORCH_DTYPES[dtype]).to(torch.float64).numpy()
    np.testing.assert_array_equal(decode(words.view(torch.uint8).numpy().tobytes(), dtype), expected)


@pytest.mark.parametrize("dtype", [d for d in DTYPE_BITS if d not in ("F4", "F6_E2M3", "F6_E3M2")])
def test_every_other_dtype_has_statistics(dtype: str) -> None:
    values = np.array([0, 1, 1, 1], {"C64": "c8", "BOOL": "?"}.get(dtype, "u1"))
    if dtype not in ("C64", "BOOL") and not dtype.startswith(("F8", "BF")):
        values = values.astype({"F": "f", "I": "i", "U": "u"}[dtype[0]] + str(DTYPE_BITS[dtype] // 8))
    one = {"F8_E4M3": 0x38, "F8_E5M2": 0x3C, "F8_E8M0": 127, "F8_E4M3FNUZ": 0x40, "F8_E5M2FNUZ": 0x40, "BF16": 0x3F80}
    if dtype in one:
        values = (values * np.array(one[dtype], "u2" if dtype == "BF16" else "u1")).astype(
            "u2" if dtype == "BF16" else "u1"
        )
    taken = Accumulator(dtype)
    taken.add(values.tobytes())
    assert taken.result().norm == pytest.approx(3**0.5)
    assert (taken.result().nan, taken.result().inf, taken.result().all_zero) == (0, 0, False)


def test_a_dtype_without_decoder_is_said_not_guessed(tmp_path: Path) -> None:
    path = write_raw(
        tmp_path / "a.safetensors", {"x.a": entry("F4", [4], 0, 2), "x.b": entry("F32", [1], 2, 6)}, bytes(6)
    )
    found = inspect_file(path, stats=True)
    assert found.tensors[0].statistics is not None
    assert found.tensors[0].statistics.reason == "not computed: no decoder for F4"
    assert found.layers[0].norm is None


def test_statistics_neither_overflow_nor_vanish_nor_lose_whole_numbers() -> None:
    for size in (1e-200, 1e200, 5e-324, 1e308):
        taken = Accumulator("F64")
        for piece in (np.array([size]), np.array([size / 2]), np.zeros(3), np.array([size])):
            taken.add(piece.tobytes())
        assert taken.result().norm == pytest.approx(float(np.linalg.norm([1, (size / 2) / size, 1])) * size, rel=1e-12)
        assert taken.result().mean == pytest.approx((2 * (size / 6) + (size / 2) / 6), rel=1e-12, abs=5e-324)
    taken = Accumulator("I64")
    taken.add(np.array([2**53 + 1, -(2**63)]).tobytes())
    assert (taken.result().maximum, taken.result().minimum) == (2**53 + 1, -(2**63))


def test_statistics_do_not_depend_on_the_pieces(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=1_200_001).astype("f4")
    found = inspect_file(write_checkpoint(tmp_path / "a.safetensors", {"w": values}), stats=True)
    statistics = found.tensors[0].statistics
    assert statistics is not None
    assert statistics.norm == pytest.approx(np.linalg.norm(values.astype("f8")), rel=1e-13)
    assert statistics.mean == pytest.approx(values.astype("f8").mean(), rel=1e-11)
    assert found.fingerprint_matches


def test_the_fingerprint_tells_names_dtypes_shapes_and_bytes_apart_and_not_the_order() -> None:
    base = [("a", "F32", (2,), b"01234567"), ("b", "F32", (1,), b"0123")]
    variants = [
        [("c", "F32", (2,), b"01234567"), base[1]],
        [("a", "I32", (2,), b"01234567"), base[1]],
        [("a", "F32", (2, 1), b"01234567"), base[1]],
        [("a", "F32", (2,), b"01234568"), base[1]],
        base[:1],
    ]
    assert tensor_fingerprint(base) == tensor_fingerprint(reversed(base))
    assert len({tensor_fingerprint(each) for each in [base, *variants]}) == 6
    pieces = [("b", "F32", (1,), iter([memoryview(b"01"), memoryview(b"23")])), base[0]]
    assert tensor_fingerprint(pieces) == tensor_fingerprint(base)
