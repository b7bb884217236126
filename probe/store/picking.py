"""Which rows go into a sketch: by the identity of tasks, so that sketches of different networks line up.

A task keeps the same positions of all its images, so that a null can exchange whole images of a task, position by
position (`analyses.image_null`); and tasks share their picks in groups of `GROUP` neighbours, so that it can exchange
images of different tasks, too. The positions are the cells that hold points of one random sequence, the same for every
layer: the cell of a coarser map holds that of a finer one, so that rows of any two layers belong together
(`analyses.aligned`), and not only the few that two independent picks would have in common.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from jaxtyping import Int

__all__ = ["GROUP", "picked_rows", "rows_per_task", "sketch_rows"]

GROUP = 10
"""How many neighbouring tasks share their picks."""

_POINTS = 256  # drawn at once; the cells of a sequence do not depend on it


def rows_per_task(place: int, n_tasks: int, available: int, most: int) -> int:
    """Return how many rows the task in this place gives: an even share of `most`, at most what it has.

    Args:
        place: 0 … n_tasks − 1.
        n_tasks: size of the task set.
        available: rows of one task (samples × positions).
        most: rows of the whole sketch, if there are as many.
    """
    share = (place + 1) * most // n_tasks - place * most // n_tasks
    return min(share, available)


def sketch_rows(n_tasks: int, available: int, most: int) -> int:
    """Return the rows of a whole sketch, the sum of `rows_per_task` over the tasks."""
    return min(most, n_tasks * available)


def picked_rows(seed: int, index: int, samples: int, grid: tuple[int, ...], count: int) -> Int[np.ndarray, " row"]:
    """Return the rows that a task gives, ascending; a pure function of the arguments.

    Neither the parameters nor the step has a say, so rows of pre and post and of two stores of the same tasks are the
    same samples at the same positions. They are the first `count` of an order that is the group's: all images at the
    first position, then all at the second; tasks of a group that give unequal shares differ in the surplus rows alone.

    Args:
        seed: of the sketch.
        index: of the task, in its sampler.
        samples: query images of a task.
        grid: sizes of the layer's feature map; () for one row an image. Row sample·positions + position is meant.
        count: how many, at most there are.

    Returns:
        A read-only array.
    """
    return _picked(seed, index // GROUP, samples, grid, min(count, samples * math.prod(grid)))


@functools.lru_cache(maxsize=256)  # two counts a layer; every phase of every task of the group asks again
def _picked(seed: int, group: int, samples: int, grid: tuple[int, ...], count: int) -> np.ndarray:
    positions = math.prod(grid)
    if count == samples * positions:
        picked = np.arange(count)
        picked.setflags(write=False)
        return picked
    images = np.random.default_rng([seed, group, 0]).permutation(samples)
    cells = _cells(np.random.default_rng([seed, group, 1]), grid, -(-count // samples))
    picked = np.sort((images * positions + cells[:, None]).ravel()[:count])
    picked.setflags(write=False)
    return picked


def _cells(generator: np.random.Generator, grid: tuple[int, ...], count: int) -> Int[np.ndarray, " cell"]:
    """Return the first `count` cells of a grid that a sequence of uniform points in the unit cube falls into."""
    found = np.empty(0, dtype=np.int64)
    while len(found) < count:  # a grid without axes is one cell
        at = (generator.random((_POINTS, len(grid))) * grid).astype(np.int64)
        cells = np.ravel_multi_index(tuple(at.T), grid) if grid else np.zeros(1, dtype=np.int64)
        found = np.concatenate([found, cells])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:count]
