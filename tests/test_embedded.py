"""Textures and solid shapes: enough classes, families held out, no class twice, the same bytes everywhere; any size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks import SPLITS, embedded, load_imageset, patterns, shapes
from metaprobe.trainers.tasks.embedded import Kind
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.tasks.imageset import ImageSet

MODULES = {"patterns": patterns, "shapes": shapes}
FINGERPRINTS = {"patterns": "01821f30451d1192", "shapes": "0fbe259199bf862b"}  # other pictures need another _VERSION


@pytest.fixture(scope="module", params=MODULES)
def made(request: pytest.FixtureRequest) -> ImageSet:
    return load_imageset(request.param)


def test_size_splits_and_families(made: ImageSet) -> None:
    assert (made.name in MODULES, made.images.shape[1:], made.domains) == (True, (1, 28, 28), ())
    assert (np.bincount(made.class_of) == 20).all()
    assert [len(made.classes_of(split)) for split in SPLITS] == [72, 24, 32]
    families = MODULES[made.name].FAMILIES
    split_of = {family.name: family.split for family in families}
    assert len(split_of) == len(families) == 16
    assert all(split_of[group] == split for group, split in zip(made.groups, made.splits, strict=True))
    assert made.class_names == tuple(f"{family.name}/{n}" for family in families for n in range(1, 9))
    assert made.groups == tuple(family.name for family in families for _ in range(8))


def test_every_picture_is_another_and_shows_something(made: ImageSet) -> None:
    flat = made.images.reshape(len(made), -1)
    assert len({picture.tobytes() for picture in flat}) == len(made)
    assert flat.std(axis=1).min() > 20
    assert (np.ptp(flat, axis=1) > 100).all()


def test_neither_hopeless_nor_trivial_for_raw_pixels(made: ImageSet) -> None:
    """The nearest of five support pictures, 15 queries a class, of classes that are held out."""
    tasks = EpisodeSampler(made, "test", 5, 1, 15, seed=0).batch(range(200))
    distances = torch.cdist(tasks.query.images.flatten(2), tasks.support.images.flatten(2))
    accuracy = (distances.argmin(2) == tasks.query.labels).double().mean().item()
    assert 0.4 < accuracy < 0.85


def test_a_class_is_what_its_number_says(made: ImageSet) -> None:
    """Drawn by itself, in another order, from its number alone."""
    module = MODULES[made.name]
    for number in (100, 3, 57):
        drawn = module._pictures(module.FAMILIES[number // 8], Kind(1, number))
        expected = made.images[made.images_of(number), 0] / 255
        assert np.abs(np.clip(drawn, 0, 1) - expected).max() <= 0.5 / 255 + 1e-12


def test_same_bytes_in_another_process(made: ImageSet) -> None:
    code = f"from metaprobe.trainers.tasks import {made.name} as m; print(m.make_{made.name}().fingerprint)"
    environment = os.environ | {"PYTHONHASHSEED": "12345", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == made.fingerprint, done.stderr
    assert made.fingerprint.startswith(FINGERPRINTS[made.name])


def test_loaded_from_the_cache(made: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULES[made.name], f"make_{made.name}", lambda: pytest.fail("made twice"))
    assert load_imageset(made.name, image_size=28).fingerprint == made.fingerprint


def test_no_outline_is_another_turned_or_scaled() -> None:
    """Outlines drawn from their formulas, each turned and scaled to fit each other one: shared area over joint area."""
    places = np.linspace(-1.25, 1.25, 31)
    x, y = np.meshgrid(places, places)
    turn = np.deg2rad(np.arange(0, 360, 9))[:, None, None]
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    families = [family for family in shapes.FAMILIES for _ in range(8)]
    outlines = []
    for number, family in enumerate(families):
        kind = Kind(1, number)
        one = [family.level(scale * u, scale * v, *kind.traits[3:], kind.dice) for scale in (1.0, 0.85, 1.18)]
        whole = np.concatenate(one)
        if kind.traits[1] < 0.3:
            whole = np.minimum(whole, 0.3 - whole)
        outlines.append(whole.reshape(len(whole), -1) > 0)
    filled = np.array(outlines, dtype=np.float32)  # class, view, point
    upright = filled[:, 0]
    shared = np.einsum("ap,bvp->abv", upright, filled, optimize=True)
    alike = (shared / (upright.sum(1)[:, None, None] + filled.sum(2)[None] - shared)).max(axis=2)
    np.testing.assert_allclose(np.diag(alike), 1)
    np.fill_diagonal(alike, 0)
    assert alike.max() < 0.95
    training = np.array([family.split == "train" for family in families])
    assert alike[np.ix_(~training, training)].max() < 0.9


def test_textures_of_a_family_are_not_alike() -> None:
    made = load_imageset("patterns")
    means = made.images.reshape(128, 20, -1).mean(axis=1)
    alike = np.corrcoef(means)
    np.fill_diagonal(alike, 0)
    assert alike.max() < 0.75


@pytest.mark.parametrize("name", ["glyphs", "patterns", "shapes"])
@pytest.mark.parametrize("size", [20, 42])
def test_another_size_is_resized_anti_aliased(name: str, size: int) -> None:
    native, other = load_imageset(name), load_imageset(name, image_size=size)
    assert other.images.shape == (len(native), 1, size, size)
    assert (other.class_names, other.groups, other.splits) == (native.class_names, native.groups, native.splits)
    np.testing.assert_array_equal(other.class_of, native.class_of)
    assert abs(other.images.mean() - native.images.mean()) < 2
    place = len(native) - 7
    expected = Image.fromarray(native.images[place, 0]).resize((size, size), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(other.images[place, 0], np.asarray(expected))


def test_resizing_keeps_colours_and_domains_and_says_what_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((3, 3, 8, 8), np.uint8)
    images[:, 1] = 200
    small = ImageSet("small", images, np.array([0, 1, 1]), ("a", "b"), ("", ""), ("train", "test"), ("x", "y"))
    assert embedded.resized(small, None) is embedded.resized(small, 8) is small
    other = embedded.resized(small, 12)
    assert other.domains == ("x", "y")
    np.testing.assert_array_equal(other.images, np.broadcast_to(images[:, :, :1, :1], (3, 3, 12, 12)))
    monkeypatch.setattr(embedded, "_MAX_BYTES", 3 * 3 * 12 * 12 - 1)
    with pytest.raises(
        MetaprobeError, match=r"3 images of small at 12×12 would take 0\.0 GiB; .* smaller --image-size"
    ):
        embedded.resized(small, 12)
