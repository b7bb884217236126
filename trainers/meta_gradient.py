"""The meta-gradient that the inner-loop family shares, with the graphs of all inner steps in memory or of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from metaprobe.trainers.adapt import adapt_as, adaptable, query_logits
from metaprobe.trainers.algorithms.base import MetaGradient
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.formats.tensor_names import MODULATION, UPDATE_RULE
from metaprobe.trainers.linear_head import is_linear_head
from metaprobe.trainers.losses import task_losses, task_scores
from metaprobe.trainers.modulated_start import ModulatedStart, modulated_start
from metaprobe.trainers.networks import Parameters
from metaprobe.trainers.rule_parameters import computed
from metaprobe.trainers.step_norms import norms_of_step
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.update_rules import SGD, rule_named

__all__ = ["swept_meta_gradient", "unrolled_meta_gradient"]


def unrolled_meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return ∇θ Σ_T L_query(θ_T(θ)) through the graphs of all inner steps (Finn et al. 2017, Eq. 4).

    With `adaptation.loss_weights` w it is ∇θ Σ_T Σ_i w_i L_query(θ_{T,i}(θ)), over the weights after each of the steps
    i = 1 … q (Antoniou et al. 2019, Eq. 4); the loss is that sum, the metric is of the last. What a modulation adds to
    the outer loss (`trainers.modulations`) is added, in the loss too.

    Args:
        network: see `trainers.adapt`.
        params: θ; there are gradients for the leaves that require one.
        tasks: the chunk.
        adaptation: which layers adapt, how far, whether to first order, and which losses count.
        transductive: how the query set is normalised.
    """
    begun, weights = _begun(network, params, tasks, adaptation), adaptation.loss_weights
    how = begun.adaptation
    adapted = adapt_as(network, begun.params, tasks.support, how, create_graph=True, every_step=bool(weights))
    loss, score = _query(network, adapted.params, tasks, transductive)
    if adapted.trajectory is not None and len(adapted.trajectory) > 1:  # else nothing adapts, and all losses are one
        loss = weights[-1] * loss
        for weight, state in zip(weights[:-1], adapted.trajectory[1:-1], strict=True):
            loss = loss + weight * _query(network, state, tasks, transductive)[0]
    if begun.penalty is not None:
        loss = loss + begun.penalty.sum()
    trained = {name: value for name, value in params.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(trained.values()), materialize_grads=_partial(adaptation))
    return MetaGradient(dict(zip(trained, gradients, strict=True)), loss.detach(), score)


def swept_meta_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return what `unrolled_meta_gradient` does, from the last inner step back to the first, one graph at a time.

    With λ_q = w_q ∂L_query/∂θ_q, step k's graph is made again from the stored θ_k and gives
    λ_k = (∂θ_{k+1}/∂θ_k)ᵀ λ_{k+1} + w_k ∂L_query/∂θ_k, a Hessian-vector product; what does not adapt collects
    (∂θ_{k+1}/∂φ)ᵀ λ_{k+1} + w_k ∂L_query/∂φ. Without `loss_weights` w_q is 1 and the others are 0.
    What an update rule carries from step to step is part of θ_k there. A modulated θ is differentiated last.
    Memory does not grow with the number of steps but for their weights; each step is computed twice, frozen layers
    before the first that adapts included. Where steps hold little anyway (first order without a rule's memory, a linear
    head alone), it is `unrolled_meta_gradient` itself.
    """
    moving = adaptable(network, params, adaptation.layers, adaptation.adapt_norm)
    light = adaptation.first_order and rule_named(adaptation.rule).memory is None
    if light or is_linear_head(network, moving):
        return unrolled_meta_gradient(network, params, tasks, adaptation, transductive)
    begun, partial = _begun(network, params, tasks, adaptation), _partial(adaptation)
    adaptation, start = begun.adaptation, {name: _cut(value) for name, value in begun.params.items()}
    states = adapt_as(network, start, tasks.support, adaptation, every_step=True).states
    changing = tuple(name for name in states[-1] if name in moving or name.startswith(UPDATE_RULE))
    steady = {name: value for name, value in start.items() if name not in changing and value.requires_grad}
    fixed = {name: value for name, value in steady.items() if not name.startswith(MODULATION)}
    last = len(states) - 1
    weights = (0.0, *adaptation.loss_weights) if adaptation.loss_weights and last else (*[0.0] * last, 1.0)
    one_step = dataclasses.replace(adaptation, steps=1, loss_weights=())
    total: Tensor | float = 0.0
    score, sums = torch.zeros(()), dict[str, Tensor]()
    for step in reversed(range(len(states))):
        here = _leaves(states[step], changing)
        outputs, along = list[Tensor](), list[Tensor]()
        if step < last:
            at = {**start, **here}
            after = adapt_as(network, at, tasks.support, one_step, create_graph=True, first=step).states[-1]
            outputs, along = [after[name] for name in changing], [sums[name] for name in changing]
        if weights[step]:
            at = {**start, **_norms_after(network, start, adaptation, step, len(tasks)), **here}
            loss, metric = _query(network, at, tasks, transductive)
            outputs, along = [*outputs, loss], [*along, torch.full_like(loss, weights[step])]
            total, score = total + weights[step] * loss.detach(), metric if step == last else score
        inputs = here | fixed
        found = torch.autograd.grad(outputs, list(inputs.values()), along, materialize_grads=partial)
        for name, gradient in zip(inputs, found, strict=True):
            sums[name] = gradient if name in here or step == last else sums[name] + gradient
    found = {name: sums[name] for name in start if name in sums}
    gradients = {name: value.sum(0) if value.dim() > start[name].dim() else value for name, value in found.items()}
    if begun.penalty is not None:
        total = total + begun.penalty.detach().sum()
    return MetaGradient(_by_trained(params, begun, gradients, partial), torch.as_tensor(total), score)


def _begun(network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation) -> ModulatedStart:
    """Return where the inner loop begins, of what the outer loop trains."""
    return modulated_start(network, computed(params, adaptation), tasks.support, adaptation)


def _cut(value: Tensor) -> Tensor:
    """Return a tensor without what it was made of."""
    return value if value.is_leaf else value.detach().requires_grad_(value.requires_grad)


def _partial(adaptation: Adaptation) -> bool:
    """Tell whether some of what the outer loop trains may not matter to a step, or to all of them."""
    return adaptation.rule != SGD.name or adaptation.step_norms or bool(adaptation.modulation)


def _norms_after(network: nn.Module, start: Parameters, adaptation: Adaptation, step: int, tasks: int) -> Parameters:
    """Return the norms' parameters that queries have after so many steps, where each step has its own."""
    if not adaptation.step_norms or not step:
        return {}
    return norms_of_step(network, start, adaptation.layers, step - 1, tasks)


def _by_trained(
    params: Parameters, begun: ModulatedStart, gradients: dict[str, Tensor], partial: bool
) -> dict[str, Tensor]:
    """Return the gradients by θ, from those by where the inner loop begins (`_begun`), and of the penalty."""
    if begun.params is params:
        return gradients
    trained = {name: value for name, value in params.items() if value.requires_grad}
    outputs, along = [begun.params[name] for name in gradients], list(gradients.values())
    if begun.penalty is not None:
        outputs, along = [*outputs, begun.penalty], [*along, torch.ones_like(begun.penalty)]
    found = torch.autograd.grad(outputs, list(trained.values()), along, materialize_grads=partial)
    return dict(zip(trained, found, strict=True))


def _query(network: nn.Module, params: Parameters, tasks: Tasks, transductive: bool) -> tuple[Tensor, Tensor]:
    """Return the sums over tasks of the query loss and of the queries' metric (`trainers.losses.task_scores`)."""
    logits = query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    return task_losses(logits, tasks.query.labels).sum(), task_scores(logits, tasks.query.labels).sum()


def _leaves(state: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    return {name: value.detach().requires_grad_() for name, value in state.items() if name in names}
