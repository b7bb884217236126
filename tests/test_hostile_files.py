"""A folder of attacks, each with its answer: one line, nothing executed, nothing large allocated."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import METADATA_KEY, read_metadata
from tests.hostile_bytes import refused
from tests.tensor_files import entry, write_checkpoint, write_raw

HUGE = 10 * 2**40


def _our_metadata(**changed: object) -> dict[str, object]:
    parts = {key: {} for key in ("config", "network", "adaptation", "metrics", "provenance")}
    return {"format": 1, "kind": "checkpoint", "fingerprint": "0" * 64, "iteration": 1, **parts, **changed}


def _with_metadata(text: object) -> dict[str, object]:
    return {"__metadata__": {METADATA_KEY: text if isinstance(text, str) else json.dumps(text)}}


HEADERS: dict[str, tuple[object, str]] = {
    "not JSON": (b"{nonsense", "JSON is broken"),
    "a list": (b'{"a":1}'.replace(b'{"a":1}', b"{}[]   "), "JSON is broken"),
    "not UTF-8": (b'{"\xff\xfe": 1}', "not UTF-8"),
    "duplicate names": (b'{"a":{},"a":{}}', "'a' occurs twice"),
    "deep JSON": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "nested more than 3 deep"),
    "deeper than allowed": ({"a": {"dtype": "F32", "shape": [[1]], "data_offsets": [0, 4]}}, "nested more than 3 deep"),
    "half a surrogate pair": (b'{"\\ud800": {}}', "surrogate"),
    "NaN": (b'{"a": NaN}', "NaN is not valid JSON"),
    "digits without end": (b'{"a":' + b"9" * 5000 + b"}", "thousands of digits"),
    "1e999": (b'{"a": 1e999}', "does not fit a double"),
    "entry is no object": ({"a": 3}, "exactly dtype, shape and data_offsets"),
    "entry with more": ({"a": entry() | {"more": 1}}, "exactly dtype, shape and data_offsets"),
    "unknown dtype": ({"a": entry("F31")}, "unknown dtype 'F31'"),
    "dtype is a list": ({"a": entry() | {"dtype": []}}, r"unknown dtype"),
    "negative size": ({"a": entry(shape=[-1, -1])}, "impossible shape"),
    "size is true": ({"a": entry(shape=[True])}, "impossible shape"),
    "size is 1.0": ({"a": entry(shape=[1.0])}, "impossible shape"),
    "size over int64": ({"a": entry(shape=[2**63])}, "impossible shape"),
    "rank 65": ({"a": entry(shape=[1] * 65)}, "impossible shape"),
    "product overflows to 4": ({"a": entry(shape=[2**32, 2**32, 1])}, "needs 73,786,976,294,838,206,464 bytes"),
    "offsets backwards": ({"a": entry(start=4, end=0)}, "impossible offsets"),
    "offsets negative": ({"a": entry(start=-4, end=0)}, "impossible offsets"),
    "three offsets": ({"a": entry() | {"data_offsets": [0, 4, 8]}}, "impossible offsets"),
    "offsets disagree": ({"a": entry(shape=[2])}, "needs 8 bytes, its offsets give 4"),
    "half a byte": ({"a": entry("F4", [3], 0, 1)}, "needs 2 bytes, its offsets give 1"),
    "10 TB": ({"a": entry(shape=[HUGE // 4], end=HUGE)}, "truncated, or lies"),
    "overlap": ({"a": entry(), "b": entry()}, "'b' overlaps"),
    "hole": ({"a": entry(start=4, end=8)}, "leaves a hole"),
    "metadata is a list": ({"__metadata__": []}, "__metadata__ must map strings"),
    "metadata of numbers": ({"__metadata__": {"x": 1}}, "'x' must be a string"),
    "our metadata: no JSON": (_with_metadata("{"), "'metaprobe' metadata is damaged: the JSON is broken"),
    "our metadata: a list": (_with_metadata([]), "expected a JSON object"),
    "our metadata: deep": (_with_metadata("[" * 100_000), "nested"),
    "our metadata: no version": (_with_metadata({}), "'format' must be a whole number"),
    "our metadata: newer": (_with_metadata({"format": 3}), "format 3, newer than 2; update metaprobe"),
    "our metadata: missing": (_with_metadata({"format": 1}), "missing key 'adaptation'"),
    "our metadata: more": (_with_metadata(_our_metadata(zzz=1)), "unknown key 'zzz'"),
    "our metadata: iteration": (_with_metadata(_our_metadata(iteration="1")), "'iteration' must be a whole number"),
    "our metadata: config": (_with_metadata(_our_metadata(config=[])), "'config' must be an object"),
    "our metadata: fingerprint": (_with_metadata(_our_metadata(fingerprint="x")), "64 hexadecimal digits"),
    "our metadata: metric": (_with_metadata(_our_metadata(metrics={"a": "high"})), "metric 'a' must be a number"),
    "our metadata: NaN": (_with_metadata(json.dumps(_our_metadata(metrics={"a": float("nan")}))), "NaN is not valid"),
}


@pytest.mark.parametrize("attack", HEADERS)
def test_a_hostile_header_is_refused_in_one_line(attack: str, tmp_path: Path) -> None:
    header, reason = HEADERS[attack]
    path = write_raw(tmp_path / "evil.safetensors", header, b"" if "metadata" in attack else b"\0" * 4)
    refused(path, reason)


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "one byte": (b"x", "looks like a text file"),
    "zeros": (bytes(5), "5 bytes, fewer than any header"),
    "length 2^63": ((2**63).to_bytes(8, "little") + b"{}", "header claims 9,223,372,036,854,775,808 bytes"),
    "length 2^64-1": (b"\xff" * 8 + b"{}", "header claims"),
    "length over the file": ((100).to_bytes(8, "little") + b"{}", "header claims 100 bytes, the file has 10"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "looks like a PNG image"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "looks like an HDF5 file .*metaprobe similarity` read"),
    "array": (b"\x93NUMPY\x01\x00" + bytes(50), "NumPy array .*metaprobe similarity"),
    "text": (b"hello, this is a note\n", "looks like a text file; name a checkpoint, or the folder of a run"),
    "JSON": (b'{"a": 1, "b": {"c": 2}}', "looks like a text file"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "zip": (b"PK\x03\x04" + bytes(50), "zip archive is damaged"),
    "pickle": (pickle.dumps(list(range(99)), 4), "is a Python pickle"),
    "noise": (np.random.default_rng(0).bytes(400), "does not start with a header length"),
    "data after the end": ((2).to_bytes(8, "little") + b"{}" + b"abc", "3 bytes follow the last tensor"),
}


@pytest.mark.parametrize("attack", BYTES)
def test_bytes_of_another_kind_are_named(attack: str, tmp_path: Path) -> None:
    content, reason = BYTES[attack]
    path = tmp_path / "evil.safetensors"
    path.write_bytes(content)
    refused(path, reason)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_not_a_file_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    refused(pipe, "expected a file, got a pipe")
    refused(folder, "expected a file, got a folder")
    refused(tmp_path / f"missing{suffix}", "No such file")
    refused(Path("/dev/zero"), "expected a file, got a pipe, socket or device")


def test_every_truncation_of_a_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "a.safetensors", {"conv1.w": np.ones(5, "f4"), "head.b": np.ones(3, "f4")})
    content = whole.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(content)):
        cut.write_bytes(content[:length])
        with pytest.raises(UnreadableInput, match=r"cut\.safetensors"):
            inspect_file(cut, stats=True)


def test_every_flipped_byte_is_refused_or_seen_by_the_fingerprint(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "a.safetensors", {"conv1.w": np.ones(5, "f4")})
    before = inspect_file(whole)
    content, noise = bytearray(whole.read_bytes()), np.random.default_rng(0)
    for place in range(len(content)):
        changed = content.copy()
        changed[place] ^= int(noise.integers(1, 256))
        whole.write_bytes(changed)
        try:
            after = inspect_file(whole, stats=True)
        except UnreadableInput:
            continue
        assert not after.fingerprint_matches or after.checkpoint != before.checkpoint or after.metadata


def test_a_file_that_shrinks_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    from metaprobe.probe.inspection.tensor_files import open_tensors

    path = write_checkpoint(tmp_path / "a.safetensors", {"w": np.ones(3_000_000, "f4")})
    with open_tensors(path) as file:
        pieces = file.pieces(file.tensors[0])
        next(pieces)
        os.truncate(path, 5_000_000)
        with pytest.raises(UnreadableInput, match="ended inside tensor 'w'"):
            list(pieces)


def test_a_header_longer_than_the_limit_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    with open(path, "wb") as file:
        file.write((17 << 20).to_bytes(8, "little") + b"{")
        file.truncate(18 << 20)
    refused(path, "header claims 17,825,792 bytes, more than the limit")


def test_names_in_errors_cannot_drive_a_terminal(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "new\nline\x1b[31m.safetensors", {"\x1b[2J\n" + "x" * 10_000: 1})
    with pytest.raises(UnreadableInput) as caught:
        inspect_file(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert r"new\nline\x1b[31m" in str(caught.value)


def test_a_plain_file_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "plain.safetensors", {"a": entry()}, bytes(4))
    with pytest.raises(UnreadableInput, match="without 'metaprobe' metadata"):
        read_metadata(path)


def test_memory_stays_bounded_under_attack_and_with_statistics(tmp_path: Path) -> None:
    big = write_checkpoint(tmp_path / "big.safetensors", {"conv1.w": np.zeros(40_000_000, "f4")})  # 160 MB
    lies = [
        write_raw(tmp_path / "a.safetensors", {"a": entry(shape=[HUGE // 4], end=HUGE)}),
        write_raw(tmp_path / "b.safetensors", b"{}", length=2**62),
        write_raw(tmp_path / "c.safetensors", b'{"a":' + b"[" * 3_000_000),
        write_raw(tmp_path / "d.safetensors", {"a": entry(shape=[0, 2**62], end=0)}),
    ]
    program = (
        "import resource, sys\n"
        "from metaprobe.probe.inspection.inspect import inspect_file\n"
        "from metaprobe.trainers.errors import UnreadableInput\n"
        "import metaprobe.probe.inspection.numbers\n"
        f"resource.setrlimit(resource.RLIMIT_AS, ({_address_space()} + (120 << 20),) * 2)\n"
        "assert inspect_file(sys.argv[1], stats=True).fingerprint_matches\n"
        "refused = 0\n"
        "for path in sys.argv[2:]:\n"
        "    try:\n        inspect_file(path, stats=True)\n"
        "    except UnreadableInput:\n        refused += 1\n"
        "print(refused)\n"
    )
    assert _python(program, str(big), *map(str, lies)).strip() == "3"  # a tensor of no elements is honest


def _address_space() -> str:
    return "int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()"


def _python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
