"""The meta-gradient that the inner-loop family shares, with the graphs of all inner steps in memory or of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from trainers.adapt import adapt_as, adaptable, query_logits
from trainers.algorithms.base import MetaGradient
from trainers.config import Adaptation
from trainers.formats.checkpoint_format import UPDATE_RULE
from trainers.linear_head import is_linear_head
from trainers.losses import task_losses, task_scores
from trainers.networks import Parameters
from trainers.rule_parameters import computed
from trainers.tasks.episodes import Tasks
from trainers.update_rules import SGD

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
    adapted = adapt_as(network, computed(params, adaptation), tasks.support, adaptation, create_graph=True)
    loss, score = _query(network, adapted.params, tasks, transductive)
    trained = {name: value for name, value in params.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()), materialize_grads=adaptation.rule != SGD.name)
    return MetaGradient(dict(zip(trained, gradients, strict=True)), loss.detach(), score)


def swept_meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return what `unrolled_meta_gradient` does, from the last inner step back to the first, one graph at a time.

    With λ_q = ∂L_query/∂θ_q, step k's graph is made again from the stored θ_k and gives
    λ_k = (∂θ_{k+1}/∂θ_k)ᵀ λ_{k+1}, a Hessian-vector product; what does not adapt collects (∂θ_{k+1}/∂φ)ᵀ λ_{k+1}.
    What an update rule carries from step to step is part of θ_k there.
    Memory does not grow with the number of steps but for their weights; each step is computed twice, frozen layers
    before the first that adapts included. Where steps hold little anyway (first order, a linear head alone), it is
    `unrolled_meta_gradient` itself.
    """
    moving = adaptable(network, params, adaptation.layers, adaptation.adapt_norm)
    if adaptation.first_order or is_linear_head(network, moving):
        return unrolled_meta_gradient(network, params, tasks, adaptation, transductive)
    start = computed(params, adaptation)
    states = adapt_as(network, start, tasks.support, adaptation, every_step=True).states
    changing = tuple(name for name in states[-1] if name in moving or name.startswith(UPDATE_RULE))
    fixed = {name: value for name, value in start.items() if name not in changing and value.requires_grad}
    unused = adaptation.rule != SGD.name  # some of what a rule has may not matter to a step
    here = _leaves(states[-1], changing)
    loss, score = _query(network, {**start, **here}, tasks, transductive)
    inputs = here | fixed
    sums = dict(zip(inputs, torch.autograd.grad(loss, list(inputs.values()), materialize_grads=unused), strict=True))
    one_step = dataclasses.replace(adaptation, steps=1)
    for step in reversed(range(len(states) - 1)):
        here = _leaves(states[step], changing)
        after = adapt_as(network, {**start, **here}, tasks.support, one_step, create_graph=True, first=step).states[-1]
        inputs = here | fixed
        found = torch.autograd.grad(
            [after[name] for name in changing],
            list(inputs.values()),
            [sums[name] for name in changing],
            materialize_grads=unused,
        )
        for name, gradient in zip(inputs, found, strict=True):
            sums[name] = gradient if name in here else sums[name] + gradient
    gradients = {name: sums[name].sum(0) if name in changing else sums[name] for name in start if name in sums}
    return MetaGradient(_by_trained(params, start, gradients), loss.detach(), score)


def _by_trained(params: Parameters, start: Parameters, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients by θ, from those by what the network computes with (`trainers.rule_parameters.computed`)."""
    if start is params:
        return gradients
    trained = {name: value for name, value in params.items() if value.requires_grad}
    found = torch.autograd.grad([start[name] for name in gradients], list(trained.values()), list(gradients.values()))
    return dict(zip(trained, found, strict=True))


def _query(network: nn.Module, params: Parameters, tasks: Tasks, transductive: bool) -> tuple[Tensor, Tensor]:
    """Return the sums over tasks of the query loss and of the queries' metric (`trainers.losses.task_scores`)."""
    logits = query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    return task_losses(logits, tasks.query.labels).sum(), task_scores(logits, tasks.query.labels).sum()


def _leaves(state: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in state.items() if name in names}
