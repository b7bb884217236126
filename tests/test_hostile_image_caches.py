"""Cached image sets that are damaged or made to harm: made again with a warning, or told in one line."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.cache import cached_imageset
from metaprobe.trainers.tasks.imageset import ImageSet
from tests.conftest import make_imageset
from tests.tensor_files import write_raw


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


KEY = "0123456789abcdef" * 4


def _made():
    return make_imageset(n_classes=3, per_class=2, size=5)


def _cached(tmp_path: Path) -> Path:
    cached_imageset("toy", KEY, _made)
    (path,) = (tmp_path / "cache" / "imagesets").iterdir()
    return path


def _made_again(path: Path) -> None:
    """The set comes, right and with a warning; the file is whole afterwards."""
    with pytest.warns(UserWarning, match=r"cached image set .*is damaged or old .*making it again") as told:
        assert cached_imageset("toy", KEY, _made).fingerprint == _made().fingerprint
    assert len(str(told[0].message)) < 700
    assert cached_imageset("toy", KEY, lambda: pytest.fail("made twice")).fingerprint == _made().fingerprint
    assert path.is_file()


def test_a_cached_set_with_any_flipped_bit_is_made_again(tmp_path: Path) -> None:
    path = _cached(tmp_path)
    content = path.read_bytes()
    noise, made = np.random.default_rng(0), _made()
    for place in sorted({*range(0, len(content), 11), *range(10)}):
        changed = bytearray(content)
        changed[place] ^= 1 << int(noise.integers(8))
        path.write_bytes(changed)
        with pytest.warns(UserWarning, match="making it again"):
            assert cached_imageset("toy", KEY, lambda: made).fingerprint == made.fingerprint
    assert path.read_bytes() == content


def _changed(**values: object) -> Callable[[Path], object]:
    """Return what writes a cached set whose metadata hold these values; `...` takes one away."""

    def write(path: Path) -> None:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        about = json.loads(header["__metadata__"]["metaprobe"]) | values
        about = {name: value for name, value in about.items() if value is not ...}
        header["__metadata__"]["metaprobe"] = json.dumps(about)
        write_raw(path, header, content[8 + length :])

    return write


def _class_ids(value: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        ids = np.arange(3).repeat(2)
        content = path.read_bytes()
        assert ids.tobytes() in content
        path.write_bytes(content.replace(ids.tobytes(), ids.tobytes()[:-8] + value.to_bytes(8, "little", signed=True)))

    return write


def _claims(dtype: str, shape: list[int], size: int) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        entries = {"images": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}
        write_raw(path, entries, b"")
        os.truncate(path, path.stat().st_size + size)

    return write


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: (path.unlink(), make(path))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "no metadata": lambda path: write_raw(path, {}, b""),
    "no fingerprint": _changed(fingerprint=...),
    "another fingerprint": _changed(fingerprint="0" * 64),
    "fingerprint is a number": _changed(fingerprint=1),
    "old format": _changed(format=1, key=...),
    "format is text": _changed(format="2"),
    "of other files": _changed(key="f" * 64),
    "no class names": _changed(class_names=...),
    "class names are a number": _changed(class_names=3),
    "class names are numbers": _changed(class_names=[1, 2, 3]),
    "class names are lists": _changed(class_names=[[], [], []]),
    "groups are null": _changed(groups=None),
    "a split of its own": _changed(splits=["train", "val", "tset"]),
    "a name more": _changed(zzz=1),
    "metadata are deep": lambda path: write_raw(path, {"__metadata__": {"metaprobe": "[" * 100_000}}, b""),
    "metadata are a list": lambda path: write_raw(path, {"__metadata__": {"metaprobe": "[]"}}, b""),
    "a petabyte of classes": _class_ids(2**47),
    "a class below 0": _class_ids(-1),
    "another class": _class_ids(1),
    "images of floats": _claims("F32", [1, 1, 1, 1], 4),
    "more memory than there is": _claims("U8", [1 << 42, 1, 1, 1], 1 << 42),
    "a folder": _instead(lambda path: path.mkdir()),
    "a pipe": _instead(os.mkfifo),
    "a link to nothing": _instead(lambda path: path.symlink_to("nothing")),
}


@pytest.mark.parametrize("damage", [name for name in DAMAGE if name != "a folder"])
def test_a_damaged_cached_set_is_made_again(tmp_path: Path, damage: str) -> None:
    path = _cached(tmp_path)
    DAMAGE[damage](path)
    _made_again(path)


def test_a_cache_that_cannot_be_used_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    DAMAGE["a folder"](_cached(tmp_path))
    with pytest.warns(UserWarning, match="making it again"), pytest.warns(UserWarning, match="could not be cached"):
        assert len(cached_imageset("toy", KEY, _made)) == 6
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").write_text("no folder")
    with pytest.warns(UserWarning, match="could not be cached"):
        assert len(cached_imageset("toy", KEY, _made)) == 6


def test_a_disk_that_is_full_is_a_warning(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # no file may grow beyond it
    try:
        with pytest.warns(UserWarning, match=r"image set 'toy' could not be cached"):
            assert len(cached_imageset("toy", KEY, _made)) == 6
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "cache" / "imagesets").iterdir()) == []


def test_class_ids_are_checked_before_they_are_counted() -> None:
    pixels, ids = np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 2**50])
    with pytest.raises(MetaprobeError, match=r"expected class ids 0 … 0; got 0 … 1125899906842624"):
        ImageSet("a", pixels, ids, ("x",), ("",), ("train",))
