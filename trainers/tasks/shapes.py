"""An embedded set of solid shapes, computed from formulas. Nothing is downloaded.

A class is one outline, whole or hollow: a family (blobs, stars, gears …) with numbers of its own. A group is its
family, and whole families are held out. Each of a class's 20 pictures shows it light on a dark ground, a little turned,
sheared, scaled, shifted and bent, and lit from another side.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float64

from metaprobe.trainers.tasks.embedded import Family, Kind, Plane, averaged, kept_families, make_families, plane
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["FAMILIES", "load_shapes", "make_shapes"]

_VERSION = 1  # of the pictures; part of every picture's seed
_RADII = (8.5, 11.0)  # pixels that the unit of the formulas takes
_MAX_TURN, _MAX_SHEAR, _MAX_SHIFT, _MAX_BEND = np.deg2rad(25), 0.2, 2.0, 0.06  # radians, ratio, pixels, units
_INK, _GROUND = (0.65, 1.0), (0.0, 0.2)  # brightness 0 … 1, of a picture
_MAX_SHADE = 0.2  # of the ink, from one side of the shape to the other
_HOLLOW = 0.3  # share of the classes of which only a band along the edges of the parts is filled
_BAND = 0.3  # its width, units
_EDGE = 0.12  # width of the ramp between ink and ground, units

_Dice = Float64[np.ndarray, " 120"]


def _polar(u: Plane, v: Plane) -> tuple[Plane, Plane]:
    return np.hypot(u, v), np.arctan2(v, u)


def _box(u: Plane, v: Plane, width: float, height: float) -> Plane:
    """How far inside a box centred on the origin, of half this width and height; negative outside."""
    return np.minimum(width - np.abs(u), height - np.abs(v))


def _blobs(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """r(φ) = mean + Fourier terms of orders 2 … 5."""
    r, angle = _polar(u, v)
    terms = (dice[n] * np.sin(n * angle + 2 * np.pi * dice[8 + n]) / (1 + 0.4 * n) for n in range(2, 6))
    return 0.8 + (0.35 + 0.3 * a) * sum(terms) - r


def _stars(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Straight edges from points at 1 to corners further in."""
    r, angle = _polar(u, v)
    half, inner = np.pi / (3 + int(6 * a)), 0.3 + 0.4 * b
    beside = np.abs(angle % (2 * half) - half)  # 0 towards a point, `half` towards a corner
    x, y = inner * np.cos(half) - 1, inner * np.sin(half)
    return ((1 - r * np.cos(beside)) * y + r * np.sin(beside) * x) / np.hypot(x, y)


def _gears(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    r, angle = _polar(u, v)
    teeth = np.clip(3 * np.sin((5 + int(8 * a)) * angle), -1, 1)
    return np.minimum(0.85 + (0.08 + 0.1 * b) * teeth - r, r - 0.5 * dice[0])


def _superellipses(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """|u/w|ᵉ + |v/h|ᵉ = 1, from pinched diamonds to near rectangles."""
    power, height = 0.7 * 8**a, 0.35 + 0.6 * b
    return height * (1 - (np.abs(u) ** power + np.abs(v / height) ** power) ** (1 / power))


def _flowers(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    r, angle = _polar(u, v)
    return 0.3 + 0.4 * b + (0.7 - 0.4 * b) * np.abs(np.cos((1.5 + 0.5 * int(5 * a)) * angle)) - r


def _crosses(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Two to four bars across one another, not all of one length."""
    bars = 2 + int(3 * a)
    turns = np.pi * (np.arange(bars) + 0.5 * dice[:bars]) / bars
    lengths = 0.6 + 0.45 * dice[8 : 8 + bars]
    along = [(np.cos(t) * u + np.sin(t) * v, np.cos(t) * v - np.sin(t) * u) for t in turns]
    return np.max([_box(*uv, length, 0.14 + 0.16 * b) for uv, length in zip(along, lengths, strict=True)], axis=0)


def _crescents(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    away = 0.3 + 0.6 * a
    return np.minimum(1 - np.hypot(u, v), np.hypot(u - away, v) - (0.35 + 0.5 * b))


def _polygons(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Convex, with three to six uneven sides."""
    sides = 3 + int(4 * a)
    turns = 2 * np.pi * (np.arange(sides) + 0.6 * b * dice[:sides]) / sides
    far = (0.55 + 0.55 * dice[8 : 8 + sides]) * np.cos(np.pi / sides)  # corners at about 1, whatever the sides
    return np.min([d - np.cos(t) * u - np.sin(t) * v for t, d in zip(turns, far, strict=True)], axis=0)


def _plates(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """A disc or a rectangle with one to three round holes."""
    plate = 1 - np.hypot(u, v) if dice[0] < 0.5 else _box(u, v, 0.9, 0.5 + 0.4 * dice[1])
    holes = 1 + int(3 * a)
    turns = 2 * np.pi * (np.arange(holes) / holes + dice[2])
    return np.min(
        [plate, *(np.hypot(u - 0.4 * np.cos(t), v - 0.4 * np.sin(t)) - 0.18 - 0.17 * b for t in turns)], axis=0
    )


def _arrows(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    neck, wide = 0.5 - 0.9 * a, 0.45 + 0.5 * dice[0]
    head = np.minimum(u - neck, (wide * (1 - u) / (1 - neck) - np.abs(v)) / np.hypot(1, wide / (1 - neck)))
    shaft = np.min([u + 1, neck + 0.2 - u, 0.12 + 0.3 * b - np.abs(v)], axis=0)
    return np.maximum(head, shaft)


def _lenses(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """What two discs share, with a corner or a flat side more than they have."""
    thick, radius = 0.25 + 0.5 * a, 1.1 + 0.6 * dice[0]
    discs = [radius - np.hypot(u, v + side * (radius - thick)) for side in (-1, 1)]
    return np.minimum(np.minimum(*discs), 1.1 - 0.9 * b - u * np.sign(dice[1] - 0.3))


def _pears(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Round below and drawn out above."""
    height = np.clip(v, -1, 1)
    neck = (0.5 - 0.5 * height) ** (0.4 + 1.6 * a)
    return (0.5 + 0.6 * b) * neck * np.sqrt(1 - height**2) - np.abs(u) - 2 * np.abs(v - height)


def _polyominoes(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Five or seven squares side by side, never all in one row or one rectangle."""
    cells = [(0, 0), (1, 0), (0, 1)]
    for die in dice[: 2 + 2 * int(2 * a)]:
        beside = {(x + dx, y + dy) for x, y in cells for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))}
        free = sorted(beside - set(cells), key=lambda cell: (max(map(abs, cell)), cell))
        cells.append(free[int(die * len(free))])
    low, high = np.min(cells, axis=0), np.max(cells, axis=0)
    side = 1.8 / max(2.6, *(high - low + 1))

    def boxes(of: Iterable[tuple[int, int]], half: float) -> list[Plane]:
        return [_box(u - x, v - y, half, half) for x, y in (np.array(list(of)) - (low + high) / 2) * side]

    within = np.max(boxes(cells, 0.501 * side), axis=0)
    around = {(x + dx, y + dy) for x, y in cells for dx in (-1, 0, 1) for dy in (-1, 0, 1)} - set(cells)
    return np.where(within > 0, -np.max(boxes(sorted(around), 0.499 * side), axis=0), within)


def _clouds(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Three to five discs about a centre, grown together."""
    discs = 3 + int(3 * a)
    turns = 2 * np.pi * (np.arange(discs) + 0.8 * dice[:discs]) / discs
    radii, far = 0.25 + 0.3 * dice[8 : 8 + discs], 0.45 + 0.2 * b
    places = zip(far * np.cos(turns), far * np.sin(turns), radii, strict=True)
    return np.max([0.3 - np.hypot(u, v), *(radius - np.hypot(u - x, v - y) for x, y, radius in places)], axis=0)


def _windmills(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Sails that grow along the angle and end at once."""
    r, angle = _polar(u, v)
    sails = (2 + int(5 * a)) * (1 if dice[0] < 0.5 else -1)
    return 0.25 + 0.3 * dice[1] + (0.7 - 0.3 * dice[1]) * (angle * sails / (2 * np.pi) % 1) ** (0.5 + 1.5 * b) - r


def _sectors(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """A disc or a ring without one to three wedges."""
    r, angle = _polar(u, v)
    wedges, open_part = 1 + int(3 * a), 3 * a % 1
    beside = np.abs((angle + np.pi / wedges) % (2 * np.pi / wedges) - np.pi / wedges)
    mouth = (0.15 + 0.55 * open_part) * np.pi / wedges
    return np.min([1 - r, r - 0.6 * b + 0.1, r * np.sin(np.minimum(beside - mouth, np.pi / 2))], axis=0)


FAMILIES = (
    Family("blobs", "train", _blobs),
    Family("stars", "train", _stars),
    Family("gears", "train", _gears),
    Family("superellipses", "train", _superellipses),
    Family("flowers", "train", _flowers),
    Family("crosses", "train", _crosses),
    Family("crescents", "train", _crescents),
    Family("polygons", "train", _polygons),
    Family("plates", "train", _plates),
    Family("arrows", "val", _arrows),
    Family("lenses", "val", _lenses),
    Family("pears", "val", _pears),
    Family("polyominoes", "test", _polyominoes),
    Family("clouds", "test", _clouds),
    Family("windmills", "test", _windmills),
    Family("sectors", "test", _sectors),
)


def load_shapes(request: DataRequest) -> ImageSet:
    """Return the embedded set of shapes; errors as `trainers.tasks.embedded.kept_families`."""
    return kept_families("shapes", _VERSION, make_shapes, request.image_size)


def make_shapes() -> ImageSet:
    """Draw the embedded set of shapes: the same bytes on every call."""
    return make_families("shapes", _VERSION, FAMILIES, _pictures)


def _pictures(family: Family, kind: Kind) -> Plane:
    angle, hollow, _, a, b = kind.traits
    draws = kind.draws(13)
    turn, shear, shift, bend, shade = ((2 * draws[:, part] - 1) for part in (0, 1, [2, 3], [4, 5], [6, 7]))
    scale = _RADII[0] + (_RADII[1] - _RADII[0]) * draws[:, 8]
    u, v = plane(2 * np.pi * angle + _MAX_TURN * turn, _MAX_SHEAR * shear, scale, _MAX_SHIFT * shift)
    phases = 2 * np.pi * draws[:, 9:11, None, None]
    bent_u = u + _MAX_BEND * bend[:, 0, None, None] * np.sin(3 * v + phases[:, 0])
    bent_v = v + _MAX_BEND * bend[:, 1, None, None] * np.sin(3 * u + phases[:, 1])
    inside = family.level(bent_u, bent_v, a, b, kind.dice)
    if hollow < _HOLLOW:
        inside = np.minimum(inside, _BAND - inside)
    light = 1 + _MAX_SHADE * (shade[:, 0, None, None] * u + shade[:, 1, None, None] * v)
    ink, ground = (low + (high - low) * draws[:, n, None, None] for n, (low, high) in ((11, _INK), (12, _GROUND)))
    return averaged(ground + (ink * light - ground) * np.clip(0.5 + inside / _EDGE, 0, 1))
