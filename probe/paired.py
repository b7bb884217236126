"""Two arrays of features of the same samples, checked before anything is computed from them."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["checked_pair", "matched_pair", "refuse_unfinite"]


def checked_pair(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y as floating numpy matrices (sample, feature), or say what is wrong with them.

    Raises:
        ValueError: as `matched_pair`; or NaN or infinite entries.
    """
    a, b = matched_pair(x, y)
    refuse_unfinite(a, "x")
    refuse_unfinite(b, "y")
    return a, b


def matched_pair(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y as floating numpy matrices (sample, feature), without a look at their entries.

    Raises:
        ValueError: not two-dimensional, not floating, no features, unequal numbers of rows.
    """
    a, b = _matrix(x, "x"), _matrix(y, "y")
    if len(a) != len(b):
        raise ValueError(
            f"x and y must hold the same samples in their rows, got {len(a)} rows in x {a.shape} and {len(b)} in y "
            f"{b.shape}; is one of them transposed?"
        )
    return a, b


def _matrix(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] == 0:
        raise ValueError(
            f"{name}: expected a matrix (samples, features) with at least one feature, got shape {array.shape}"
        )
    if array.dtype.kind != "f":
        raise ValueError(f"{name}: expected float16, float32 or float64, got {array.dtype}; convert it first")
    return array


def refuse_unfinite(array: np.ndarray, name: str) -> None:
    """Refuse NaN and infinite entries.

    Raises:
        ValueError: there are some; says how many and where the first is.
    """
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        row, column = (int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(
            f"{name}: {bad} of {array.size} entries are NaN or infinite, the first at row {row}, column {column}; a "
            "similarity of such activations has no meaning, find out where they arise"
        )
