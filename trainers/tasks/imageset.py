"""ImageSet: labelled images in memory, the one form in which every data set reaches the episode sampler."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int64, UInt8

from metaprobe.trainers.config import Colour
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["SPLITS", "ImageSet", "is_plain"]

SPLITS = ("train", "val", "test")
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def is_plain(name: object) -> bool:
    """Return whether a name is text that any file can hold: no control characters, no parts of characters.

    Those parts, lone surrogates, are what Python makes of names of files that are not UTF-8.
    """
    return isinstance(name, str) and _NOT_PLAIN.search(name) is None


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images with a class each; classes with a name, a group and a split each.

    Splits are of classes, not of images: a class that is met in training is never met in validation or testing.
    A group is what the classes of one source have in common (alphabet, script, superclass); it is the ground truth
    for looking at how tasks cluster.

    Attributes:
        name: what the set is called in checkpoints and reports.
        images: pixels 0…255, (image, channel, height, width), C-contiguous, height = width.
        class_of: class id of each image, 0 … len(class_names) - 1, (image,).
        class_names: a unique name for each class.
        groups: the group of each class.
        splits: "train", "val" or "test" for each class.
        domains: the domain of each class, where the set mixes several; a task takes all its classes from one. Empty for
            a set of one domain.

    Raises:
        MetaprobeError: where the parts do not fit together; the message names the part, what was expected and got.
    """

    name: str
    images: UInt8[np.ndarray, "image channel height width"]
    class_of: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]
    groups: tuple[str, ...]
    splits: tuple[str, ...]
    domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_images()
        self._check_classes()

    def _check_images(self) -> None:
        images, class_of = self.images, self.class_of
        if images.dtype != np.uint8 or images.ndim != 4:
            raise self._misfit("images", "uint8 (image, channel, height, width)", f"{images.dtype} {images.shape}")
        if images.shape[2] != images.shape[3] or 0 in images.shape:
            raise self._misfit("images", "at least one, with height = width", f"shape {images.shape}")
        if not images.flags.c_contiguous:
            raise self._misfit("images", "a C-contiguous array", "a strided view; pass np.ascontiguousarray(images)")
        if class_of.dtype != np.int64 or class_of.shape != images.shape[:1]:
            expected = f"int64 ({len(images)},), one class id an image"
            raise self._misfit("class_of", expected, f"{class_of.dtype} {class_of.shape}")

    def _check_classes(self) -> None:
        n_classes = len(self.class_names)
        named = {"name": (self.name,), "class_names": self.class_names, "groups": self.groups, "domains": self.domains}
        for part, values in named.items():
            if strange := [value for value in values if not is_plain(value)]:
                raise self._misfit(part, "text without control characters", repr(strange[0]))
        for part, values in (("groups", self.groups), ("splits", self.splits), ("domains", self.domains)):
            if len(values) != n_classes and not (part == "domains" and not values):
                raise self._misfit(part, f"{n_classes}, one a class name", str(len(values)))
        if len(set(self.class_names)) != n_classes:
            seen: set[str] = set()
            twice = next(name for name in self.class_names if name in seen or seen.add(name))
            raise self._misfit("class_names", "each name once", f"{twice!r} twice")
        if strange := sorted(set(self.splits) - set(SPLITS)):
            raise self._misfit("splits", f"only {', '.join(SPLITS)}", repr(strange[0]))
        least, most = int(self.class_of.min()), int(self.class_of.max())
        if least < 0 or most >= n_classes:  # before they are counted, which takes room for every id up to the largest
            raise self._misfit("class_of", f"class ids 0 … {n_classes - 1}", f"{least} … {most}")
        counts = np.bincount(self.class_of, minlength=n_classes)
        if not counts.all():
            empty = self.class_names[int(np.argmin(counts))]
            raise self._misfit("class_of", "an image for every class", f"none for {empty!r}")

    def _misfit(self, part: str, expected: str, got: str) -> MetaprobeError:
        return MetaprobeError(f"image set {self.name!r}: {part}: expected {expected}; got {got}.")

    def __repr__(self) -> str:
        return f"ImageSet({self.name!r}, images {self.images.shape}, {len(self.class_names)} classes)"

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """The number of colour channels: 1 for grey, 3 for RGB."""
        return self.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height = width of an image, in pixels."""
        return self.images.shape[2]

    @property
    def domain_names(self) -> tuple[str, ...]:
        """The domains in the order of their first class; the set's own name where it has but one."""
        return tuple(dict.fromkeys(self.domains)) or (self.name,)

    def in_colour(self, colour: Colour) -> ImageSet:
        """Return the set in grey (ITU-R BT.601 luma, rounded) or in RGB (grey three times); itself where it is so.

        Raises:
            MetaprobeError: it is neither grey nor RGB.
        """
        if self.channels not in (1, 3):
            raise self._misfit("images", "1 channel (grey) or 3 (RGB) to change their colour", f"{self.channels}")
        if (self.channels == 1) == (colour == "grey"):
            return self
        if colour == "rgb":
            return dataclasses.replace(self, images=np.repeat(self.images, 3, axis=1))
        images = np.empty((len(self.images), 1, *self.images.shape[2:]), np.uint8)
        for first in range(0, len(images), 1024):  # sums take four times the room of the pixels
            part = self.images[first : first + 1024]
            sums = np.einsum("nchw,c->nhw", part, np.array([299, 587, 114], np.int32), dtype=np.int32)
            images[first : first + 1024, 0] = (sums + 500) // 1000
        return dataclasses.replace(self, images=images)

    def classes_of(self, split: str) -> Int64[np.ndarray, " class"]:
        """Return the ids of the classes of a split, ascending; none is an empty array.

        Raises:
            MetaprobeError: for a split that is not "train", "val" or "test".
        """
        if split not in SPLITS:
            raise MetaprobeError(f"unknown split {split!r}; expected one of {', '.join(SPLITS)}.")
        return np.array([i for i, own in enumerate(self.splits) if own == split], dtype=np.int64)

    def images_of(self, class_id: int) -> Int64[np.ndarray, " image"]:
        """Return the ids of the images of a class, ascending.

        Raises:
            MetaprobeError: for an id outside 0 … number of classes - 1.
        """
        if not 0 <= class_id < len(self.class_names):
            raise MetaprobeError(
                f"image set {self.name!r} has no class {class_id}; its ids are 0 … {len(self.class_names) - 1}."
            )
        return self._members[class_id]

    @cached_property
    def _members(self) -> list[Int64[np.ndarray, " image"]]:
        order = np.argsort(self.class_of, kind="stable").astype(np.int64)
        ends = np.cumsum(np.bincount(self.class_of, minlength=len(self.class_names)))
        return np.split(order, ends[:-1])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over name, classes, groups, splits, domains and every pixel, as 64 hexadecimal digits."""
        head = [self.name, list(self.images.shape), self.class_names, self.groups, self.splits]
        head += [self.domains] if self.domains else []
        digest = hashlib.sha256(json.dumps(head).encode())
        digest.update(self.class_of.astype("<i8").tobytes())
        digest.update(self.images.data)
        return digest.hexdigest()
