"""Conjugate gradients for many tasks at once, each with a system of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    times: Callable[[Sequence[Tensor]], list[Tensor]], wanted: Sequence[Tensor], iterations: int
) -> list[Tensor]:
    """Return v with A v ≈ b of each task, from 0, for symmetric positive A (Hestenes & Stiefel 1952).

    Args:
        times: v → A v, tensors with a leading task axis; each task has an A of its own.
        wanted: b.
        iterations: at most; a task whose residual is one of rounding is left where it is.
    """

    def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return torch.stack([(one * other).flatten(1).sum(1) for one, other in zip(a, b, strict=True)]).sum(0)

    def plus(a: Sequence[Tensor], share: Tensor, b: Sequence[Tensor]) -> list[Tensor]:
        return [x + share.view(-1, *[1] * (x.dim() - 1)) * y for x, y in zip(a, b, strict=True)]

    v, rest, along = [torch.zeros_like(one) for one in wanted], list(wanted), list(wanted)
    square = dot(rest, rest)
    least = square * torch.finfo(square.dtype).eps ** 2
    for _ in range(iterations):
        going, turned = square > least, times(along)
        length = torch.where(going, square / dot(along, turned), 0)
        v, rest = plus(v, length, along), plus(rest, -length, turned)
        square, before = dot(rest, rest), square
        along = plus(rest, torch.where(going, square / before, 0), along)
    return v
