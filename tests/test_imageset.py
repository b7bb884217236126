"""ImageSet: what fits together, what does not, and its fingerprint; the cache that keeps it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.imageset import ImageSet


def _small(**changes: Any) -> ImageSet:
    images = np.arange(4 * 1 * 3 * 3, dtype=np.uint8).reshape(4, 1, 3, 3)
    values: dict[str, Any] = {
        "name": "small",
        "images": images,
        "class_of": np.array([1, 0, 1, 2]),
        "class_names": ("a", "b", "c"),
        "groups": ("x", "x", "y"),
        "splits": ("train", "test", "train"),
    }
    return ImageSet(**(values | changes))


def test_classes_and_images_of() -> None:
    small = _small()
    assert (len(small), small.channels, small.image_size) == (4, 1, 3)
    assert repr(small) == "ImageSet('small', images (4, 1, 3, 3), 3 classes)"
    assert small.classes_of("train").tolist() == [0, 2]
    assert small.classes_of("val").tolist() == []
    assert [small.images_of(i).tolist() for i in range(3)] == [[1], [0, 2], [3]]
    assert small.classes_of("val").dtype == small.images_of(1).dtype == np.int64
    with pytest.raises(MetaprobeError, match="unknown split 'dev'; expected one of train, val, test"):
        small.classes_of("dev")
    with pytest.raises(MetaprobeError, match="no class 3; its ids are 0 … 2"):
        small.images_of(3)
    with pytest.raises(MetaprobeError, match="no class -1"):
        small.images_of(-1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"images": np.zeros((4, 1, 3, 3))}, "images: expected uint8 .* got float64"),
        ({"images": np.zeros((4, 3, 3), np.uint8)}, r"images: expected uint8 .* got uint8 \(4, 3, 3\)"),
        ({"images": np.zeros((4, 1, 3, 4), np.uint8)}, "height = width"),
        ({"images": np.zeros((0, 1, 3, 3), np.uint8)}, "at least one"),
        ({"images": np.zeros((4, 3, 3, 1), np.uint8).transpose(0, 3, 1, 2)[:, :, ::-1]}, "C-contiguous"),
        ({"class_of": np.zeros(4, np.int32)}, "class_of: expected int64"),
        ({"class_of": np.zeros(3, np.int64)}, r"class_of: expected int64 \(4,\)"),
        ({"class_of": np.array([0, 1, 2, 3])}, r"class ids 0 … 2; got 0 … 3"),
        ({"class_of": np.array([0, 1, 2, -1])}, r"got -1 … 2"),
        ({"class_of": np.array([0, 0, 2, 2])}, "an image for every class; got none for 'b'"),
        ({"class_names": ("a", "b", "a")}, "each name once; got 'a' twice"),
        ({"groups": ("x",)}, "groups: expected 3, one a class name; got 1"),
        ({"domains": ("x", "y")}, "domains: expected 3, one a class name; got 2"),
        ({"splits": ("train", "dev", "test")}, "splits: expected only train, val, test; got 'dev'"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(MetaprobeError, match=match):
        _small(**changes)


def test_fingerprint_sees_every_part() -> None:
    small = _small()
    images = small.images.copy()
    images[3, 0, 2, 2] += 1
    others = [
        _small(name="other"),
        _small(images=images),
        _small(class_of=np.array([1, 0, 2, 1])),
        _small(class_names=("a", "b", "d")),
        _small(groups=("x", "y", "y")),
        _small(splits=("train", "val", "train")),
        _small(domains=("x", "x", "y")),
        _small(domains=("x", "y", "y")),
    ]
    assert small.fingerprint == _small().fingerprint
    assert len({small.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_domain_names_are_in_order_or_the_sets_own() -> None:
    assert _small().domain_names == ("small",)
    assert _small(domains=("y", "x", "y")).domain_names == ("y", "x")


def test_the_fingerprint_of_a_set_without_domains_is_what_it_was_before_there_were_any() -> None:
    assert _small().fingerprint == "6ac684a1f4f69e661f525e19a2e1e19b4b187f1d5aaf4906ac0358cedfa6cc4d"


def test_in_colour() -> None:
    """Luma in floating point, within half a step of grey; black, white and greys stay what they are."""
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 30, 30), np.uint8)
    images[0, :, 0, :3] = [0, 128, 255]
    rgb = _small(images=images, domains=("x", "x", "y"))
    grey = rgb.in_colour("grey")
    assert grey.images.shape == (4, 1, 30, 30)
    luma = 0.299 * images[:, 0].astype(float) + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    assert np.abs(grey.images[:, 0] - luma).max() <= 0.5 + 1e-9
    assert grey.images[0, 0, 0, :3].tolist() == [0, 128, 255]
    again = grey.in_colour("rgb")
    assert again.images.shape == images.shape
    assert (again.images == grey.images).all()
    assert again.images.flags.c_contiguous
    np.testing.assert_array_equal(again.in_colour("grey").images, grey.images)
    assert (grey.in_colour("grey") is grey, rgb.in_colour("rgb") is rgb) == (True, True)
    assert all(one.domains == rgb.domains and one.class_names == rgb.class_names for one in (grey, again))
    assert len({rgb.fingerprint, grey.fingerprint, again.fingerprint}) == 3


def test_cache_returns_the_same_set_without_making_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path))
    made = cached_imageset("small", "key", _small)
    again = cached_imageset("small", "key", lambda: pytest.fail("made twice"))
    assert again.fingerprint == made.fingerprint
    for field in dataclasses.fields(ImageSet):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(made, field.name))
    assert cached_imageset("small", "another", lambda: _small(name="other")).name == "other"


@pytest.mark.parametrize("damage", ["pixel", "cut", "empty", "text"])
def test_damaged_cache_is_made_again_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path))
    made = cached_imageset("small", "key", _small)
    (path,) = (tmp_path / "imagesets").iterdir()
    content = path.read_bytes()
    pixels = content.index(made.images.tobytes())
    path.write_bytes(
        {
            "pixel": content[: pixels + 5] + b"\xff" + content[pixels + 6 :],
            "cut": content[:-1],
            "empty": b"",
            "text": b"not a cache",
        }[damage]
    )
    with pytest.warns(UserWarning, match="is damaged"):
        assert cached_imageset("small", "key", _small).fingerprint == made.fingerprint
    assert path.read_bytes() == content


def test_cache_that_cannot_be_written_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="image set 'small' could not be cached"):
        assert cached_imageset("small", "key", _small).name == "small"


def test_listing_key_changes_with_files_and_choices(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    keys = {listing_key([file]), listing_key([file, file]), listing_key([file], 28), listing_key([])}
    file.write_bytes(b"12")
    keys.add(listing_key([file]))
    assert len(keys) == 5
    assert listing_key([str(file)]) in keys
