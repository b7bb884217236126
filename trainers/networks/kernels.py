"""The two operations that a few-shot network spends its time in, with their second derivatives written out.

torch differentiates its batch norm and its grouped convolution twice by formulas that were measured to take up to 40 %
of an iteration, and loses the channels-last layout on the way. Here the backward pass is a function of its own whose
derivative is the closed form, in few passes over memory.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["convolve", "norm_relu"]

Maps = Float[Tensor, "sample channel height width"]
PerChannel = Float[Tensor, " channel"]

_POOL = ([2, 2], [2, 2], [0, 0], [1, 1], False)  # window, stride, padding, dilation, ceil mode
_aten = torch.ops.aten


def convolve(x: Maps, weight: Tensor, stride: int, groups: int) -> Maps:
    """Convolve with padding 1 and without bias; both derivatives are native convolutions.

    Args:
        x: the input, channels last in memory for speed.
        weight: (filter, channel of a group, 3, 3).
        stride: of the window.
        groups: tasks that are folded into the channels.
    """
    return _Convolution.apply(_channels_last(x), _channels_last(weight), stride, groups)  # pyright: ignore


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
    return _NormRelu.apply(_channels_last(x), weight, bias, context, pools, epsilon, slope)  # pyright: ignore


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
        return _aten.convolution_backward(_channels_last(grad), x, weight, None, *shape, [*needed, False])[:2]

    @staticmethod
    def backward(ctx: Any, u: Tensor | None, v: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Differentiate <u, ∂x> + <v, ∂weight>; both are linear in grad, x and weight, so all are convolutions."""
        grad, x, weight = ctx.saved_tensors
        stride, padding, dilation, _, _, groups = ctx.shape
        by_grad = by_x = by_weight = None
        if u is not None:
            u = _channels_last(u)
            by_grad = torch.conv2d(u, weight, None, stride, padding, dilation, groups)
            by_weight = _aten.convolution_backward(grad, u, weight, None, *ctx.shape, [False, True, False])[1]
        if v is not None:
            through_v = torch.conv2d(x, v, None, stride, padding, dilation, groups)
            by_grad = through_v if by_grad is None else by_grad.add_(through_v)
            if ctx.needs_input_grad[1]:
                by_x = _aten.convolution_backward(grad, x, v, None, *ctx.shape, [True, False, False])[0]
        return by_grad, by_x, by_weight, None, None


class _NormRelu(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, context: int, pools: bool, epsilon: float, slope: float
    ) -> Tensor:
        out, mean, inverse = torch.native_batch_norm(x[:context], weight, bias, None, None, True, 0.0, epsilon)
        if context < x.shape[0]:
            scale = weight * inverse
            out = torch.addcmul(_wide(bias - mean * scale), _wide(scale), x)
        where = None
        if pools:
            out, where = _aten.max_pool2d_with_indices(out, *_POOL)
        out = _aten.leaky_relu_(out, slope) if slope else out.relu_()
        ctx.save_for_backward(x, weight, mean, inverse, out, where)
        ctx.context, ctx.slope = context, slope
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = _NormReluBackward.apply(grad, *ctx.saved_tensors, ctx.context, ctx.slope)  # pyright: ignore
        return *found, None, None, None, None  # pyright: ignore


class _NormReluBackward(Function):
    """(∂out, x, weight) → (∂x, ∂weight, ∂bias).

    With n samples × positions of context, x̂ = (x − μ)r, r = 1/√(σ² + ε), 1_c the context's indicator and
    g = ∂out where out > 0, slope·∂out elsewhere, brought back to x's resolution:

        ∂bias = Σ g    ∂weight = Σ g x̂    ∂x = r weight (g − 1_c (∂bias + x̂ ∂weight)/n)
    """

    @staticmethod
    def forward(
        ctx: Any, grad: Tensor, x: Tensor, weight: Tensor, mean: Tensor, inverse: Tensor, out: Tensor,
        where: Tensor | None, context: int, slope: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        masked = _through_relu(_channels_last(grad), out, slope)
        g = _spread(masked, x, where)
        by_weight, by_bias = _sums(g, x, mean, inverse)
        n = context * x[0, 0].numel()
        scale = weight * inverse
        rise = -scale * inverse * by_weight / n
        by_x = _wide(scale) * g
        _add_line(by_x[:context], -scale * by_bias / n - rise * mean, rise, x[:context])
        ctx.save_for_backward(masked, x, weight, mean, inverse, out, where, by_weight, by_bias)
        ctx.context, ctx.slope = context, slope
        return by_x, by_weight, by_bias

    @staticmethod
    def backward(ctx: Any, u: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Differentiate <u, ∂x> + <v, ∂weight> + <w, ∂bias> by ∂out, x and weight.

        With U₁ = Σ_c u, U₂ = Σ_c u x̂ and q = r(Σ u g − (U₁ ∂bias + U₂ ∂weight)/n):

            by g:       r weight (u − (U₁ + x̂ U₂)/n) + v x̂ + w
            by weight:  q
            by x:       a g + 1_c (b u − (a ∂bias + b U₁)/n − x̂ (a ∂weight + b U₂ + r weight q)/n),
                        a = r (v − r weight U₂/n),  b = −r² weight ∂weight/n
        """
        if torch.is_grad_enabled():  # torch's own once_differentiable drops a third derivative in silence
            raise MetaprobeError(
                "batch norm with ReLU is differentiated twice here, not three times: take second derivatives without "
                "create_graph"
            )
        masked, x, weight, mean, inverse, out, where, by_weight, by_bias = ctx.saved_tensors
        context = ctx.context
        n = context * x[0, 0].numel()
        u, g = _channels_last(u), _spread(masked, x, where)
        second, first = _sums(u[:context], x[:context], mean, inverse)
        scale = weight * inverse
        q = inverse * ((u * g).sum((0, 2, 3)) - (first * by_bias + second * by_weight) / n)

        slope = inverse * (v - scale * second / n)
        by_g = torch.addcmul(_wide(w - scale * first / n - slope * mean), _wide(slope), x).addcmul_(_wide(scale), u)
        by_out = _through_relu(_pick(by_g, where), out, ctx.slope)

        along_g, along_u = slope, -inverse * scale * by_weight / n
        slope = -inverse * (along_g * by_weight + along_u * second + scale * q) / n
        shift = -(along_g * by_bias + along_u * first) / n - slope * mean
        by_x = _wide(along_g) * g
        _add_line(by_x[:context], shift, slope, x[:context]).addcmul_(_wide(along_u), u[:context])
        return by_out, by_x, q, None, None, None, None, None, None


def _through_relu(grad: Maps, out: Maps, slope: float) -> Maps:
    """Return a gradient by what relu was given, from that by its output, whose sign is that of what it was given."""
    if not slope:
        return _aten.threshold_backward(grad, out, 0)
    return _aten.leaky_relu_backward(grad, out, slope, True)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _wide(x: PerChannel) -> Tensor:
    return x.view(1, -1, 1, 1)


def _add_line(out: Maps, shift: PerChannel, slope: PerChannel, x: Maps) -> Maps:
    return out.add_(_wide(shift)).addcmul_(_wide(slope), x)


def _sums(g: Maps, x: Maps, mean: PerChannel, inverse: PerChannel) -> tuple[PerChannel, PerChannel]:
    """Return Σ g x̂ and Σ g over samples and positions."""
    weight = inverse  # does not enter the sums, but without one CUDA gives none
    unread = 0.0  # ε: it is in the inverse already
    _, by_weight, by_bias = _aten.native_batch_norm_backward(
        g, x, weight, None, None, mean, inverse, True, unread, [False, True, True]
    )
    return by_weight, by_bias


def _spread(g: Maps, x: Maps, where: Tensor | None) -> Maps:
    """Put each pooled value where its window had the maximum, zeros elsewhere; without pooling, do nothing."""
    return g if where is None else _aten.max_pool2d_with_indices_backward(g, x, *_POOL, where)


def _pick(full: Maps, where: Tensor | None) -> Maps:
    """Read each window's value where it had the maximum; without pooling, everything."""
    if where is None:
        return full
    return _channels_last(full.flatten(2).gather(2, where.flatten(2)).view_as(where))
