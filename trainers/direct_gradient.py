"""The gradient of algorithms that train without an inner loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainers.adapt import task_losses
from trainers.algorithms.base import MetaGradient

__all__ = ["direct_gradient"]


def direct_gradient(
    params: Mapping[str, Tensor], logits: Float[Tensor, "task sample way"], labels: Int[Tensor, "task sample"]
) -> MetaGradient:
    """Return ∇θ Σ_T L_T, where L_T is the mean cross-entropy of a task's samples in nats.

    Args:
        params: θ by name; what needs no gradient gets none.
        logits: made from `params`; log-probabilities are logits too.
        labels: of the same samples. The accuracy is the share of them that is classified correctly.
    """
    loss = task_losses(logits, labels).sum()
    hits = (logits.detach().argmax(-1) == labels).float().mean(dim=1).sum()
    trained = {name: value for name, value in params.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values())) if trained else ()
    return MetaGradient(dict(zip(trained, gradients, strict=True)), loss.detach(), hits)
