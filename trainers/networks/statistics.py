"""Batch norms of torch, told whose statistics to take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.network_config import ModuleNorm

__all__ = ["context_of", "take_statistics"]


class _Chosen:
    """Batch norm by the statistics of the batch, of its first `n_context` samples, or of those that it keeps.

    Nothing is written into what it keeps: a pass leaves a network as it was.
    """

    kept: bool = False
    n_context: int | None = None

    def forward(self: Any, x: Tensor) -> Tensor:
        if self.kept and self.running_mean is not None:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        if self.n_context is None:
            return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, self.eps)
        around = [axis for axis in range(x.ndim) if axis != 1]
        variance, mean = torch.var_mean(x[: self.n_context], around, correction=0, keepdim=True)
        out = (x - mean) * torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return out
        wide = (1, -1, *(1 for _ in around[1:]))
        return out * self.weight.view(wide) + self.bias.view(wide)


_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_CHOSEN: dict[type, type] = {kind: type(f"Chosen{kind.__name__}", (_Chosen, kind), {}) for kind in _PLAIN}


def take_statistics(network: nn.Module, norm: ModuleNorm) -> int:
    """Let every batch norm in a network take the statistics that `norm` names; return how many there are.

    Each stays the class that it was, and keeps its weights and buffers; other norms see each sample by itself.

    Raises:
        MetaprobeError: a batch norm is of a class of its own, which does as it likes.
    """
    found = 0
    for name, module in network.named_modules():
        if type(module) in _CHOSEN:
            module.__class__ = _CHOSEN[type(module)]
        if isinstance(module, _Chosen):
            module.kept, found = norm == "running", found + 1
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            if norm == "non-transductive":
                raise MetaprobeError(
                    f"{name} is a {type(module).__name__}, a batch norm of its own kind that cannot be told to take "
                    "the support set's statistics; take --norm transductive or running"
                )
            module.train(norm == "transductive")
    return found


@contextlib.contextmanager
def context_of(network: nn.Module, n_context: int | None) -> Iterator[None]:
    """Let batch norms take their statistics from the first `n_context` samples (None: from all) within the block."""
    chosen = [module for module in network.modules() if isinstance(module, _Chosen)]
    for module in chosen:
        module.n_context = n_context
    try:
        yield
    finally:
        for module in chosen:
            module.n_context = None
