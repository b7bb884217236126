"""Batch norm, ReLU and max-pool as one operation, which autograd may differentiate twice."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks.kernels import composed, fused
from metaprobe.trainers.networks.kernels.compiling import loops_serve
from metaprobe.trainers.networks.kernels.maps import Maps, PerChannel, channels_last

__all__ = ["norm_relu"]


def norm_relu(
    x: Maps,
    weight: PerChannel,
    bias: PerChannel,
    n_context: int | None = None,
    pools: bool = False,
    epsilon: float = 1e-5,
    slope: float = 0.0,
) -> Maps:
    """Return relu(weight·(x − μ)/√(σ² + ε) + bias), and its maximum over 2×2 windows when `pools`.

    Batch norm (Ioffe & Szegedy 2015, Algorithm 1) by the statistics of the batch itself; relu and maximum commute, as
    relu never falls.

    Args:
        x: a convolution's output.
        weight: the norm's scale.
        bias: the norm's shift.
        n_context: take μ and σ² from the first `n_context` samples alone (default: from all).
        pools: whether a 2×2 max-pool follows.
        epsilon: ε.
        slope: of relu below 0, at least 0; there it is "leaky" where it is above.

    Raises:
        MetaprobeError: a third derivative is asked for.
    """
    context = x.shape[0] if n_context is None else n_context
    return _NormRelu.apply(channels_last(x), weight, bias, context, pools, epsilon, slope)  # pyright: ignore


def _passes(x: Tensor) -> ModuleType:
    """Return what computes: loops of our own on a CPU; elsewhere, and where a compiler looks on, torch's operations."""
    return fused if loops_serve(x) else composed


class _NormRelu(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, context: int, pools: bool, epsilon: float, slope: float
    ) -> Tensor:
        out, kept = _passes(x).forward(x, weight, bias, context, pools, epsilon, slope)
        ctx.save_for_backward(x, weight, *kept)
        ctx.options = context, slope
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = _NormReluBackward.apply(channels_last(grad), *ctx.saved_tensors, *ctx.options)  # pyright: ignore
        return *found, None, None, None, None  # pyright: ignore


class _NormReluBackward(Function):
    """(∂out, x, weight) → (∂x, ∂weight, ∂bias); `composed` has the equations."""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        found = _passes(x).backward(grad, x, weight, *rest)
        *kept, context, slope = rest
        ctx.options = context, slope
        ctx.save_for_backward(grad, x, weight, *kept, *found[1:])
        ctx.constant = (None,) * len(rest)  # what there are no derivatives by
        return found

    @staticmethod
    def backward(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():  # torch's own once_differentiable drops a third derivative in silence
            raise MetaprobeError(
                "batch norm with ReLU is differentiated twice here, not three times: take second derivatives without "
                "create_graph"
            )
        found = _passes(u).twice(channels_last(u), v, w, *ctx.saved_tensors, *ctx.options)
        return *found, *ctx.constant
