"""Mixtures: several sets in one, each a domain with its own splits; what cannot be mixed is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks import load_imageset
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset

NAMES = ("glyphs", "patterns", "shapes")


@pytest.fixture(autouse=True)
def _no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METAPROBE_DATA", raising=False)


def _folder(root: Path, size: int = 28, colour: bool = False) -> Path:
    """Six classes of two pictures, each of one brightness; RGB are red."""
    for place, name in enumerate("abcdef"):
        for image in range(2):
            pixels = np.full((size, size), 20 * place + image, np.uint8)
            pixels = np.stack([pixels, 0 * pixels, 0 * pixels], axis=2) if colour else pixels
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / name / f"{image}.png")
    return root


def _holds(mixed: ImageSet, domain: str, part: ImageSet) -> None:
    """Check that a domain is the part: its images under its class names, groups and splits, in its order."""
    first = mixed.domains.index(domain)
    assert mixed.domains.count(domain) == len(part.class_names)
    for own, name in enumerate(part.class_names):
        assert mixed.class_names[first + own] == f"{domain}/{name}"
        assert mixed.domains[first + own] == domain
        assert mixed.splits[first + own] == part.splits[own]
        assert mixed.groups[first + own] == (f"{domain}/{part.groups[own]}" if part.groups[own] else domain)
        np.testing.assert_array_equal(mixed.images[mixed.images_of(first + own)], part.images[part.images_of(own)])


@pytest.mark.parametrize("size", [None, 20])
def test_the_embedded_sets(size: int | None) -> None:
    mixed = load_imageset("mixture:glyphs,patterns, shapes", image_size=size)
    parts = {name: load_imageset(name, image_size=size) for name in NAMES}
    assert mixed.name == "glyphs+patterns+shapes"
    assert mixed.domain_names == NAMES
    assert mixed.images.shape == (sum(map(len, parts.values())), 1, size or 28, size or 28)
    for name, part in parts.items():
        _holds(mixed, name, part)


def test_the_order_of_the_parts_is_that_of_the_name() -> None:
    one, other = load_imageset("mixture:shapes,patterns"), load_imageset("mixture:patterns,shapes")
    assert one.domain_names == ("shapes", "patterns")
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint == load_imageset("mixture:shapes,patterns").fingerprint


def test_one_part_is_a_mixture_of_one_domain() -> None:
    mixed = load_imageset("mixture:shapes")
    assert (mixed.name, mixed.domain_names) == ("shapes", ("shapes",))
    _holds(mixed, "shapes", load_imageset("shapes"))


def test_grey_parts_become_rgb_where_one_is() -> None:
    grey, rgb = make_imageset(6, 2), make_imageset(6, 2, channels=3, seed=1)
    mixed = mix([("grey", grey), ("rgb", rgb)])
    assert mixed.channels == 3
    _holds(mixed, "grey", grey.in_colour("rgb"))
    _holds(mixed, "rgb", rgb)
    back = mixed.in_colour("grey")
    assert back.domains == mixed.domains
    np.testing.assert_array_equal(back.images[: len(grey)], grey.images)
    assert mix([("one", grey), ("other", grey)]).channels == 1


@pytest.mark.parametrize("where", ["birds", "multidomain84/birds"])
def test_a_folder_of_the_data_root_is_a_part(tmp_path: Path, where: str) -> None:
    folder = _folder(tmp_path / where, size=28)
    mixed = load_imageset("mixture:shapes,birds", tmp_path)
    assert mixed.domain_names == ("shapes", "birds")
    _holds(mixed, "birds", load_imageset(f"class_folder:{folder}"))
    assert set(mixed.groups[-6:]) == {"birds"}


def test_a_folder_beside_the_data_sets_is_taken_before_one_of_multidomain84(tmp_path: Path) -> None:
    near, _ = _folder(tmp_path / "birds", colour=True), _folder(tmp_path / "multidomain84/birds")
    mixed = load_imageset("mixture:birds", tmp_path)
    np.testing.assert_array_equal(mixed.images, load_imageset(f"class_folder:{near}").images)


def test_a_class_folder_anywhere_is_a_part_under_its_own_name(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "photos/fish", size=40, colour=True)
    mixed = load_imageset(f"mixture:patterns,class_folder:{folder}", image_size=32)
    assert mixed.domain_names == ("patterns", "fish")
    assert mixed.images.shape[1:] == (3, 32, 32)
    _holds(mixed, "fish", load_imageset(f"class_folder:{folder}", image_size=32))
    _holds(mixed, "patterns", load_imageset("patterns", image_size=32, colour="rgb"))
    grey = load_imageset(f"mixture:patterns,class_folder:{folder}", image_size=32, colour="grey")
    assert (grey.channels, grey.domain_names) == (1, mixed.domain_names)


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("mixture", "'mixture': expected mixture:NAME,NAME…"),
        ("mixture:", "'mixture:': expected mixture:NAME,NAME…"),
        ("mixture:glyphs,shapes,glyphs", "'mixture:glyphs,shapes,glyphs' names 'glyphs' twice; name each once"),
        ("mixture:shapes,", r"unknown part of a mixture ''\..*glyphs, patterns.*no data root \(--data-root, METAPROBE"),
        ("mixture:shpes", r"unknown part of a mixture 'shpes'\. Did you mean shapes.*Nor is it a folder of class"),
        ("mixture:mixture:shapes", "unknown part of a mixture 'mixture:shapes'"),
    ],
)
def test_bad_names(spec: str, match: str) -> None:
    with pytest.raises(MetaprobeError, match=match):
        load_imageset(spec)


def test_a_part_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MetaprobeError, match=rf"unknown part of a mixture 'birds'.* class folders in {tmp_path}\."):
        load_imageset("mixture:shapes,birds", tmp_path)
    with pytest.raises(UnreadableInput, match=f"at {tmp_path}/none; not found"):
        load_imageset(f"mixture:class_folder:{tmp_path}/none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableInput, match="empty holds no class"):
        load_imageset("mixture:shapes,empty", tmp_path)


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    _folder(tmp_path / "big", size=40)
    told = "differ in size: shapes 28×28, big 40×40; pass --image-size"
    with pytest.raises(MetaprobeError, match=told):
        load_imageset("mixture:shapes,big", tmp_path)
    assert load_imageset("mixture:shapes,big", tmp_path, image_size=28).image_size == 28
    one, other = _folder(tmp_path / "a/fish"), _folder(tmp_path / "b/fish")
    with pytest.raises(MetaprobeError, match="domains of a mixture need names of their own; got fish, fish"):
        load_imageset(f"mixture:class_folder:{one},class_folder:{other}")
