"""Hostile torch files: no pickle is executed, no archive unpacks to more than it says."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaprobe.probe.inspection import pickle_listing
from metaprobe.probe.inspection.inspect import inspect_file
from metaprobe.trainers.errors import UnreadableInput
from tests.hostile_bytes import refused


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
        refused(path, reason)
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
    refused(path, "looks like a PNG image; name a checkpoint, a run's folder or a file of torch.save")
    path.write_bytes(b"")
    refused(path, "it is empty")
    torch.save({"w": torch.ones(1).expand(2**40)}, path)
    refused(path, "claims 4,398,046,511,104 bytes, the file holds 4")
    torch.save({"w": torch.ones(3).to_sparse()}, path)
    refused(path, "sparse")


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
    refused(tmp_path / "a.pt", "saved without checksums .*save it with them")


def test_archives_that_unpack_to_more_are_refused_before_torch_sees_them(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("a/data/0", bytes(50 << 20))
    refused(path, "compressed or claims 52,428,804 inside")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}.")
        archive.writestr("b/data.pkl", b"\x80\x02}.")
    refused(path, r"without exactly one data.pkl .*arrays \(.npz\) are for `metaprobe similarity`")
    with tarfile.open(path, "w"):
        pass
    refused(path, "neither a zip archive nor an older torch file")


def test_an_old_torch_file_that_claims_terabytes_costs_nothing(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)
    content, number = path.read_bytes(), b"M" + (1000).to_bytes(2, "little")
    assert content.count(number) == 2  # of the storage, and the shape
    for claim in (2**40, 2**33, 2**62, 2000, -1):
        lie = b"\x8a\x08" + claim.to_bytes(8, "little", signed=True)
        path.write_bytes(content.replace(number, lie))
        refused(path, "not a readable PyTorch file")
        path.write_bytes(content.replace(number, lie, 1))
        refused(path, "not a readable PyTorch file")


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
    refused(_torch_archive(tmp_path / "evil.pt", content), reason)


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
    refused(path, "more than 100 instructions")


def test_strange_values_and_keys_of_a_torch_archive_are_told_in_a_few_words(tmp_path: Path) -> None:
    storage = b"ctorch.storage\nUntypedStorage\n\x8a\x05\0\0\0\x40\0\x85R"  # of 1 GiB, made by its size alone
    path = _torch_archive(tmp_path / "a.pt", b"\x80\x02}(U\x01s" + storage + b")" + b"\x85" * 60 + b"Nu.")
    told = dict(inspect_file(path).metadata)
    assert told.pop("s") == "<UntypedStorage>"
    assert list(told.values()) == ["None"]
    assert max(map(len, told)) < 100
