"""Which rows go into a sketch: by the identity of tasks, so that sketches of different networks line up.

Tasks share their picks in groups of `GROUP` neighbours of the sampler. Query image s of one task then has the same
positions in the sketch as image s of another, so that a null can exchange whole images, position by position
(`analyses.image_null`); were every task to pick for itself, hardly two images would have the same. It costs nothing:
the rows of a group are of different images, and a sketch has as many of them as before.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Int

__all__ = ["GROUP", "picked_rows", "rows_per_task", "sketch_rows"]

GROUP = 10
"""How many neighbouring tasks share their picks."""


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


def picked_rows(seed: int, index: int, available: int, count: int) -> Int[np.ndarray, " row"]:
    """Return the rows that a task gives, ascending; a pure function of the arguments.

    Neither the parameters nor the step has a say, so rows of pre and post and of two stores of the same tasks are the
    same samples at the same positions. A layer enters by its number of rows only: layers with equally many line up too.
    They are the first `count` of a random order that is the group's: tasks of a group that give unequal shares differ
    in the surplus rows alone.

    Args:
        seed: of the sketch.
        index: of the task, in its sampler.
        available: rows to choose among (samples × positions).
        count: how many, at most `available`.

    Returns:
        A read-only array.
    """
    return _picked(seed, index // GROUP, available, min(count, available))


@functools.lru_cache(maxsize=256)  # two counts a layer; every phase of every task of the group asks again
def _picked(seed: int, group: int, available: int, count: int) -> np.ndarray:
    if count == available:
        picked = np.arange(available)
    else:
        picked = np.sort(np.random.default_rng([seed, group, available]).permutation(available)[:count])
    picked.setflags(write=False)
    return picked
