"""Convolution, forward and twice differentiated, with channels last in memory throughout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from metaprobe.trainers.networks.kernels.maps import Maps, channels_last

__all__ = ["convolve"]

_aten = torch.ops.aten


def convolve(x: Maps, weight: Tensor, stride: int, groups: int) -> Maps:
    """Convolve with padding 1 and without bias; both derivatives are native convolutions.

    Args:
        x: the input, channels last in memory for speed.
        weight: (filter, channel of a group, 3, 3).
        stride: of the window.
        groups: tasks that are folded into the channels.
    """
    return _Convolution.apply(channels_last(x), channels_last(weight), stride, groups)  # pyright: ignore


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = ([stride, stride], [1, 1], [1, 1], False, [0, 0], groups)
        return torch.conv2d(x, weight, None, stride, 1, 1, groups)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        by_x, by_weight = _ConvolutionBackward.apply(grad, *ctx.saved_tensors, ctx.shape, ctx.needs_input_grad[:2])  # pyright: ignore
        return by_x, by_weight, None, None


class _ConvolutionBackward(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, shape: tuple, needed: tuple) -> tuple:
        ctx.save_for_backward(grad, x, weight)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        return _aten.convolution_backward(channels_last(grad), x, weight, None, *shape, [*needed, False])[:2]

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Differentiate <u, ∂x> + <v, ∂weight>; both are linear in grad, x and weight, so all are convolutions."""
        grad, x, weight = ctx.saved_tensors
        stride, padding, dilation, _, _, groups = ctx.shape
        by_grad = by_x = by_weight = None
        if u is not None:
            u = channels_last(u)
            by_grad = torch.conv2d(u, weight, None, stride, padding, dilation, groups)
            by_weight = _aten.convolution_backward(grad, u, weight, None, *ctx.shape, [False, True, False])[1]
        if v is not None:
            through_v = torch.conv2d(x, v, None, stride, padding, dilation, groups)
            by_grad = through_v if by_grad is None else by_grad.add_(through_v)
            if ctx.needs_input_grad[1]:
                by_x = _aten.convolution_backward(grad, x, v, None, *ctx.shape, [True, False, False])[0]
        return by_grad, by_x, by_weight, None, None
