"""The gradient of algorithms that train without an inner loop."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from metaprobe.trainers.algorithms.base import MetaGradient
from metaprobe.trainers.losses import task_losses, task_scores

__all__ = ["direct_gradient"]


def direct_gradient(
    params: Mapping[str, Tensor], logits: Float[Tensor, "task sample way"], labels: Int[Tensor, "task sample"]
) -> MetaGradient:
    """Return ∇θ Σ_T L_T, where L_T is the mean loss of a task's samples (`trainers.losses.task_losses`).

    Args:
        params: θ by name; what needs no gradient gets none.
        logits: made from `params`; log-probabilities are logits too.
        labels: of the same samples; the score is of them, too.
    """
    loss = task_losses(logits, labels).sum()
    score = task_scores(logits, labels).sum()
    trained = {name: value for name, value in params.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values())) if trained else ()
    return MetaGradient(dict(zip(trained, gradients, strict=True)), loss.detach(), score)
