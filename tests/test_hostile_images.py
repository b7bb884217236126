"""Images, caches and folders that are damaged or made to harm: one line each, bounded memory, no other pixels."""

from __future__ import annotations

import io
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
from metaprobe.trainers.tasks.images import open_image, square
from metaprobe.trainers.tasks.imageset import ImageSet


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
