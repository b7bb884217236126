"""Omniglot, in both layouts, from archives, downloaded and damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks import load_imageset, omniglot
from metaprobe.trainers.tasks.imageset import SPLITS
from tests.image_files import SHARED, fake_torchvision, needs_data, published, write_image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


# --- Omniglot ---


def _omniglot(root: Path) -> Path:
    """Four characters, each of one thick vertical stroke at the left, on white."""
    names = ("images_background/Greek/character01", "images_background/Hebrew/character02")
    for name in (*names, "images_evaluation/Angelic/character01", "images_evaluation/Tibetan/character03"):
        for drawing in range(2):
            pixels = np.full((105, 105), True)
            pixels[:, 15 : 30 + drawing] = False
            write_image(root / "omniglot" / name / f"0001_{drawing}.png", pixels)
    return root


def test_omniglot_classes_groups_splits_and_rotations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_DATA", str(_omniglot(tmp_path)))
    with pytest.warns(UserWarning, match="has 4 of 1623 characters"):
        made = load_imageset("omniglot")
    assert made.images.shape == (32, 1, 28, 28)
    upright = ("Greek/character01", "Hebrew/character02", "Angelic/character01", "Tibetan/character03")
    assert made.class_names[:4] == upright
    assert made.class_names[4:8] == tuple(f"{name}/rot90" for name in upright)
    assert made.groups == ("Greek", "Hebrew", "Angelic", "Tibetan") * 4
    assert made.splits == ("train", "val", "train", "test") * 4
    picture = made.images[0, 0]
    assert picture[:, 4:8].min() >= 230  # ink is 255 …
    assert picture[:, 12:].max() <= 5  # … on 0
    widest = made.images[1, 0, 10]  # half a pixel wider than a whole number: an anti-aliased edge
    assert ((widest > 20) & (widest < 235)).any()
    for turns in (1, 2, 3):
        np.testing.assert_array_equal(made.images[made.images_of(4 * turns)[0], 0], np.rot90(picture, turns))


def test_omniglot_in_torchvisions_layout_from_archives(tmp_path: Path) -> None:
    source = _omniglot(tmp_path / "source") / "omniglot"
    for part in omniglot.PARTS:
        archive = tmp_path / "root" / "omniglot-py" / f"{part}.zip"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive, "w") as bundle:
            for file in (source / part).rglob("*.png"):
                bundle.write(file, file.relative_to(source))
    with pytest.warns(UserWarning, match="4 of 1623"):
        made = load_imageset("omniglot", tmp_path / "root", image_size=14)
    assert made.images.shape == (32, 1, 14, 14)


def test_omniglot_damaged_drawing_is_named(tmp_path: Path) -> None:
    _omniglot(tmp_path)
    bad = tmp_path / "omniglot/images_background/Greek/character01/0001_1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.warns(UserWarning, match="4 of 1623"), pytest.raises(UnreadableInput, match=f"image {bad} is damaged"):
        load_imageset("omniglot", tmp_path)


def test_omniglot_without_drawings(tmp_path: Path) -> None:
    (tmp_path / "omniglot/images_background/Greek").mkdir(parents=True)
    with pytest.raises(UnreadableInput, match="holds no drawing; expected images_background/<alphabet>"):
        load_imageset("omniglot", tmp_path)


def test_omniglot_is_downloaded_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool, bool]] = []

    def download(root: str, background: bool, download: bool) -> None:
        asked.append((root, background, download))
        (_omniglot(tmp_path / "net") / "omniglot").rename(tmp_path / "omniglot-py") if background else None

    fake_torchvision(monkeypatch, "Omniglot", download)
    with pytest.raises(UnreadableInput, match="not found"):
        load_imageset("omniglot", tmp_path)
    assert not asked
    with pytest.warns(UserWarning, match="4 of 1623"):
        assert len(load_imageset("omniglot", tmp_path, download=True)) == 32
    assert asked == [(str(tmp_path), True, True), (str(tmp_path), False, True)]


def test_failed_downloads_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    fake_torchvision(monkeypatch, "Omniglot", fail)
    with pytest.raises(UnreadableInput, match=r"Omniglot could not be downloaded into .*no route to host"):
        load_imageset("omniglot", tmp_path, download=True)
    fake_torchvision(monkeypatch, "CIFAR100", fail)
    with pytest.raises(UnreadableInput, match=r"CIFAR-100 in .*no route to host"):
        load_imageset("cifar_fs", tmp_path, download=True)


@needs_data
def test_omniglot_split_is_that_of_the_published_lists() -> None:
    listed = {name: split for split in SPLITS for name in published(f"omniglot_vinyals/{split}.txt")}
    assert len(listed) == 1623
    assert {name: omniglot.split_of(*name.split("/")) for name in listed} == listed


@needs_data
def test_real_omniglot_drawings(tmp_path: Path) -> None:
    with zipfile.ZipFile(SHARED / "omniglot.zip") as bundle:
        chosen = [n for n in bundle.namelist() if "/Braille/character0" in n or "/Tibetan/character0" in n]
        bundle.extractall(tmp_path, [n for n in chosen if n.endswith(".png")])
    with pytest.warns(UserWarning, match="18 of 1623"):
        made = load_imageset("omniglot", tmp_path)
    assert made.images.shape == (18 * 20 * 4, 1, 28, 28)
    ink = made.images.mean() / 255
    assert 0.02 < ink < 0.2  # a few strokes on empty paper
    assert np.unique(made.images).size > 128  # grey edges, not two values
