"""The embedded set: characters of many scripts, each drawn in the faces inside matplotlib. Nothing is downloaded.

A class is a character, a group is its script, and whole scripts are held out: a learner is validated and tested on
ways of writing that it has not met. Each of a class's 20 pictures shows another face (regular, bold, oblique, serif,
mono …; they come round where a character has fewer than 20) after a small affine map.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from metaprobe.trainers.tasks.cache import cached_imageset, listing_key
from metaprobe.trainers.tasks.embedded import resized
from metaprobe.trainers.tasks.fonts import draw, faces, fonts_hash
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

if TYPE_CHECKING:
    from metaprobe.trainers.tasks.fonts import Face, Shape

__all__ = ["IMAGES_PER_CLASS", "SCRIPTS", "Script", "load_glyphs", "make_glyphs"]

IMAGES_PER_CLASS = 20
_SIZE = 28
_VERSION = 1  # of the pictures; part of the cache key and of every picture's seed
_FEWEST_FACES = 4
_ALIKE = 0.9  # normalised correlation from which two shapes are one
_THINNEST = 0.1  # breadth over length; below, only a line of some thickness is left to see
_REGULAR, _BOLD = range(4), range(4, 8)  # places of upright faces in `fonts.FACES`; what shapes are compared in
_MAX_TURN, _MAX_SHEAR, _MAX_SHIFT = np.deg2rad(12), 0.15, 2.0  # radians, ratio, pixels
_LENGTHS = (17.0, 22.0)  # of the longer side, pixels
_MARGIN = 1.0  # pixels kept free of ink on each side


@dataclass(frozen=True)
class Script:
    """A group of characters and the split that it belongs to, whole.

    Attributes:
        name: what the group is called.
        split: "train", "val" or "test".
        prefix: how the Unicode names of its characters begin.
        categories: the Unicode categories that its characters are of.
        blocks: first and last code points that its characters lie between; empty for anywhere.
    """

    name: str
    split: str
    prefix: str = ""
    categories: frozenset[str] = frozenset({"Lu", "Ll", "Lo"})
    blocks: tuple[tuple[int, int], ...] = ()

    def holds(self, code: int) -> bool:
        """Say whether a character belongs to the script; composed and compatibility forms belong to none."""
        character = chr(code)
        inside = not self.blocks or any(first <= code <= last for first, last in self.blocks)
        return (
            inside
            and unicodedata.category(character) in self.categories
            and unicodedata.name(character, "").startswith(self.prefix)
            and not unicodedata.decomposition(character)
        )


_SYMBOLS = frozenset({"Sm", "So"})
_ARROWS = ((0x2190, 0x21FF), (0x27F0, 0x27FF), (0x2900, 0x297F), (0x2B00, 0x2B4F))
_OPERATORS = ((0x2200, 0x22FF), (0x27C0, 0x27EF), (0x2980, 0x29FF), (0x2A00, 0x2AFF))

SCRIPTS = (  # of two characters of one shape, that of the earlier script is kept
    Script("digits", "train", "DIGIT ", frozenset({"Nd"})),
    Script("latin", "train", "LATIN "),
    Script("greek", "train", "GREEK "),
    Script("cyrillic", "train", "CYRILLIC "),
    Script("coptic", "train", "COPTIC "),
    Script("canadian syllabics", "train", "CANADIAN SYLLABICS "),
    Script("operators", "train", categories=_SYMBOLS, blocks=_OPERATORS),
    Script("arrows", "train", categories=_SYMBOLS, blocks=_ARROWS),
    Script("armenian", "val", "ARMENIAN "),
    Script("arabic", "val", "ARABIC "),
    Script("lao", "val", "LAO "),
    Script("georgian", "test", "GEORGIAN "),
    Script("hebrew", "test", "HEBREW "),
    Script("old italic", "test", "OLD ITALIC "),
)


@dataclass(frozen=True, eq=False)
class _Character:
    code: int
    script: Script
    places: tuple[int, ...]  # of the faces that have it, in `fonts.FACES`
    shapes: tuple[Shape, ...]  # its shape in each of those
    references: tuple[Shape, Shape, Shape]  # its first two regular shapes and its first bold one

    @property
    def name(self) -> str:
        return f"{self.script.name}/{unicodedata.name(chr(self.code)).removeprefix(self.script.prefix).lower()}"


def load_glyphs(request: DataRequest) -> ImageSet:
    """Return the embedded set, from the cache or made anew in some seconds.

    Raises:
        MetaprobeError: for an image size at which the set would not fit in memory.
        UnreadableInput: where matplotlib's installation lacks a font file.
    """
    import matplotlib

    key = listing_key([], _VERSION, fonts_hash(faces()), matplotlib.__version__, unicodedata.unidata_version)
    return resized(cached_imageset(f"glyphs-v{_VERSION}", key, make_glyphs), request.image_size)


def make_glyphs() -> ImageSet:
    """Draw the embedded set: the same bytes on every call.

    Raises:
        UnreadableInput: where matplotlib's installation lacks a font file.
    """
    candidates = _candidates(faces())
    near = _near(candidates)
    kept: list[int] = []
    for index in range(len(candidates)):
        if not near[index, kept].any():
            kept.append(index)
    chosen = [candidates[index] for index in kept]
    return ImageSet(
        "glyphs",
        np.concatenate([_pictures(character) for character in chosen])[:, None],
        np.repeat(np.arange(len(chosen)), IMAGES_PER_CLASS),
        tuple(character.name for character in chosen),
        tuple(character.script.name for character in chosen),
        tuple(character.script.split for character in chosen),
    )


def _candidates(of: Sequence[Face]) -> list[_Character]:
    """Every character of a script that enough faces really draw, in the order of scripts, then of code points."""
    codes = sorted(frozenset().union(*(face.characters for face in of)))
    found = []
    for script in SCRIPTS:
        for code in filter(script.holds, codes):
            having = [(place, face) for place, face in enumerate(of) if code in face.characters]
            if len(having) < _FEWEST_FACES:
                continue
            drawn = [(place, shape) for place, face in having if (shape := face.shape(code)) is not None]
            regular = [shape for place, shape in drawn if place in _REGULAR]
            bold = [shape for place, shape in drawn if place in _BOLD]
            if len(drawn) == len(having) and regular and _breadth(regular[0]) > _THINNEST:
                references = (regular[0], regular[min(1, len(regular) - 1)], (bold or regular)[0])
                places, shapes = zip(*drawn, strict=True)
                found.append(_Character(code, script, places, shapes, references))
    return found


def _breadth(shape: Shape) -> float:
    """The shorter side of a shape's box, whose longer is 1."""
    return float(np.ptp(shape.points, axis=0).min())


def _near(characters: Sequence[_Character]) -> Bool[np.ndarray, "character character"]:
    """Which pairs look alike in some face that has both, or in some of the references of the one and of the other.

    Regular is compared to bold, since a small letter is often its capital with thicker strokes.
    """
    near = np.zeros((len(characters), len(characters)), bool)
    for place in sorted({place for character in characters for place in character.places}):
        having = [index for index, character in enumerate(characters) if place in character.places]
        ink = _ink([characters[index].shapes[characters[index].places.index(place)] for index in having])
        near[np.ix_(having, having)] |= _alike(ink, ink)
    inks = [_ink([character.references[which] for character in characters]) for which in range(3)]
    for one, other in combinations_with_replacement(inks, 2):
        near |= _alike(one, other)
    return near | near.T


def _ink(shapes: Sequence[Shape]) -> Float32[np.ndarray, "shape pixel"]:
    """Shapes drawn to one length, in six bits a pixel.

    Products and sums of 784 such stay below 2²⁴, exact in float32 whatever the order of adding, so that no machine,
    thread count or BLAS decides otherwise at the border.
    """
    fit = np.repeat(np.diag([22.0, 22.0, 1.0])[None], len(shapes), 0)
    return (draw(shapes, fit, _SIZE).reshape(len(shapes), -1) >> 2).astype(np.float32)


def _alike(one: Float32[np.ndarray, "a pixel"], other: Float32[np.ndarray, "b pixel"]) -> Bool[np.ndarray, "a b"]:
    """Whether the normalised correlation is at least 0.9, for each of one with each of the other."""
    pixels = one.shape[1]
    sums = [ink.sum(1, dtype=np.float64) for ink in (one, other)]
    spreads = [
        np.sqrt(pixels * np.square(ink).sum(1, dtype=np.float64) - total**2)
        for ink, total in zip((one, other), sums, strict=True)
    ]
    covariance = pixels * (one @ other.T).astype(np.float64) - np.outer(*sums)
    return covariance >= _ALIKE * np.outer(*spreads)


def _pictures(character: _Character) -> UInt8[np.ndarray, "image size size"]:
    shapes = [character.shapes[image % len(character.shapes)] for image in range(IMAGES_PER_CLASS)]
    return draw(shapes, _small_affines(shapes, character.code), _SIZE)


def _small_affines(shapes: Sequence[Shape], code: int) -> Float64[np.ndarray, "image 3 3"]:
    """Turn, shear, scale and shift shapes a little, never past the margin, as the character's code alone decides."""
    draws = np.random.default_rng([_VERSION, code]).random((len(shapes), 5))
    turn, shear = ((2 * draws[:, :2] - 1) * (_MAX_TURN, _MAX_SHEAR)).T
    length = _LENGTHS[0] + (_LENGTHS[1] - _LENGTHS[0]) * draws[:, 2]
    cos, sin = np.cos(turn), np.sin(turn)
    columns = np.stack([cos, shear * cos - sin, sin, shear * sin + cos], axis=1)  # rotation · shear, row by row
    linear = (length[:, None] * columns).reshape(-1, 2, 2)
    moved = [shape.points @ one.T for shape, one in zip(shapes, linear, strict=True)]
    low, high = np.stack([points.min(0) for points in moved]), np.stack([points.max(0) for points in moved])
    extent = high - low
    shrink = np.minimum(1.0, (_SIZE - 2 * _MARGIN) / extent.max(1))[:, None]
    slack = np.minimum(_MAX_SHIFT, (_SIZE - 2 * _MARGIN - shrink * extent) / 2)
    maps = np.zeros((len(shapes), 3, 3))
    maps[:, :2, :2] = shrink[:, :, None] * linear
    maps[:, :2, 2] = (2 * draws[:, 3:] - 1) * slack - shrink * (low + high) / 2
    maps[:, 2, 2] = 1
    return maps
