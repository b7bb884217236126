"""The embedded set: enough classes, no shape twice, whole scripts held out, the same bytes everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks import fonts, load_imageset
from metaprobe.trainers.tasks.glyphs import SCRIPTS, make_glyphs
from metaprobe.trainers.tasks.imageset import ImageSet


@pytest.fixture(scope="module")
def glyphs() -> ImageSet:
    return make_glyphs()


def test_size_and_splits(glyphs: ImageSet) -> None:
    assert glyphs.images.shape[1:] == (1, 28, 28)
    assert len(glyphs.class_names) >= 600
    assert (np.bincount(glyphs.class_of) == 20).all()
    assert len(glyphs.classes_of("val")) >= 100
    assert len(glyphs.classes_of("test")) >= 100


def test_whole_scripts_are_held_out(glyphs: ImageSet) -> None:
    split_of = {script.name: script.split for script in SCRIPTS}
    assert set(glyphs.groups) == set(split_of)
    assert all(split_of[group] == split for group, split in zip(glyphs.groups, glyphs.splits, strict=True))
    assert all(name.startswith(f"{group}/") for name, group in zip(glyphs.class_names, glyphs.groups, strict=True))


def test_every_picture_is_another_and_none_is_clipped(glyphs: ImageSet) -> None:
    flat = glyphs.images.reshape(len(glyphs), -1)
    assert len({picture.tobytes() for picture in flat}) == len(glyphs)
    frame = np.ones((28, 28), bool)
    frame[1:-1, 1:-1] = False
    assert not glyphs.images[:, 0, frame].any()
    assert (flat > 128).sum(1).min() >= 8


def test_same_shape_is_one_class(glyphs: ImageSet) -> None:
    names = set(glyphs.class_names)
    assert {"latin/capital letter a", "latin/small letter a", "digits/three", "georgian/letter an"} <= names
    assert not {"greek/capital letter alpha", "cyrillic/capital letter a", "greek/capital letter omicron"} & names
    assert len({"latin/capital letter s", "latin/small letter s"} & names) == 1


@pytest.mark.parametrize("face", fonts.faces(), ids=lambda face: face.name)
def test_in_no_face_are_two_classes_alike(glyphs: ImageSet, face: fonts.Face) -> None:
    """Drawn anew and compared in float64, independently of how they were chosen."""
    prefix = {script.name: script.prefix for script in SCRIPTS}
    shapes = []
    for name, group in zip(glyphs.class_names, glyphs.groups, strict=True):
        code = ord(unicodedata.lookup(prefix[group] + name.removeprefix(f"{group}/").upper()))
        if code in face.characters and (shape := face.shape(code)) is not None:
            shapes.append(shape)
    assert len(shapes) >= 40
    pictures = fonts.draw(shapes, np.repeat(np.diag([22.0, 22.0, 1.0])[None], len(shapes), 0), 28)
    correlation = np.corrcoef(pictures.reshape(len(shapes), -1).astype(float))
    np.fill_diagonal(correlation, 0)
    assert correlation.max() < 0.905  # the bound is 0.9 on six-bit pixels


def test_same_bytes_in_another_process(glyphs: ImageSet) -> None:
    code = "from metaprobe.trainers.tasks.glyphs import make_glyphs; print(make_glyphs().fingerprint)"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == glyphs.fingerprint, done.stderr


def test_loaded_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, glyphs: ImageSet) -> None:
    monkeypatch.setenv("METAPROBE_CACHE", str(tmp_path))
    monkeypatch.setattr("metaprobe.trainers.tasks.glyphs.make_glyphs", lambda: glyphs)
    assert load_imageset("glyphs").fingerprint == glyphs.fingerprint
    monkeypatch.setattr("metaprobe.trainers.tasks.glyphs.make_glyphs", lambda: pytest.fail("made twice"))
    assert load_imageset("glyphs", image_size=8).images.shape == (len(glyphs), 1, 8, 8)
    assert load_imageset("glyphs", image_size=28).fingerprint == glyphs.fingerprint


def test_missing_font_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(UnreadableInput, match=r"font .*DejaVuSans\.ttf is missing"):
        fonts.faces()


def test_faces_know_what_they_draw() -> None:
    by_name = {face.name: face for face in fonts.faces()}
    assert ord("Ж") in by_name["DejaVuSans"].characters
    assert 0x4E00 not in by_name["DejaVuSans"].characters  # a Chinese character, which it would show as a box
    assert ord("@") not in by_name["cmr10"].characters  # TeX has another sign there
    assert by_name["DejaVuSans"].shape(ord(" ")) is None
    shape = by_name["DejaVuSerif"].shape(ord("H"))
    assert shape is not None
    np.testing.assert_allclose(np.ptp(shape.points, axis=0).max(), 1.0)
    np.testing.assert_allclose(shape.points.min(0), -shape.points.max(0))


def test_draw_covers_by_area_and_keeps_pictures_apart() -> None:
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [0, 0]])
    box = fonts.Shape(corners, np.array([1, 2, 2, 2, 79], np.uint8))
    maps = np.stack([np.diag([4.0, 4.0, 1.0]), np.array([[3.0, 0, 1], [0, 1.0, 2], [0, 0, 1]])])
    square, bar = fonts.draw([box, box], maps, 8).astype(float) / 255
    expected = np.zeros((8, 8))
    expected[2:6, 2:6] = 1
    np.testing.assert_allclose(square, expected, atol=0.01)
    assert bar.sum() == pytest.approx(3, abs=0.05)
    assert bar[1:3].sum() == pytest.approx(3, abs=0.05)  # two pixels above the centre, as y points up
