"""Feature maps and what belongs to their channels, as the kernels have them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["channels_last"]

Maps = Float[Tensor, "sample channel height width"]
PerChannel = Float[Tensor, " channel"]


def channels_last(x: Maps) -> Maps:
    """Return maps with their channels last in memory, the same tensor where they are so already."""
    return x.contiguous(memory_format=torch.channels_last)
