"""From the images of classes to an ImageSet: one size, grey where every image is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks.class_layout import ClassImages
from metaprobe.trainers.tasks.images import square
from metaprobe.trainers.tasks.imageset import ImageSet

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decoded"]

_MAX_BYTES = 8 << 30  # of all decoded images


def decoded(
    name: str,
    where: Path,
    classes: Sequence[ClassImages],
    images: Callable[[Sequence[str]], Iterable[tuple[str, Image.Image]]],
    image_size: int | None,
) -> ImageSet:
    """Return the images of classes as an ImageSet; grey where every image is, RGB else.

    Args:
        name: of the set.
        where: it is read from, for errors.
        classes: whose images are wanted.
        images: gives the images that it is given the names of, in any order, in RGB, each with its name.
        image_size: pixels to bring the short side to, with the centre cropped to a square; None for images of one size.

    Raises:
        UnreadableInput: no size is given, and images differ in size or are not square.
        MetaprobeError: they would not fit in memory.
    """
    files = [path for one in classes for path in one.files]
    place_of = {path: place for place, path in enumerate(files)}
    pixels, first = np.empty((0, 3, 0, 0), np.uint8), ""
    for path, image in images(files):
        if not first:
            first, size = path, _size(path, image, image_size)
            if (needed := len(files) * 3 * size**2) > _MAX_BYTES:
                raise MetaprobeError(
                    f"{len(files):,} images of {size}×{size} in {where} would take {needed / 2**30:.1f} GiB; at most "
                    f"{_MAX_BYTES >> 30} are loaded. Pass a smaller --image-size."
                )
            pixels = np.empty((len(files), 3, size, size), np.uint8)
        pixels[place_of[path]] = _square(path, image, pixels.shape[2], image_size, first).transpose(2, 0, 1)
    if (pixels[:, 0] == pixels[:, 1]).all() and (pixels[:, 0] == pixels[:, 2]).all():
        pixels = np.ascontiguousarray(pixels[:, :1])
    return ImageSet(
        name,
        pixels,
        np.repeat(np.arange(len(classes)), [len(one.files) for one in classes]),
        tuple(one.name for one in classes),
        tuple(one.group for one in classes),
        tuple(one.split for one in classes),
    )


def _size(path: str, image: Image.Image, image_size: int | None) -> int:
    if not image_size and image.width != image.height:
        raise UnreadableInput(f"image {path} is {image.width}×{image.height}, not square; pass --image-size SIZE.")
    return image_size or image.width


def _square(
    path: str, image: Image.Image, size: int, image_size: int | None, first: str
) -> UInt8[np.ndarray, "size size 3"]:
    if not image_size and image.size != (size, size):
        raise UnreadableInput(
            f"images differ in size: {first} is {size}×{size}, {path} is {image.width}×{image.height}; "
            "pass --image-size SIZE to bring them to one."
        )
    return square(image, size)
