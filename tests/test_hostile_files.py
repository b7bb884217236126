"""A folder of attacks, each with its answer: one line, nothing executed, nothing large allocated."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probe.inspection import pickle_listing
from probe.inspection.diff import diff_files
from probe.inspection.inspect import inspect_file
from tests.tensor_files import entry, write_checkpoint, write_raw
from trainers.errors import UnreadableInput
from trainers.formats.checkpoint_format import METADATA_KEY, read_metadata

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
    _refused(path, reason)


BYTES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "one byte": (b"x", "looks like a text file"),
    "zeros": (bytes(5), "5 bytes, fewer than any header"),
    "length 2^63": ((2**63).to_bytes(8, "little") + b"{}", "header claims 9,223,372,036,854,775,808 bytes"),
    "length 2^64-1": (b"\xff" * 8 + b"{}", "header claims"),
    "length over the file": ((100).to_bytes(8, "little") + b"{}", "header claims 100 bytes, the file has 10"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(50), "looks like a PNG image"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "looks like an HDF5 file"),
    "text": (b"hello, this is a note\n", "looks like a text file"),
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
    _refused(path, reason)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_what_is_not_a_file_is_refused_at_once(suffix: str, tmp_path: Path) -> None:
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    folder = tmp_path / f"folder{suffix}"
    folder.mkdir()
    _refused(pipe, "expected a file, got a pipe")
    _refused(folder, "expected a file, got a folder")
    _refused(tmp_path / f"missing{suffix}", "No such file")
    _refused(Path("/dev/zero"), "expected a file, got a pipe, socket or device")


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
    from probe.inspection.tensor_files import open_tensors

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
    _refused(path, "header claims 17,825,792 bytes, more than the limit")


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


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def _evil_pickles(mark: Path) -> dict[str, bytes]:
    import torch

    result = {f"pickle {protocol}": pickle.dumps(_Evil(mark), protocol) for protocol in range(6)}
    for name, new in (("zip", True), ("legacy", False)):
        buffer = io.BytesIO()
        torch.save({"w": torch.ones(3), "extra": _Evil(mark)}, buffer, _use_new_zipfile_serialization=new)
        result[f"torch {name}"] = buffer.getvalue()
        buffer = io.BytesIO()
        torch.save(torch.nn.Linear(2, 2), buffer, _use_new_zipfile_serialization=new)
        result[f"module {name}"] = buffer.getvalue()
    hidden = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + pickle.dumps(_Evil(mark), 4)
    return result | {"behind the magic number": hidden}


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".PT", ".safetensors"])
def test_no_pickle_is_ever_executed(suffix: str, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    for name, content in _evil_pickles(mark).items():
        path = tmp_path / f"evil{suffix}"
        path.write_bytes(content)
        reason = "not a readable"
        if suffix != ".safetensors" and name.startswith(("torch", "module", "behind")):
            reason = "objects other than tensors and plain values .*nothing of it was loaded or executed"
        _refused(path, reason)
        assert not mark.exists(), name
    pickle.loads(_evil_pickles(mark)["pickle 2"])  # noqa: S301 -- our own, and the point of it
    assert mark.exists()  # the weapon works, so its silence above means something


def test_torch_files_that_lie_or_are_damaged_are_refused(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(1000)}, path)
    content = path.read_bytes()
    for length in (*range(0, len(content), 97), len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(UnreadableInput, match=r"a\.pt"):
            inspect_file(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(60))
    _refused(path, "looks like a PNG image")
    path.write_bytes(b"")
    _refused(path, "it is empty")
    torch.save({"w": torch.ones(1).expand(2**40)}, path)
    _refused(path, "claims 4,398,046,511,104 bytes, the file holds 4")
    torch.save({"w": torch.ones(3).to_sparse()}, path)
    _refused(path, "sparse")


def test_every_flipped_byte_of_a_torch_archive_is_refused_or_does_not_matter(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.pt"
    torch.save({"conv1.w": torch.arange(40.0), "step": 3}, path)
    before = inspect_file(path, stats=True)
    content, noise = path.read_bytes(), np.random.default_rng(0)
    data = content.index(torch.arange(40.0).numpy().tobytes())
    for place in (*range(data, data + 160, 8), *range(0, len(content), 23)):
        changed = bytearray(content)
        changed[place] ^= int(noise.integers(1, 256))
        path.write_bytes(changed)
        if data <= place < data + 160:  # torch maps these bytes and never looks at their checksum
            with pytest.raises(UnreadableInput, match=r"a\.pt: its content does not fit its checksums \(a/data/0\)"):
                inspect_file(path, stats=True)
            continue
        try:
            assert inspect_file(path, stats=True) == before
        except UnreadableInput:
            continue


def test_a_torch_archive_without_checksums_is_refused_with_what_to_do(tmp_path: Path) -> None:
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"w": torch.ones(3)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    _refused(tmp_path / "a.pt", "saved without checksums .*save it with them")


def test_archives_that_unpack_to_more_are_refused_before_torch_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", bytes(50 << 20))
    _refused(path, "compressed or claims 52,428,804 inside")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    _refused(path, "without exactly one data.pkl")
    with tarfile.open(path, "w"):
        pass
    _refused(path, "neither a zip archive nor an older torch file")


def test_an_old_torch_file_that_claims_terabytes_costs_nothing(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    content, number = path.read_bytes(), b"M" + (1000).to_bytes(2, "little")
    assert content.count(number) == 2  # of the storage, and the shape
    for claim in (2**40, 2**33, 2**62, 2000, -1):
        lie = b"\x8a\x08" + claim.to_bytes(8, "little", signed=True)
        path.write_bytes(content.replace(number, lie))
        _refused(path, "not a readable PyTorch file")
        path.write_bytes(content.replace(number, lie, 1))
        _refused(path, "not a readable PyTorch file")


def _doubled(width: int, levels: int) -> object:
    """A dict of `width` references to a dict of `width` references to …: few instructions, width^levels paths."""
    content: object = 1
    for _ in range(levels):
        content = dict.fromkeys(range(width), content)
    return content


PICKLES: dict[str, tuple[bytes, str]] = {
    # bytearray is on torch's own list, and bytearray(2^36) writes 64 GiB of zeros
    "bytearray": (b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R.", "builtins.bytearray"),
    "stack global": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "STACK_GLOBAL"),
    "instance": (b"(ios\nsystem\n.", "INST"),
    "no end": (b"\x80\x02}", "pickle is damaged"),
    "unknown instruction": (b"\x80\x02\xff.", "pickle is damaged"),
    "string of 2^60 bytes": (b"\x80\x02\x8d" + (2**60).to_bytes(8, "little") + b"a.", "pickle is damaged"),
    "shared references": (pickle.dumps(_doubled(2, 40), 2), "nested more than 16 deep"),
    # The hash of a tuple calls itself without a limit, which ends the interpreter inside torch's own unpickler.
    "deep tuples": (b"\x80\x02}(" + b")" + b"\x85" * 200_000 + b"K\x01u.", "nests tuples more than 64 deep"),
    "deep marks": (b"\x80\x02}" + b"(" * 200_000 + b"t" * 200_000 + b"K\x01s.", "nests tuples more than 64 deep"),
    "deep twins": (b"\x80\x02}(" + b")" + b"2\x86" * 200_000 + b"K\x01u.", "nests tuples more than 64 deep"),
    "deep memo": (b"\x80\x02}(" + b")" + b"q\x010h\x01\x85" * 99 + b"K\x01u.", "nests tuples more than 64 deep"),
    "nothing kept": (b"\x80\x02h\x09.", "pickle is damaged"),
    "nothing there": (b"\x80\x020.", "pickle is damaged"),
    "tensor by its size": (
        b"\x80\x02}U\x01wctorch\nTensor\n\x8a\x05\0\0\0\x40\x00\x85Rs.",
        "lies in 4,294,967,296 bytes, more than the file's",
    ),
    "cycle": (b"\x80\x02}q\x00K\x01h\x00s.", "nested more than 16 deep"),
    "wide sharing": (pickle.dumps(_doubled(40, 6), 2), "over 200,000 parts"),
}


@pytest.mark.parametrize("attack", PICKLES)
def test_hostile_instructions_in_a_torch_archive(attack: str, tmp_path: Path) -> None:
    content, reason = PICKLES[attack]
    _refused(_torch_archive(tmp_path / "evil.pt", content), reason)


def _torch_archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", content)
        archive.writestr("a/version", b"3\n")
        archive.writestr("a/byteorder", b"little")
    return path


def test_a_pickle_of_too_many_instructions_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _torch_archive(tmp_path / "many.pt", b"\x80\x02](" + b"}" * 97 + b"e.")
    inspect_file(path)
    monkeypatch.setattr(pickle_listing, "_INSTRUCTIONS", 100)
    _refused(path, "more than 100 instructions")


def test_strange_values_and_keys_of_a_torch_archive_are_told_in_a_few_words(tmp_path: Path) -> None:
    storage = b"ctorch.storage\nUntypedStorage\n\x8a\x05\0\0\0\x40\0\x85R"  # of 1 GiB, made by its size alone
    path = _torch_archive(tmp_path / "a.pt", b"\x80\x02}(U\x01s" + storage + b")" + b"\x85" * 60 + b"Nu.")
    told = dict(inspect_file(path).metadata)
    assert told.pop("s") == "<UntypedStorage>"
    assert list(told.values()) == ["None"]
    assert max(map(len, told)) < 100


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
        "from probe.inspection.inspect import inspect_file\n"
        "from trainers.errors import UnreadableInput\n"
        "import probe.inspection.numbers\n"
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


def _refused(path: Path, reason: str) -> None:
    for look in (lambda: inspect_file(path), lambda: inspect_file(path, stats=True), lambda: diff_files(path, path)):
        started, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(UnreadableInput, match=reason) as caught:
            look()
        assert str(caught.value).isprintable()
        assert str(path) in str(caught.value)
        assert time.process_time() - started < 10  # the first .pt imports torch
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 600_000  # kB; so does this
