"""Images, caches and folders that are damaged or made to harm: one line each, bounded memory, no other pixels."""

from __future__ import annotations

import io
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import make_imageset
from tests.tensor_files import write_raw
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.tasks import images
from trainers.tasks.cache import cached_imageset
from trainers.tasks.images import open_image, square


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # MiB


# --- images ---


def test_every_flipped_byte_of_a_png_is_refused(tmp_path: Path) -> None:
    """Pillow alone reads other pixels from some: zlib stops before its own checksum once all rows are there."""
    whole, path = io.BytesIO(), tmp_path / "a.png"
    Image.fromarray(np.indices((40, 40)).sum(0) % 17 > 3).save(whole, "PNG")
    for place in range(len(whole.getvalue())):
        changed = bytearray(whole.getvalue())
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(UnreadableInput, match=r"a\.png is damaged or not an image"):
            open_image(path, "L")
    path.write_bytes(whole.getvalue() + b"what follows the end is not looked at")
    assert open_image(path, "L").size == (40, 40)


@pytest.mark.parametrize("cut", [12, 16, 30, -20, -12, -8, -1])
def test_a_png_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (20, 20), 7).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UnreadableInput, match=r"a\.png is damaged or not an image"):
        open_image(path, "L")


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000), (30_001, 3)])
def test_a_line_of_an_image_takes_no_memory(tmp_path: Path, size: tuple[int, int]) -> None:
    line, path = Image.new("L", size, 250), tmp_path / "line.png"
    middle = (size[0] // 2 - 2, size[1] // 2 - 2, size[0] // 2 + 2, size[1] // 2 + 2)
    line.paste(10, middle)
    line.save(path)
    assert path.stat().st_size < 3000
    before = _peak()
    pixels = square(open_image(path, "L"), 84)
    assert _peak() - before < 100
    assert pixels.shape == (84, 84)
    assert pixels[42, 42] < 30  # the middle is what is kept


def test_a_file_too_large_for_an_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.webp"
    with path.open("wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWEBPVP8 ")
        file.truncate(20 << 30)
    before = _peak()
    with pytest.raises(UnreadableInput, match=r"large\.webp has 21,474,836,480 bytes; at most 268,435,456"):
        open_image(path, "L")
    assert _peak() - before < 50
    Image.new("L", (20, 20), 7).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "_MAX_BYTES", 10)
    with pytest.raises(UnreadableInput, match=r"a\.png has \d\d bytes; at most 10"):
        open_image(tmp_path / "a.png", "L")


# --- the cache of image sets ---

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
    from trainers.tasks.imageset import ImageSet

    pixels, ids = np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 2**50])
    with pytest.raises(MetaprobeError, match=r"expected class ids 0 … 0; got 0 … 1125899906842624"):
        ImageSet("a", pixels, ids, ("x",), ("",), ("train",))
