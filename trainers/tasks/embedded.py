"""What the embedded sets share: families of classes drawn from formulas, small affine maps, another image size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = [
    "IMAGES_PER_CLASS",
    "MEMBERS",
    "SIZE",
    "Family",
    "Kind",
    "averaged",
    "kept_families",
    "make_families",
    "plane",
    "resized",
]

SIZE = 28  # height = width of an embedded picture, pixels
IMAGES_PER_CLASS = 20
MEMBERS = 8  # classes of a family
_FINE = 2  # points looked at along each side of a pixel
_PLASTIC = 1.324717957244746  # root of x³ = x + 1: multiples of 1/x and 1/x² fill the square evenly
_STEPS = np.array([2**0.5, 3**0.5, 5**0.5, 1 / _PLASTIC, 1 / _PLASTIC**2])
_DICE = 120
_MAX_BYTES = 8 << 30  # of all resized images

Plane = Float64[np.ndarray, "image y x"]


@dataclass(frozen=True)
class Kind:
    """What one class is, by its number alone: no other class, and no order of drawing, has a say.

    Attributes:
        version: of the set's pictures.
        number: the class's place in the set.
    """

    version: int
    number: int

    @cached_property
    def traits(self) -> Float64[np.ndarray, " 5"]:
        """Five numbers in 0 … 1, each evenly spread over a family; so are the last two, its form, as a pair."""
        return (0.5 + self.number * _STEPS) % 1

    @cached_property
    def dice(self) -> Float64[np.ndarray, " 120"]:
        """Random numbers in 0 … 1 that all pictures of the class share."""
        return np.random.default_rng([self.version, self.number, IMAGES_PER_CLASS]).random(_DICE)

    def draws(self, count: int) -> Float64[np.ndarray, "image count"]:
        """Return random numbers in 0 … 1, of each picture its own."""
        seeds = ([self.version, self.number, image] for image in range(IMAGES_PER_CLASS))
        return np.stack([np.random.default_rng(seed).random(count) for seed in seeds])


@dataclass(frozen=True)
class Family:
    """A group of classes that share a formula, and the split that it belongs to, whole.

    Attributes:
        name: what the group is called.
        split: "train", "val" or "test".
        level: the formula: of points (u, v) of the plane, of two numbers in 0 … 1 and of the class's dice.
    """

    name: str
    split: str
    level: Callable[[Plane, Plane, float, float, Float64[np.ndarray, " 120"]], Plane]


def make_families(
    name: str,
    version: int,
    families: Sequence[Family],
    draw: Callable[[Family, Kind], Plane],
) -> ImageSet:
    """Draw a set of families: `MEMBERS` classes each, `IMAGES_PER_CLASS` pictures of SIZE×SIZE grey of a class.

    Args:
        name: what the set is called.
        version: of its pictures.
        families: in the order of the classes.
        draw: gives the brightness of a class's pictures, 0 … 1, clipped beyond.
    """
    owners = [family for family in families for _ in range(MEMBERS)]
    bright = [draw(family, Kind(version, number)) for number, family in enumerate(owners)]
    pixels = np.rint(255 * np.clip(np.concatenate(bright), 0, 1)).astype(np.uint8)
    return ImageSet(
        name,
        pixels[:, None],
        np.repeat(np.arange(len(owners)), IMAGES_PER_CLASS),
        tuple(f"{family.name}/{number % MEMBERS + 1}" for number, family in enumerate(owners)),
        tuple(family.name for family in owners),
        tuple(family.split for family in owners),
    )


def kept_families(name: str, version: int, make: Callable[[], ImageSet], size: int | None) -> ImageSet:
    """Return an embedded set, from the cache or made anew in some seconds.

    Args:
        name: what the set is called.
        version: of its pictures.
        make: draws it.
        size: of its pictures, in pixels; None for that which they are drawn in.

    Raises:
        MetaprobeError: for a size at which the set would not fit in memory.
    """
    return resized(cached_imageset(f"{name}-v{version}", listing_key([], version, np.__version__), make), size)


def plane(
    turn: Float64[np.ndarray, " image"],
    shear: Float64[np.ndarray, " image"],
    scale: Float64[np.ndarray, " image"],
    shift: Float64[np.ndarray, "image 2"],
) -> tuple[Plane, Plane]:
    """Return the points (x, y) that pictures show, several a pixel, in units of `scale` pixels from the centre.

    Args:
        turn: radians, anticlockwise.
        shear: ratio, before turning.
        scale: pixels that one unit takes.
        shift: pixels right and up.
    """
    places = (np.arange(SIZE * _FINE) + 0.5) / _FINE - SIZE / 2
    right = (places[None, None, :] - shift[:, :1, None]) / scale[:, None, None]
    up = (-places[None, :, None] - shift[:, 1:, None]) / scale[:, None, None]
    cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
    x, y = cos * right + sin * up, cos * up - sin * right
    return x - shear[:, None, None] * y, y


def averaged(fine: Plane) -> Plane:
    """Average the points of each pixel: (image, SIZE, SIZE)."""
    return fine.reshape(len(fine), SIZE, _FINE, SIZE, _FINE).mean((2, 4))


def resized(imageset: ImageSet, size: int | None) -> ImageSet:
    """Return a set at another size, with Pillow's LANCZOS filter (anti-aliased); itself where it has that size.

    Raises:
        MetaprobeError: where the images would not fit in memory.
    """
    if size is None or size == imageset.image_size:
        return imageset
    from PIL import Image

    from metaprobe.trainers.tasks.images import square

    images = imageset.images
    if (needed := images.shape[0] * images.shape[1] * size**2) > _MAX_BYTES:
        raise MetaprobeError(
            f"{len(images):,} images of {imageset.name} at {size}×{size} would take {needed / 2**30:.1f} GiB; at most "
            f"{_MAX_BYTES >> 30} are made. Pass a smaller --image-size."
        )
    made = np.empty((*images.shape[:2], size, size), np.uint8)
    for old, new in zip(images.reshape(-1, *images.shape[2:]), made.reshape(-1, size, size), strict=True):
        new[:] = square(Image.fromarray(old), size)
    return dataclasses.replace(imageset, images=made)
