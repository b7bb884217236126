"""Image folders: names, groups, splits, sizes, colours, and images that cannot be used."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import images, load_imageset
from metaprobe.trainers.tasks.class_folder import split_by_hash
from metaprobe.trainers.tasks.imageset import SPLITS, ImageSet
from tests.image_files import write_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


def _grey(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def _folder(root: Path, *names: str, per_class: int = 2) -> Path:
    for place, name in enumerate(names):
        for image in range(per_class):
            write_image(root / name / f"{image}.png", _grey(10 * place + image))
    return root


# --- class folders ---


def _load(path: Path, size: int | None = None) -> ImageSet:
    return load_imageset(f"class_folder:{path}", image_size=size)


def test_class_folder_names_groups_and_hash_split(tmp_path: Path) -> None:
    names = [f"{group}/{kind}" for group in ("bird", "fish") for kind in "abcdefghijkl"] + ["alone"]
    made = _load(_folder(tmp_path / "set", *names))
    assert made.class_names == ("alone", *sorted(names[:-1]))
    assert made.groups == ("", *["bird"] * 12, *["fish"] * 12)
    assert made.images.shape == (50, 1, 8, 8)
    assert [made.splits.count(split) for split in SPLITS] == [16, 4, 5]
    assert made.splits == tuple(split_by_hash(sorted(names, reverse=True))[name] for name in made.class_names)


def test_hash_split_shares() -> None:
    for n in (1, 3, 5, 100):
        counts = [list(split_by_hash([str(i) for i in range(n)]).values()).count(split) for split in SPLITS]
        assert counts == {1: [1, 0, 0], 3: [2, 0, 1], 5: [3, 1, 1], 100: [64, 16, 20]}[n]


def test_split_lists_decide_and_may_leave_classes_out(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "g/b", "g/c", "d")
    (folder / "train.txt").write_text("g/b\na\n\n")
    (folder / "test.txt").write_text("d\n")
    with pytest.warns(UserWarning, match=r"left out images of classes in no list: 2 \(2 in g/c\)\."):
        made = _load(folder)
    assert dict(zip(made.class_names, made.splits, strict=True)) == {"a": "train", "g/b": "train", "d": "test"}
    (folder / "test.txt").write_text("d\ng/cc\n")
    with pytest.raises(UnreadableInput, match=r"test\.txt names 'g/cc', but .* holds no image. Did you mean 'g/c'"):
        _load(folder)
    (folder / "test.txt").write_text("a\n")
    with pytest.raises(UnreadableInput, match=r"test\.txt names 'a', which is in train\.txt, too"):
        _load(folder)
    (folder / "test.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UnreadableInput, match=r"test\.txt is not UTF-8"):
        _load(folder)
    (folder / "test.txt").unlink()
    (folder / "train.txt").write_text("\n")
    with pytest.raises(UnreadableInput, match="name no class"):
        _load(folder)


def test_split_folders_are_splits_of_classes(tmp_path: Path) -> None:
    made = _load(_folder(tmp_path / "set", "train/a", "train/g/b", "test/c"))
    assert made.class_names == ("c", "a", "g/b")
    assert (made.splits, made.groups) == (("test", "train", "train"), ("", "", "g"))
    with pytest.raises(UnreadableInput, match=r"class 'a' is in .*splits are of classes"):
        _load(_folder(tmp_path / "leak", "train/a", "test/a"))


def test_image_size_resizes_the_short_side_and_crops_the_centre(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = (255, 0, 0)
    write_image(tmp_path / "set/a/wide.png", wide)
    write_image(tmp_path / "set/a/tall.jpg", np.full((50, 10, 3), 255, np.uint8))
    write_image(tmp_path / "set/b/grey.bmp", _grey(128, 40, 40))
    made = _load(tmp_path / "set", 10)
    assert made.images.shape == (3, 3, 10, 10)
    tall, crop, grey = made.images
    assert tall.min() >= 250
    assert crop[0, :, 1:-1].min() > 240
    assert not crop[1:].any()
    assert (grey == 128).all()


def test_sizes_that_differ_or_are_not_square_ask_for_image_size(tmp_path: Path) -> None:
    _folder(tmp_path / "set", "a")
    other = write_image(tmp_path / "set/b/x.png", _grey(0, 9, 9))
    with pytest.raises(UnreadableInput, match=rf"differ in size: .* is 8×8, {other} is 9×9; pass --image-size"):
        _load(tmp_path / "set")
    write_image(tmp_path / "flat/a/x.png", _grey(0, 4, 9))
    with pytest.raises(UnreadableInput, match=r"x\.png is 9×4, not square; pass --image-size"):
        _load(tmp_path / "flat")


def test_transparent_is_white_and_colour_makes_rgb(tmp_path: Path) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    write_image(tmp_path / "set/a/clear.png", clear)
    made = _load(tmp_path / "set")
    assert made.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert made.images[0, :, 1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"not an image", None])
def test_damaged_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    _folder(tmp_path / "set", "a")
    bad = write_image(tmp_path / "set/a/bad.png", np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8))
    bad.write_bytes(bad.read_bytes()[:-40] if content is None else content)
    with pytest.raises(UnreadableInput, match=f"image {bad} is damaged or not an image"):
        _load(tmp_path / "set")


def test_images_that_cannot_be_used_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = write_image(tmp_path / "deep/a/x.png", np.full((8, 8), 40_000, np.uint16))
    with pytest.raises(UnreadableInput, match=rf"{deep} has more than 8 bits a channel"):
        _load(tmp_path / "deep")
    bomb = write_image(tmp_path / "bomb/a/x.png", _grey(0, 200, 200))
    monkeypatch.setattr(images, "MAX_PIXELS", 39_999)
    with pytest.raises(UnreadableInput, match=rf"image {bomb} is 200×200 pixels; at most 39,999"):
        _load(tmp_path / "bomb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(UnreadableInput, match=f"image {bomb} is too large to decode"):
        _load(tmp_path / "bomb")


def test_too_much_for_memory_is_said_before_it_is_taken(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", per_class=3)
    (folder / "a").rename(folder / "b")
    from metaprobe.trainers.tasks import decoding

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_MAX_BYTES", 9 << 20 - 1)
        with pytest.raises(MetaprobeError, match=r"3 images of 1024×1024 .* GiB"):
            _load(folder, 1024)


def test_folder_without_classes_and_no_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "flat/x.png", _grey(0))
    write_image(tmp_path / "flat/.hidden/x.png", _grey(0))
    with pytest.raises(UnreadableInput, match=r"holds no class: expected .*<class>/<image>"):
        _load(tmp_path / "flat")
    with pytest.raises(UnreadableInput, match=rf"looked for a folder of class folders.* at {tmp_path}/none; not found"):
        _load(tmp_path / "none")


def test_class_folder_in_an_archive(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "b")
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for file in folder.rglob("*.png"):
            bundle.write(file, file.relative_to(folder))
    made = _load(archive)
    np.testing.assert_array_equal(made.images, _load(folder).images)
    assert _load(archive).fingerprint == made.fingerprint
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.writestr("../out.png", b"")
    with pytest.raises(UnreadableInput, match="a way out of the folder"):
        _load(archive)


def test_changed_folder_is_decoded_again(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "set", "a", "b")
    before = _load(folder)
    write_image(folder / "b/0.png", _grey(77))
    write_image(folder / "b/extra.png", _grey(78))
    after = _load(folder)
    assert (len(before), len(after)) == (4, 5)
    assert (after.images[2] == 77).all()
