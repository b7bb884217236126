"""Anyone's own images: a folder of class folders, one level deep or in groups."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.tasks.archives import ARCHIVE_SUFFIXES
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.class_layout import ClassImages, classes_in, split_by_hash
from metaprobe.trainers.tasks.decoding import decoded
from metaprobe.trainers.tasks.extracted import extracted
from metaprobe.trainers.tasks.folder_tree import image_tree
from metaprobe.trainers.tasks.images import open_image
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["load_class_folder", "split_by_hash"]

_VERSION = 2  # of the decoded set; part of the cache key. 1 did not turn images upright


def load_class_folder(request: DataRequest) -> ImageSet:
    """Load `class_folder:PATH`: every folder below PATH that holds images is a class.

    A class is named by its folder below PATH and its group is what stands before the last `/` ("" at the top level).
    Splits, in PATH or where folders around it lead to: lists `train.txt`, `val.txt`, `test.txt`, a class name a line;
    else folders of class folders, called train, val or valid or validation, and test, in letters of any case; else
    tables `train.csv` …, an image and its class a line; else 64/16/20 % of the classes (`split_by_hash`). What may be
    splits and is not called so is refused, never split by hash. What is left out is counted in one warning.

    With an image size, the short side is resized to it (LANCZOS, anti-aliased) and the centre cropped. Grey where every
    image is, RGB else; what is transparent becomes white. PATH may be a zip or tar archive, which is extracted into the
    cache.

    Raises:
        UnreadableInput: where the folder is missing or holds no class, its splits are not clear, a list names a class
            that is not there, an image is damaged, or images differ in size (or are not square) and no image size is
            given.
        MetaprobeError: where the decoded images would not fit in memory.
    """
    asked = Path(request.argument).expanduser().absolute()
    folder = _folder(asked)
    tree = image_tree(folder)
    classes = classes_in(tree)
    _refuse_twins(classes)
    if told := tree.left_out.told():
        warnings.warn(f"{visible(str(asked))}: left out {told}.", stacklevel=2)
    key = listing_key(
        (path for one in classes for path in one.files),
        "class_folder",
        _VERSION,
        request.image_size,
        [(one.name, one.split, len(one.files)) for one in classes],
    )
    return cached_imageset(
        "class_folder", key, lambda: decoded("class_folder", folder, classes, _opened, request.image_size)
    )


def _opened(paths: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    return ((path, open_image(path, "RGB")) for path in paths)


def _folder(path: Path) -> Path:
    if path.is_file() and path.name.lower().endswith(ARCHIVE_SUFFIXES):
        return extracted(path)
    if not path.is_dir():
        raise UnreadableInput(
            f"data set 'class_folder': looked for a folder of class folders, or a zip or tar of one, at {path}; "
            "not found. Name yours: --data class_folder:PATH"
        )
    return path


def _refuse_twins(classes: list[ClassImages]) -> None:
    """Refuse two classes that are one folder, by way of links: a test might meet what was trained on."""
    owner: dict[tuple[int, int], ClassImages] = {}
    for one in classes:
        status = os.stat(one.files[0])
        other = owner.setdefault((status.st_dev, status.st_ino), one)
        if other is not one:
            raise UnreadableInput(
                f"classes {other.name!r} and {one.name!r} hold one file, {one.files[0]}, by way of links: keep one."
            )
