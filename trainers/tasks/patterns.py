"""An embedded set of textures, computed from formulas. Nothing is downloaded.

A class is one texture: a family (gratings, checkers, cells …) with an orientation, a period, a tone and a form of its
own. A group is its family, and whole families are held out. Each of a class's 20 pictures shows another crop of it,
a little turned, sheared, stretched, lit otherwise, and under noise.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from metaprobe.trainers.tasks.embedded import SIZE, Family, Kind, Plane, averaged, kept_families, make_families, plane
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["FAMILIES", "load_patterns", "make_patterns"]

_VERSION = 1  # of the pictures; part of every picture's seed
_PERIODS = (5.0, 13.0)  # pixels
_MAX_TURN, _MAX_SHEAR, _MAX_STRETCH, _MAX_SHIFT = np.deg2rad(7), 0.08, 0.08, 2.0  # radians, ratio, ratio, pixels
_CONTRASTS = (0.5, 0.9)  # of a class
_MAX_GAIN, _MAX_LIGHT, _MAX_NOISE = 0.15, 0.08, 0.1  # of a picture; of its brightness 0 … 1

_Dice = Float64[np.ndarray, " 120"]


def _wave(x: Plane) -> Plane:
    """A sine of period 1 between 0 and 1."""
    return 0.5 + 0.5 * np.sin(2 * np.pi * x)


def _step(x: Plane, width: float = 0.1) -> Plane:
    """0 below zero and 1 above, with a ramp between them that keeps edges smooth."""
    return np.clip(0.5 + x / width, 0, 1)


def _cell(x: Plane) -> Plane:
    """Distance from the nearest whole number, with its sign: -0.5 … 0.5."""
    return x - np.rint(x)


def _gratings(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _step(_wave(u) - 0.25 - 0.5 * a, 0.2 + 1.5 * b)


def _plaids(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    across = 0.5 + a
    return (0.4 + 0.3 * b) * _wave(u) + (0.6 - 0.3 * b) * _wave(across * v + (0.5 - b) * u)


def _checkers(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _step(np.sin(np.pi * u) * np.sin(np.pi * v * (0.4 + 0.6 * a)) + 0.3 * (b - 0.5), 0.25)


def _dots(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    row = np.rint(v)
    return _step(0.18 + 0.25 * a - np.hypot(_cell(u + b * row), v - row), 0.15)


def _waves(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _step(_wave(u + (0.15 + 0.3 * a) * np.sin(2 * np.pi * v * (0.3 + 0.4 * b))) - 0.5, 0.8)


def _rings(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _wave(np.hypot(u - 2 * a + 1, (v - 2 * dice[0] + 1) * (0.5 + 0.5 * b)))


def _bricks(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    row = np.rint(v)
    along = (0.5 - np.abs(_cell((u + (0.2 + 0.3 * b) * row * 2) / (1 + a)))) * (1 + a)
    return _step(np.minimum(along, 0.5 - np.abs(v - row)) - 0.12, 0.15)


def _noise(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """A sum of cosines, all near one orientation (a small) or of any (a large), of a narrow or wide band (b)."""
    turns, rates, phases = dice[:72].reshape(3, -1)
    angles = np.pi * (0.1 + 0.9 * a) * (turns - 0.5)
    rates = 1 + (0.2 + 0.8 * b) * (rates - 0.5)
    total = np.zeros(u.shape)
    for angle, rate, phase in zip(angles, rates, phases, strict=True):
        total += np.cos(2 * np.pi * (rate * (np.cos(angle) * u + np.sin(angle) * v) + phase))
    return 0.5 + total / 10


def _seeds(dice: _Dice, jitter: float) -> Float64[np.ndarray, "seed 2"]:
    """Places of cells: whole numbers from -3 to 3, each moved by as much as `jitter`."""
    rows, columns = np.divmod(np.arange(49), 7)
    return np.stack([columns, rows], axis=1) - 3 + jitter * (2 * dice[:98].reshape(49, 2) - 1)


def _nearest(u: Plane, v: Plane, seeds: Float64[np.ndarray, "seed 2"]) -> tuple[Plane, Plane, Plane]:
    """Return distances from the nearest and the second nearest seed, and the number of the nearest."""
    first, second, which = np.full(u.shape, np.inf), np.full(u.shape, np.inf), np.zeros(u.shape, int)
    for place, (x, y) in enumerate(seeds):
        distance = (u - x) ** 2 + (v - y) ** 2
        which = np.where(distance < first, place, which)
        second = np.minimum(second, np.maximum(first, distance))
        first = np.minimum(first, distance)
    return np.sqrt(first), np.sqrt(second), which


def _cells(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    first, second, _ = _nearest(0.7 * u, 0.7 * v, _seeds(dice, 0.15 + 0.35 * a))
    return _step(second - first - 0.08 - 0.15 * b, 0.2)


def _mosaic(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    _, _, which = _nearest(0.7 * u, 0.7 * v * (0.6 + 0.4 * b), _seeds(dice, 0.1 + 0.4 * a))
    return dice[-49:][which]


def _chevrons(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _step(_wave(u + (0.5 + 1.5 * a) * np.abs(_cell(0.5 * v))) - 0.3 - 0.4 * b, 0.5)


def _honeycomb(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Cells of a hexagonal lattice, with edges of their own width; b stretches them."""
    x, y = u, v / (0.8 + 0.6 * b)
    tall = np.sqrt(3) * _cell(y / np.sqrt(3)), np.sqrt(3) * _cell(y / np.sqrt(3) + 0.5)
    wide = _cell(x), _cell(x + 0.5)
    edge = [np.maximum(np.abs(p), 0.5 * np.abs(p) + np.sqrt(0.75) * np.abs(q)) for p, q in zip(wide, tall, strict=True)]
    return _step(0.46 - 0.2 * a - np.minimum(*edge), 0.12)


def _marble(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    return _wave(0.7 * u + (0.5 + a) * (_noise(0.5 * u, 0.5 * v, 1, b, dice) - 0.5))


def _triangles(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    half, tall = 0.5 * v, np.sqrt(0.75) * u
    total = np.sin(2 * np.pi * v) + np.sin(2 * np.pi * (tall - half)) - np.sin(2 * np.pi * (tall + half))
    return _step(total + 2 * (a - 0.5), 0.4 + 2 * b)


def _scales(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    """Rows of discs, each row over half of the next."""
    row, radius = np.floor(2 * v) / 2, 0.5 + 0.12 * a
    near = np.hypot(_cell(u + row), v - row)
    under = np.hypot(_cell(u + row + 0.5), v - row + 0.5)
    depth = np.where(near < radius, near, under) / radius
    return _step(0.9 - depth, 0.15) * (1 - (0.2 + 0.8 * b) * depth)


def _spirals(u: Plane, v: Plane, a: float, b: float, dice: _Dice) -> Plane:
    u, v = u - a + 0.5, v - b + 0.5
    arms = 1 + int(4 * dice[0])
    turns = np.arctan2(v, u) / (2 * np.pi) * (arms if dice[1] < 0.5 else -arms)
    return _step(_wave(0.8 * np.hypot(u, v) + turns) - 0.5, 0.7)


FAMILIES = (
    Family("gratings", "train", _gratings),
    Family("plaids", "train", _plaids),
    Family("checkers", "train", _checkers),
    Family("dots", "train", _dots),
    Family("waves", "train", _waves),
    Family("rings", "train", _rings),
    Family("bricks", "train", _bricks),
    Family("noise", "train", _noise),
    Family("cells", "train", _cells),
    Family("chevrons", "val", _chevrons),
    Family("honeycombs", "val", _honeycomb),
    Family("marbles", "val", _marble),
    Family("triangles", "test", _triangles),
    Family("mosaics", "test", _mosaic),
    Family("scales", "test", _scales),
    Family("spirals", "test", _spirals),
)


def load_patterns(request: DataRequest) -> ImageSet:
    """Return the embedded set of textures; errors as `trainers.tasks.embedded.kept_families`."""
    return kept_families("patterns", _VERSION, make_patterns, request.image_size)


def make_patterns() -> ImageSet:
    """Draw the embedded set of textures: the same bytes on every call."""
    return make_families("patterns", _VERSION, FAMILIES, _pictures)


def _pictures(family: Family, kind: Kind) -> Plane:
    angle, period, tone, a, b = kind.traits
    draws = 2 * kind.draws(7 + SIZE * SIZE) - 1
    turn, shear, stretch, shift = draws[:, 0], draws[:, 1], draws[:, 2], draws[:, 3:5]
    pixels = _PERIODS[0] * (_PERIODS[1] / _PERIODS[0]) ** period
    u, v = plane(
        np.pi * angle + _MAX_TURN * turn,
        _MAX_SHEAR * shear,
        pixels * (1 + _MAX_STRETCH * stretch),
        _MAX_SHIFT * shift,
    )
    value = averaged(family.level(u + kind.dice[-1], v + kind.dice[-2], a, b, kind.dice)) - 0.5
    gain, light, noise = draws[:, 5, None, None], draws[:, 6, None, None], draws[:, 7:].reshape(-1, SIZE, SIZE)
    contrast = (_CONTRASTS[0] + (_CONTRASTS[1] - _CONTRASTS[0]) * tone) * (1 + _MAX_GAIN * gain)
    return 0.5 + contrast * value + _MAX_LIGHT * light + _MAX_NOISE * noise
