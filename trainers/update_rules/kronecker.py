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
    """(task, …) → (task, m, slice, n), slices as in `sides`: products along n and m are then one a task."""
    if gradient.dim() > 3:
        return gradient.flatten(3).permute(0, 3, 1, 2)
    _, n, m = sides(gradient.shape[1:])
    return gradient.reshape(-1, n, m).transpose(1, 2).unsqueeze(2)


def from_slices(slices: Tensor, shape: Sequence[int]) -> Tensor:
    """Undo `as_slices`; `shape` is that of the gradient, without the task."""
    if len(shape) > 2:
        return slices.permute(0, 2, 3, 1).unflatten(3, tuple(shape[2:]))
    return slices.squeeze(2).transpose(1, 2).reshape(-1, *shape)


def left(slices: Tensor, matrix: Tensor) -> Tensor:
    """Return M G of each slice G, for M (task or 1, n, n)."""
    return (slices.flatten(1, 2) @ matrix.mT).view(slices.shape)


def right(slices: Tensor, matrix: Tensor) -> Tensor:
    """Return G M of each slice G, for M (task or 1, m, m)."""
    if matrix.shape[-1] == 1:
        return slices * matrix.unsqueeze(1)
    return (matrix.mT @ slices.flatten(2)).view(slices.shape)


def left_squared(slices: Tensor, factor: Tensor) -> Tensor:
    """Return (LᵀL) G of each slice G, in the order that takes fewer operations."""
    if slices.shape[1] * slices.shape[2] < factor.shape[-1]:
        return left(left(slices, factor), factor.mT)
    return left(slices, factor.mT @ factor)


def right_squared(slices: Tensor, factor: Tensor) -> Tensor:
    """Return G (RᵀR) of each slice G, in the order that takes fewer operations."""
    if factor.shape[-1] == 1:
        return slices * factor.square().unsqueeze(1)
    if slices.shape[2] * slices.shape[3] < factor.shape[-1]:
        return right(right(slices, factor.mT), factor)
    return right(slices, factor.mT @ factor)
