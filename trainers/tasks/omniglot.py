"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each (Lake, Salakhutdinov & Tenenbaum 2015)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.images import folders_in, image_files, open_image, square
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["FOLDERS", "PARTS", "load_omniglot", "split_of", "with_rotations"]

PARTS = ("images_background", "images_evaluation")
FOLDERS = ("omniglot", "omniglot-py")  # by hand; as torchvision names it
_SIZE = 28
_CHARACTERS = 1623
_VERSION = 1  # of what `_decode` makes; part of the cache key
_VALIDATION = frozenset({"Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"})
_FIRST_OF_TEST = ("images_evaluation", "Gurmukhi", "character42")


@dataclass(frozen=True)
class _Character:
    part: str
    alphabet: str
    name: str
    drawings: tuple[str, ...]


def split_of(part: str, alphabet: str, character: str) -> str:
    """Return the split of a character: the 1028/172/423 characters of Vinyals et al. 2016 as later code fixed them.

    In the sorted order of (part, alphabet, character) the first 1,200 are for training and the last 423 for testing
    (Vinyals et al. 2016, section 4.1.1); of the first, the 172 of five alphabets are for validation. Papers that quote
    1200/423 train on both.

    Args:
        part: "images_background" or "images_evaluation", the archive that the character comes from.
        alphabet: the alphabet's folder name.
        character: the character's folder name, "character01" …
    """
    if (part, alphabet, character) >= _FIRST_OF_TEST:
        return "test"
    return "val" if alphabet in _VALIDATION else "train"


def load_omniglot(request: DataRequest) -> ImageSet:
    """Load Omniglot from `ROOT/omniglot` or torchvision's `ROOT/omniglot-py`, with its rotations as further classes.

    Drawings of 105×105 become 28×28 with Pillow's anti-aliased LANCZOS filter (as MAML's published code does), ink 255
    on 0. A class is `alphabet/character` or, rotated, `alphabet/character/rot90` …; a group is an alphabet. `.zip`
    archives of the two parts, left in either folder, are extracted there.

    Raises:
        UnreadableInput: where there is no such folder, or a drawing is damaged.
    """
    folder, parts = _find(request)
    if request.download and len(parts) < len(PARTS):
        _download(request.root_for_download())
        folder, parts = _find(request)
    if not parts:
        root = request.root or Path()
        raise request.missing(f"folders {' and '.join(PARTS)}", [root / name for name in FOLDERS])
    characters = _characters(folder)
    if len(characters) < _CHARACTERS:
        warnings.warn(
            f"Omniglot in {folder} has {len(characters)} of {_CHARACTERS} characters; the splits hold what is there.",
            stacklevel=2,
        )
    size = request.image_size or _SIZE
    key = listing_key((path for c in characters for path in c.drawings), "omniglot", _VERSION, size)
    return with_rotations(cached_imageset("omniglot", key, lambda: _decode(characters, size)))


def with_rotations(upright: ImageSet) -> ImageSet:
    """Return a set with three further classes for each: its images turned by 90°, 180° and 270° counter-clockwise.

    A turned class stays in the split and the group of the upright one: rotation comes after the split, so that a
    character met in training is not met, turned, in testing (Santoro et al. 2016).
    """
    turned = [upright.images, *(np.rot90(upright.images, turns, axes=(2, 3)) for turns in (1, 2, 3))]
    n_classes = len(upright.class_names)
    names = [f"{name}/rot{angle}" for angle in (90, 180, 270) for name in upright.class_names]
    return ImageSet(
        upright.name,
        np.concatenate(turned),
        np.concatenate([upright.class_of + turns * n_classes for turns in range(4)]),
        (*upright.class_names, *names),
        upright.groups * 4,
        upright.splits * 4,
    )


def _find(request: DataRequest) -> tuple[Path, list[str]]:
    """The folder that has more of the two parts, and which."""
    found: tuple[Path, list[str]] = (Path(), [])
    for name in FOLDERS if request.root else ():
        folder = Path(request.root or "") / name
        _extract_parts(folder)
        parts = [part for part in PARTS if (folder / part).is_dir()]
        if len(parts) > len(found[1]):
            found = folder, parts
    return found


def _extract_parts(folder: Path) -> None:
    """Extract the parts whose archive is there and whose folder is not."""
    for part in PARTS:
        archive = folder / f"{part}.zip"
        if archive.is_file() and not (folder / part).exists():
            from metaprobe.trainers.tasks.archives import extract

            extract(archive, folder / part, inside=part)


def _characters(folder: Path) -> list[_Character]:
    found = []
    for part in PARTS:
        if not (folder / part).is_dir():
            continue
        for alphabet in folders_in(folder / part):
            for name in folders_in(folder / part / alphabet):
                if drawings := image_files(folder / part / alphabet / name):
                    found.append(_Character(part, alphabet, name, drawings))
    if not found:
        raise UnreadableInput(
            f"Omniglot in {folder} holds no drawing; expected {PARTS[0]}/<alphabet>/<character>/*.png and {PARTS[1]}/…"
        )
    return found


def _decode(characters: list[_Character], size: int) -> ImageSet:
    images = [_drawing(path, size) for c in characters for path in c.drawings]
    return ImageSet(
        "omniglot",
        np.stack(images)[:, None],
        np.repeat(np.arange(len(characters)), [len(c.drawings) for c in characters]),
        tuple(f"{c.alphabet}/{c.name}" for c in characters),
        tuple(c.alphabet for c in characters),
        tuple(split_of(c.part, c.alphabet, c.name) for c in characters),
    )


def _drawing(path: str, size: int) -> UInt8[np.ndarray, "height width"]:
    return 255 - square(open_image(path, "L"), size)  # the files hold black ink (0) on white (255)


def _download(root: Path) -> None:
    """Fetch both parts through torchvision, which checks their MD5; into `ROOT/omniglot-py`."""
    from torchvision.datasets import Omniglot

    try:
        for background in (True, False):
            Omniglot(str(root), background=background, download=True)
    except (RuntimeError, OSError) as error:  # where an MD5 sum is wrong; where the network is not there
        raise UnreadableInput(f"Omniglot could not be downloaded into {root} ({error}).") from error
