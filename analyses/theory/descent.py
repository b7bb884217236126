"""Meta-training of the shallow and the deep model on tasks drawn at random (Arnold et al. 2021, Figures 1 and 2)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.theory.plans import Descent
from metaprobe.analyses.theory.scalar import adapted_deep, adapted_shallow, deep_loss, shallow_loss, task_loss

__all__ = ["MODELS", "meta_test", "meta_train"]

MODELS = {"shallow": 1, "deep": 2}
"""How many weights each model has: c; a and b."""


def meta_train(model: str, how: Descent) -> Float[np.ndarray, "iteration run weight"]:
    """Return the weights of every run before and after each outer step; both models meet the same tasks.

    The outer loss of a task is its expected loss after one inner step, no sample of it, so that what differs between
    steps is which tasks they drew.

    Args:
        model: "shallow", whose weight is c, or "deep", whose weights are a and b.
        how: rates, tasks, iterations.
    """
    weights, tasks = (np.random.default_rng(seed) for seed in np.random.SeedSequence(how.seed).spawn(2))
    start = weights.standard_normal((how.runs, max(MODELS.values())))[:, : MODELS[model]]
    at = torch.from_numpy(start).requires_grad_()
    descent = torch.optim.SGD([at], lr=how.beta, momentum=how.momentum)
    path = [start.copy()]
    for _ in range(how.iterations):
        theta = torch.from_numpy(tasks.standard_normal((how.tasks, how.runs)))
        descent.zero_grad()
        task_loss(_adapted(at, theta, how.alpha), theta).mean(dim=0).sum().backward()
        descent.step()
        path.append(at.detach().numpy().copy())
    return np.stack(path)


def meta_test(path: Float[np.ndarray, "... weight"], alpha: float) -> Float[np.ndarray, ...]:
    """Return the expected loss on new tasks after one inner step, of which ½ is the noise of y: `scalar`'s closed form.

    Args:
        path: weights, as `meta_train` returns them.
        alpha: the inner rate.
    """
    if path.shape[-1] == 1:
        return shallow_loss(path[..., 0], alpha)
    return deep_loss(path[..., 0], path[..., 1], alpha)


def _adapted(at: Tensor, theta: Tensor, alpha: float) -> Tensor:
    """Return the slope of each task, (task, run), after one inner step."""
    if at.shape[-1] == 1:
        return adapted_shallow(at[:, 0], theta, alpha)
    a, b = adapted_deep(at[:, 0], at[:, 1], theta, alpha)
    return a * b
