"""Which rows go into a sketch: by the identity of tasks, so that sketches of different networks line up."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

__all__ = ["picked_rows", "rows_per_task", "sketch_rows"]


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

    Args:
        seed: of the sketch.
        index: of the task, in its sampler.
        available: rows to choose among (samples × positions).
        count: how many, at most `available`.
    """
    if count == available:
        return np.arange(available)
    generator = np.random.default_rng([seed, index, available])
    return np.sort(generator.choice(available, count, replace=False, shuffle=False))
