"""Products of a gradient with matrices along its axes. No torch on import."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["as_slices", "from_slices", "left", "left_squared", "right", "right_squared", "sides"]


def sides(shape: Sequence[int]) -> tuple[int, int, int]:
    """Return how a tensor falls into matrices, (slices, n, m): each slice is n × m.

    A linear weight (out, in) is one matrix, n = out, m = in; a vector one column, m = 1; of a convolution (out, in, …)
    every output channel is a slice, n = in, and m are the positions of its kernel.
    """
    if len(shape) <= 2:
        n, m = (*shape, 1, 1)[:2]
        return 1, n, m
    return shape[0], shape[1], math.prod(shape[2:])


def as_slices(gradient: Tensor) -> Tensor:
    """(task, …) → (task, slice, m, n): slices as in `sides`, transposed, as a convolution's gradient lies in memory."""
    if gradient.dim() > 3:
        return gradient.flatten(3).transpose(2, 3)
    _, n, m = sides(gradient.shape[1:])
    return gradient.reshape(-1, 1, n, m).transpose(2, 3)


def from_slices(slices: Tensor, shape: Sequence[int]) -> Tensor:
    """Undo `as_slices`; `shape` is that of the gradient, without the task."""
    if len(shape) > 2:
        return slices.unflatten(2, tuple(shape[2:])).movedim(-1, 2)  # no copy: channels stay last in memory
    return slices.transpose(2, 3).reshape(-1, *shape)


def left(slices: Tensor, matrix: Tensor) -> Tensor:
    """Return M G of each slice G, for M (task or 1, n, n)."""
    return (slices.flatten(1, 2) @ matrix.mT).view_as(slices)


def right(slices: Tensor, matrix: Tensor) -> Tensor:
    """Return G M of each slice G, for M (task or 1, m, m)."""
    if matrix.shape[-1] == 1:
        return slices * matrix.unsqueeze(1)
    across = slices.transpose(1, 2)  # (task, m, slice, n): one product a task, not one a slice
    return (matrix.mT @ across.flatten(2)).view(across.shape).transpose(1, 2)


def left_squared(slices: Tensor, factor: Tensor) -> Tensor:
    """Return (LᵀL) G of each slice G, in the order that takes fewer operations."""
    if slices.shape[1] * slices.shape[2] < factor.shape[-1]:
        return left(left(slices, factor), factor.mT)
    return left(slices, factor.mT @ factor)


def right_squared(slices: Tensor, factor: Tensor) -> Tensor:
    """Return G (RᵀR) of each slice G, in the order that takes fewer operations."""
    if slices.shape[1] * slices.shape[3] < factor.shape[-1]:
        return right(right(slices, factor.mT), factor)
    return right(slices, factor.mT @ factor)
