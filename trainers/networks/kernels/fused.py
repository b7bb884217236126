"""Norm, ReLU and max-pool, and both their derivatives, as loops of our own: for CPUs; see `composed` for the equations.

The same functions as there but for what they keep, whose layouts in memory the loops rely on: (μ, r, shift, place).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metaprobe.trainers.networks.kernels import loops
from metaprobe.trainers.networks.kernels.compiling import arrays
from metaprobe.trainers.networks.kernels.maps import Maps, PerChannel

__all__ = ["backward", "forward", "twice"]


def forward(
    x: Maps, weight: PerChannel, bias: PerChannel, context: int, pools: bool, epsilon: float, slope: float
) -> tuple[Maps, tuple[Tensor | None, ...]]:
    """Return out, and what the derivatives need: μ, r, bias − r weight μ, and which of a window's four is in out."""
    samples, channels, height, width = x.shape
    shape = (samples, channels, height // 2, width // 2) if pools else x.shape
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    place = torch.empty_like(out, dtype=torch.uint8) if pools else None
    mean, inverse, shift = (torch.empty_like(bias) for _ in range(3))
    loops.forward(*arrays(x, weight, bias), context, epsilon, slope, *arrays(out, place, mean, inverse, shift))
    return out, (mean, inverse, shift, place)


def backward(
    grad: Maps, x: Maps, weight: PerChannel, mean: PerChannel, inverse: PerChannel, shift: PerChannel,
    place: Tensor | None, context: int, slope: float,
) -> tuple[Maps, PerChannel, PerChannel]:  # fmt: skip
    """Return ∂x, ∂weight and ∂bias."""
    found = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
    loops.backward(*arrays(grad, x, weight, mean, inverse, shift, place), context, slope, *arrays(*found))
    return found


def twice(
    u: Maps, v: PerChannel, w: PerChannel,
    grad: Maps, x: Maps, weight: PerChannel, mean: PerChannel, inverse: PerChannel, shift: PerChannel,
    place: Tensor | None, by_weight: PerChannel, by_bias: PerChannel, context: int, slope: float,
) -> tuple[Maps, Maps, PerChannel]:  # fmt: skip
    """Return the derivatives of <u, ∂x> + <v, ∂weight> + <w, ∂bias> by ∂out, x and weight."""
    found = torch.empty_like(grad), torch.empty_like(x), torch.empty_like(weight)
    given = arrays(u, v, w, grad, x, weight, mean, inverse, shift, place, by_weight, by_bias)
    loops.twice(*given, context, slope, *arrays(*found))
    return found
