"""How a gradient becomes an inner step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["UpdateRule", "sgd"]

UpdateRule = Callable[[Tensor, Tensor, float], Tensor]


def sgd(parameter: Tensor, gradient: Tensor, inner_lr: float) -> Tensor:
    """Return θ − α∇L, the inner step of MAML (Finn et al. 2017, Eq. 1); shapes as given."""
    return torch.sub(parameter, gradient, alpha=inner_lr)
