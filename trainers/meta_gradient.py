"""The meta-gradient that the inner-loop family shares, with the graphs of all inner steps in memory or of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainers.adapt import adapt_as, adaptable, is_linear_head, query_logits
from trainers.algorithms.base import MetaGradient
from trainers.config import Adaptation
from trainers.losses import task_losses, task_scores
from trainers.networks import Parameters
from trainers.tasks.episodes import Tasks

__all__ = ["swept_meta_gradient", "unrolled_meta_gradient"]


def unrolled_meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return ∇θ Σ_T L_query(θ_T(θ)) through the graphs of all inner steps (Finn et al. 2017, Eq. 4).

    Args:
        network: see `trainers.adapt`.
        params: θ; there are gradients for the leaves that require one.
        tasks: the chunk.
        adaptation: which layers adapt, how far, and whether to first order.
        transductive: how the query set is normalised.
    """
    adapted = adapt_as(network, params, tasks.support, adaptation, create_graph=True)
    loss, score = _query(network, adapted.params, tasks, transductive)
    trained = {name: value for name, value in params.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()))
    return MetaGradient(dict(zip(trained, gradients, strict=True)), loss.detach(), score)


def swept_meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return what `unrolled_meta_gradient` does, from the last inner step back to the first, one graph at a time.

    With λ_q = ∂L_query/∂θ_q, step k's graph is made again from the stored θ_k and gives
    λ_k = (∂θ_{k+1}/∂θ_k)ᵀ λ_{k+1}, a Hessian-vector product; what does not adapt collects (∂θ_{k+1}/∂φ)ᵀ λ_{k+1}.
    Memory does not grow with the number of steps but for their weights; each step is computed twice, frozen layers
    before the first that adapts included. Where no step's graph is held anyway (first order, a linear head alone), it
    is `unrolled_meta_gradient` itself.
    """
    moving = adaptable(network, params, adaptation.layers, adaptation.adapt_norm)
    if adaptation.first_order or is_linear_head(network, moving):
        return unrolled_meta_gradient(network, params, tasks, adaptation, transductive)
    fixed = {name: value for name, value in params.items() if name not in moving and value.requires_grad}
    path = adapt_as(network, params, tasks.support, adaptation, every_step=True).trajectory
    assert path is not None
    here = _leaves(path[-1], moving)
    loss, score = _query(network, {**params, **here}, tasks, transductive)
    sums = dict(zip([*moving, *fixed], torch.autograd.grad(loss, [*here.values(), *fixed.values()]), strict=True))
    one_step = dataclasses.replace(adaptation, steps=1)
    for at in reversed(path[:-1]):
        here = _leaves(at, moving)
        after = adapt_as(network, {**params, **here}, tasks.support, one_step, create_graph=True).params
        found = torch.autograd.grad(
            [after[name] for name in moving],
            [*here.values(), *fixed.values()],
            [sums[name] for name in moving],
        )
        for name, gradient in zip([*moving, *fixed], found, strict=True):
            sums[name] = gradient if name in here else sums[name] + gradient
    gradients = {name: sums[name].sum(0) if name in moving else sums[name] for name in params if name in sums}
    return MetaGradient(gradients, loss.detach(), score)


def _query(network: nn.Module, params: Parameters, tasks: Tasks, transductive: bool) -> tuple[Tensor, Tensor]:
    """Return the sums over tasks of the query loss and of the queries' metric (`trainers.losses.task_scores`)."""
    logits = query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    return task_losses(logits, tasks.query.labels).sum(), task_scores(logits, tasks.query.labels).sum()


def _leaves(params: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: params[name].detach().requires_grad_() for name in names}
