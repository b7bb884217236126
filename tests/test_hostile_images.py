"""Images, caches and folders that are damaged or made to harm: one line each, bounded memory, no other pixels."""

from __future__ import annotations

import io
import json
import os
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import images, load_imageset
from metaprobe.trainers.tasks.cache import cached_imageset
from metaprobe.trainers.tasks.images import open_image, square
from metaprobe.trainers.tasks.imageset import ImageSet
from tests.conftest import make_imageset
from tests.tensor_files import write_raw


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
    pixels, ids = np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 2**50])
    with pytest.raises(MetaprobeError, match=r"expected class ids 0 … 0; got 0 … 1125899906842624"):
        ImageSet("a", pixels, ids, ("x",), ("",), ("train",))


# --- folders and their names ---


def _class(folder: Path | bytes, value: int = 7) -> None:
    os.makedirs(folder)
    Image.new("L", (8, 8), value).save(Path(os.fsdecode(folder)) / "0.png")


def test_folders_nested_without_end_are_a_sentence(tmp_path: Path) -> None:
    _class(tmp_path / "set" / "/".join("g" * 31) / "class")
    assert load_imageset(f"class_folder:{tmp_path}/set").groups == ("/".join("g" * 31),)
    _class(tmp_path / "deep" / "/".join("g" * 60) / "class")
    with pytest.raises(UnreadableInput, match=r"more than 32 folders deep; expected <class>/<image> or <group>"):
        load_imageset(f"class_folder:{tmp_path}/deep")


NAMES = [b"caf\xe9", b"\xff", b"a\x01b", b"a\x1b[31mb", b"two\nlines", "\x85".encode(), "\ufffe".encode()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inside", [b"", b"group"])
def test_class_folders_with_names_that_no_file_can_hold_are_named(tmp_path: Path, name: bytes, inside: bytes) -> None:
    root = os.fsencode(tmp_path / "set")
    _class(os.path.join(root, b"plain"))
    _class(os.path.join(root, inside, name))
    with pytest.raises(UnreadableInput, match=r"folder .* has a name that is not UTF-8 or .*; rename it") as caught:
        load_imageset(f"class_folder:{tmp_path}/set")
    assert str(caught.value).isprintable()


def test_names_of_other_alphabets_and_of_images_are_left_alone(tmp_path: Path) -> None:
    names = ("ひらがな", "naïve", "a b", "c\N{NO-BREAK SPACE}d", "e\\f", "😀", "\u200fعربي")
    for name in names:
        _class(tmp_path / "set" / name)
    (tmp_path / "set" / "a b" / "0.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/set/a b/\xe9.png"))
    assert set(load_imageset(f"class_folder:{tmp_path}/set").class_names) == set(names)


@pytest.mark.parametrize("name", NAMES)
def test_data_sets_and_domains_have_names_that_any_file_can_hold(tmp_path: Path, name: bytes) -> None:
    folder = os.path.join(os.fsencode(tmp_path), name)
    _class(os.path.join(folder, b"a"))
    for spec in (b"class_folder:" + folder, b"mixture:glyphs,class_folder:" + folder, b"mixture:glyphs," + name):
        with pytest.raises(MetaprobeError, match="not UTF-8 or has control characters") as caught:
            load_imageset(os.fsdecode(spec), tmp_path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("part", ["name", "class_names", "groups", "domains"])
def test_an_image_set_holds_no_other_names(part: str) -> None:
    parts = {"name": "set", "class_names": ("x",), "groups": ("",), "splits": ("train",), "domains": ("d",)}
    pixels = np.zeros((1, 1, 4, 4), np.uint8)
    ImageSet(images=pixels, class_of=np.zeros(1, np.int64), **parts)
    for name in map(os.fsdecode, NAMES):
        changed = parts | {part: name if part == "name" else (name,)}
        with pytest.raises(MetaprobeError, match=f"{part}: expected text without control characters"):
            ImageSet(images=pixels, class_of=np.zeros(1, np.int64), **changed)


# --- extracted archives ---


def _archive(tmp_path: Path) -> Path:
    for place, name in enumerate("abc"):
        _class(tmp_path / "source" / name, place)
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as bundle:
        bundle.add(tmp_path / "source", ".")
    return tmp_path / "set.tar.gz"


def _lost(folder: Path) -> None:
    (folder / "b" / "0.png").unlink()


def _other(folder: Path) -> None:
    Image.new("L", (8, 8), 99).save(folder / "b" / "0.png")


def _more(folder: Path) -> None:
    _class(folder / "z")


def _no_listing(folder: Path) -> None:
    (folder / ".metaprobe-listing").unlink()


@pytest.mark.parametrize("change", [_lost, _other, _more, _no_listing])
def test_an_extracted_archive_that_changed_is_extracted_again(tmp_path: Path, change: Callable[[Path], None]) -> None:
    spec = f"class_folder:{_archive(tmp_path)}"
    made = load_imageset(spec)
    assert made.class_names == ("a", "b", "c")
    (folder,) = (tmp_path / "cache" / "extracted").iterdir()
    before = folder.stat().st_ino
    assert load_imageset(spec).fingerprint == made.fingerprint
    assert folder.stat().st_ino == before
    change(folder)
    with pytest.warns(UserWarning, match=r"no longer holds just what is in .*set\.tar\.gz; extracting it again"):
        assert load_imageset(spec).fingerprint == made.fingerprint
    assert load_imageset(spec).fingerprint == made.fingerprint


def test_a_damaged_archive_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    archive = _archive(tmp_path)
    content = bytearray(archive.read_bytes())
    content[-6] ^= 1  # of the CRC of the whole
    archive.write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"set\.tar\.gz cannot be extracted .*CRC check failed"):
        load_imageset(f"class_folder:{archive}")
    assert list((tmp_path / "cache" / "extracted").iterdir()) == []
