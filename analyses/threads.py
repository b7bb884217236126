"""Independent parts of an analysis on the cores of one machine, a thread each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import joblib

__all__ = ["cores", "side_by_side"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """Return how many threads may compute: the cores that the process may use, at most `OMP_NUM_THREADS`."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(joblib.cpu_count(), int(asked)) if asked.isdecimal() and int(asked) else joblib.cpu_count()


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield what `work` makes of each item, in their order; the same numbers whatever the number of threads.

    BLAS and LAPACK release Python's lock, so threads are enough; pin them to one thread each (`threadpool_limits`).
    """
    found: Any = joblib.Parallel(cores(), backend="threading", return_as="generator")(map(joblib.delayed(work), items))
    return iter(found)
