"""Anyone's own images: a folder of class folders, one level deep or in groups."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.formats.safetensors_header import read_regular
from trainers.tasks.archives import ARCHIVE_SUFFIXES
from trainers.tasks.cache import cached_imageset, listing_key
from trainers.tasks.extracted import extracted
from trainers.tasks.images import SUFFIXES, folders_in, image_files, open_image, square
from trainers.tasks.imageset import SPLITS, ImageSet
from trainers.tasks.sources import DataRequest

__all__ = ["load_class_folder", "split_by_hash"]

_VERSION = 1  # of the decoded set; part of the cache key
_MAX_BYTES = 8 << 30  # of all decoded images
_MAX_DEPTH = 32
_LIST_BYTES = 64 << 20  # of a split list
_SHARES = (0.64, 0.16)  # of the classes for training and validation; the rest is for testing


@dataclass(frozen=True)
class _Class:
    name: str  # its folder below the root, "group/class"
    files: tuple[str, ...]
    split: str

    @property
    def group(self) -> str:
        return self.name.rpartition("/")[0]


def load_class_folder(request: DataRequest) -> ImageSet:
    """Load `class_folder:PATH`: every folder below PATH that holds images is a class.

    A class is named by its folder below PATH and its group is what stands before the last `/` ("" at the top level).
    Splits: lists `train.txt`, `val.txt`, `test.txt` in PATH where there are any, a class name a line (classes in no
    list are left out); else top-level folders `train`, `val`, `test`, where PATH has no others; else 64/16/20 % of the
    classes, see `split_by_hash`. With an image size, the short side is resized to it (LANCZOS, anti-aliased) and the
    centre cropped. Grey where every image is, RGB else; what is transparent becomes white. PATH may be a zip or tar
    archive, which is extracted into the cache.

    Raises:
        UnreadableInput: where the folder is missing or holds no class, a list names a class that is not there, an
            image is damaged, or images differ in size (or are not square) and no image size is given.
        MetaprobeError: where the decoded images would not fit in memory.
    """
    folder = _folder(Path(request.argument).expanduser().absolute())
    found = _classes(folder)
    classes = [one for one in found if one.split]
    splits = tuple(one.split for one in classes)
    key = listing_key(
        (path for one in classes for path in one.files), "class_folder", _VERSION, request.image_size, splits
    )
    return cached_imageset("class_folder", key, lambda: _decode(folder, classes, request.image_size))


def split_by_hash(names: list[str]) -> dict[str, str]:
    """Split classes 64/16/20 % (rounded) in the order of the SHA-256 of their names: the same on every machine."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    ends = np.round(np.cumsum(_SHARES) * len(ordered)).astype(int)
    return {name: SPLITS[int(np.searchsorted(ends, place, side="right"))] for place, name in enumerate(ordered)}


def _folder(path: Path) -> Path:
    if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return extracted(path)
    if not path.is_dir():
        raise UnreadableInput(
            f"data set 'class_folder': looked for a folder of class folders, or a zip or tar of one, at {path}; "
            "not found. Name yours: --data class_folder:PATH"
        )
    return path


def _classes(folder: Path) -> list[_Class]:
    files = {name: inside for name, inside in _image_folders(folder, "") if name}
    if not files:
        raise UnreadableInput(
            f"{folder} holds no class: expected {folder}/<class>/<image> or {folder}/<group>/<class>/<image>, "
            f"with images of {', '.join(sorted(SUFFIXES))}."
        )
    tops = {name.partition("/")[0] for name in files}
    if any((folder / f"{split}.txt").is_file() for split in SPLITS):
        split_of = _listed(folder, files)
    elif len(tops) > 1 and tops <= set(SPLITS) and all("/" in name for name in files):
        return _in_split_folders(folder, files)
    else:
        split_of = split_by_hash(list(files))
    return [_Class(name, inside, split_of.get(name, "")) for name, inside in files.items()]


def _image_folders(folder: Path, name: str) -> list[tuple[str, tuple[str, ...]]]:
    """Folders that hold images, with their names below the root, in sorted order; hidden ones and links left out."""
    if name.count("/") >= _MAX_DEPTH:
        raise UnreadableInput(
            f"{folder} is more than {_MAX_DEPTH} folders deep; expected <class>/<image> or <group>/<class>/<image>."
        )
    images = image_files(folder)
    found = [(name, images)] if images else []
    for inside in folders_in(folder, follow_links=False):
        found += _image_folders(folder / inside, f"{name}/{inside}" if name else inside)
    return found


def _listed(folder: Path, files: dict[str, tuple[str, ...]]) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = folder / f"{split}.txt"
        if not path.is_file():
            continue
        try:
            lines = read_regular(path, _LIST_BYTES).decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UnreadableInput(f"split list {path} is not UTF-8 text ({error}).") from error
        for name in filter(None, map(str.strip, lines)):
            if name not in files:
                close = difflib.get_close_matches(name, files, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise UnreadableInput(f"split list {path} names {name!r}, but {folder / name} holds no image.{hint}")
            if split_of.setdefault(name, split) != split:
                raise UnreadableInput(f"split list {path} names {name!r}, which is in {split_of[name]}.txt too.")
    if not split_of:
        raise UnreadableInput(f"the split lists in {folder} name no class; expected one class name a line.")
    return split_of


def _in_split_folders(folder: Path, files: dict[str, tuple[str, ...]]) -> list[_Class]:
    owner: dict[str, str] = {}
    for full in files:
        split, _, name = full.partition("/")
        if owner.setdefault(name, split) != split:
            raise UnreadableInput(
                f"class {name!r} is in {folder / owner[name]} and in {folder / split}: splits are of classes, so that "
                "a test meets new ones. Put each class into one of them."
            )
    return [_Class(full.partition("/")[2], inside, full.partition("/")[0]) for full, inside in files.items()]


def _decode(folder: Path, classes: list[_Class], image_size: int | None) -> ImageSet:
    files = [path for one in classes for path in one.files]
    first = open_image(files[0], "RGB")
    size = image_size or first.width
    if not image_size and first.width != first.height:
        raise UnreadableInput(f"image {files[0]} is {first.width}×{first.height}, not square; pass --image-size SIZE.")
    if (needed := len(files) * 3 * size**2) > _MAX_BYTES:
        raise MetaprobeError(
            f"{len(files):,} images of {size}×{size} in {folder} would take {needed / 2**30:.1f} GiB; at most "
            f"{_MAX_BYTES >> 30} are loaded. Pass a smaller --image-size."
        )
    pixels = np.empty((len(files), 3, size, size), np.uint8)
    for place, path in enumerate(files):
        pixels[place] = _pixels(path, size, image_size, files[0]).transpose(2, 0, 1)
    if (pixels[:, 0] == pixels[:, 1]).all() and (pixels[:, 0] == pixels[:, 2]).all():
        pixels = np.ascontiguousarray(pixels[:, :1])
    return ImageSet(
        "class_folder",
        pixels,
        np.repeat(np.arange(len(classes)), [len(one.files) for one in classes]),
        tuple(one.name for one in classes),
        tuple(one.group for one in classes),
        tuple(one.split for one in classes),
    )


def _pixels(path: str, size: int, image_size: int | None, first: str) -> UInt8[np.ndarray, "size size 3"]:
    image = open_image(path, "RGB")
    if not image_size and image.size != (size, size):
        raise UnreadableInput(
            f"images differ in size: {first} is {size}×{size}, {path} is {image.width}×{image.height}; "
            "pass --image-size SIZE to bring them to one."
        )
    return square(image, size)
