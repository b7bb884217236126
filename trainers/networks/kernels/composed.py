"""Norm, ReLU and max-pool, and both their derivatives, of torch's operations: for GPUs, and for compilers to follow.

With n samples × positions of context, x̂ = (x − μ)r, r = 1/√(σ² + ε), 1_c the context's indicator and g = ∂out where
out > 0, slope·∂out elsewhere, brought back to x's resolution, the derivatives are

    ∂bias = Σ g    ∂weight = Σ g x̂    ∂x = r weight (g − 1_c (∂bias + x̂ ∂weight)/n)

and those of <u, ∂x> + <v, ∂weight> + <w, ∂bias>, with U₁ = Σ_c u, U₂ = Σ_c u x̂ and
q = r(Σ u g − (U₁ ∂bias + U₂ ∂weight)/n), are

    by g:       r weight (u − (U₁ + x̂ U₂)/n) + v x̂ + w
    by weight:  q
    by x:       a g + 1_c (b u − (a ∂bias + b U₁)/n − x̂ (a ∂weight + b U₂ + r weight q)/n),
                a = r (v − r weight U₂/n),  b = −r² weight ∂weight/n
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaprobe.trainers.networks.kernels.maps import Maps, PerChannel, channels_last

__all__ = ["backward", "forward", "twice"]

_POOL = ([2, 2], [2, 2], [0, 0], [1, 1], False)  # window, stride, padding, dilation, ceil mode
_aten = torch.ops.aten


def forward(
    x: Maps, weight: PerChannel, bias: PerChannel, context: int, pools: bool, epsilon: float, slope: float
) -> tuple[Maps, tuple[Tensor | None, ...]]:
    """Return out, and what the derivatives need: μ, r, out, and where each window had its maximum."""
    out, mean, inverse = torch.native_batch_norm(x[:context], weight, bias, None, None, True, 0.0, epsilon)
    if context < x.shape[0]:
        scale = weight * inverse
        out = torch.addcmul(_wide(bias - mean * scale), _wide(scale), x)
    where = None
    if pools:
        out, where = _aten.max_pool2d_with_indices(out, *_POOL)
    out = _aten.leaky_relu_(out, slope) if slope else out.relu_()
    return out, (mean, inverse, out, where)


def backward(
    grad: Maps, x: Maps, weight: PerChannel, mean: PerChannel, inverse: PerChannel, out: Maps, where: Tensor | None,
    context: int, slope: float,
) -> tuple[Maps, PerChannel, PerChannel]:  # fmt: skip
    """Return ∂x, ∂weight and ∂bias."""
    g = _spread(_through_relu(grad, out, slope), x, where)
    by_weight, by_bias = _sums(g, x, mean, inverse)
    n = context * x[0, 0].numel()
    scale = weight * inverse
    rise = -scale * inverse * by_weight / n
    by_x = _wide(scale) * g
    _add_line(by_x[:context], -scale * by_bias / n - rise * mean, rise, x[:context])
    return by_x, by_weight, by_bias


def twice(
    u: Maps, v: PerChannel, w: PerChannel,
    grad: Maps, x: Maps, weight: PerChannel, mean: PerChannel, inverse: PerChannel, out: Maps, where: Tensor | None,
    by_weight: PerChannel, by_bias: PerChannel, context: int, slope: float,
) -> tuple[Maps, Maps, PerChannel]:  # fmt: skip
    """Return the derivatives of <u, ∂x> + <v, ∂weight> + <w, ∂bias> by ∂out, x and weight."""
    g = _spread(_through_relu(grad, out, slope), x, where)
    n = context * x[0, 0].numel()
    second, first = _sums(u[:context], x[:context], mean, inverse)
    scale = weight * inverse
    q = inverse * ((u * g).sum((0, 2, 3)) - (first * by_bias + second * by_weight) / n)
    a, b = inverse * (v - scale * second / n), -inverse * scale * by_weight / n
    by_g = torch.addcmul(_wide(w - scale * first / n - a * mean), _wide(a), x).addcmul_(_wide(scale), u)
    by_out = _through_relu(_pick(by_g, where), out, slope)
    rise = -inverse * (a * by_weight + b * second + scale * q) / n
    by_x = _wide(a) * g
    _add_line(by_x[:context], -(a * by_bias + b * first) / n - rise * mean, rise, x[:context])
    by_x[:context].addcmul_(_wide(b), u[:context])
    return by_out, by_x, q


def _through_relu(grad: Maps, out: Maps, slope: float) -> Maps:
    """Return a gradient by what relu was given, from that by its output, whose sign is that of what it was given."""
    if not slope:
        return _aten.threshold_backward(grad, out, 0)
    return _aten.leaky_relu_backward(grad, out, slope, True)


def _wide(x: PerChannel) -> Tensor:
    return x.view(1, -1, 1, 1)


def _add_line(out: Maps, shift: PerChannel, rise: PerChannel, x: Maps) -> None:
    out.add_(_wide(shift)).addcmul_(_wide(rise), x)


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
    return channels_last(full.flatten(2).gather(2, where.flatten(2)).view_as(where))
