"""The inner loop. Nothing else in the project takes an inner step.

MAML, FOMAML, ANIL and every freezing ablation are this one call with other `layers`, `steps` or `first_order`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.inner_step import Stepper
from metaprobe.trainers.linear_head import adapt_linear_head, head_gradients, is_linear_head
from metaprobe.trainers.losses import task_losses
from metaprobe.trainers.modulated_start import modulated_start
from metaprobe.trainers.networks import Parameters, TaskNetwork, for_each_task, forward_tasks, layer_of, norm_parameters
from metaprobe.trainers.networks.first_layers import one_batch
from metaprobe.trainers.networks.naming import chosen_parameters, held_parameters, layers_of, names_of
from metaprobe.trainers.networks.running import statistics_part
from metaprobe.trainers.step_norms import norms_of_step
from metaprobe.trainers.step_statistics import set_of_step
from metaprobe.trainers.tasks.episodes import Examples
from metaprobe.trainers.update_rules import SGD, UpdateRule, network_part, rule_named

__all__ = ["Adapted", "adapt", "adapt_as", "adaptable", "layers_of", "query_logits", "task_losses"]

_TOLD = 6  # names in a warning


@dataclass(frozen=True)
class Adapted:
    """What the inner loop leaves.

    `params` are all parameters: the adapted ones with a leading task axis, the frozen ones as they were given, and the
    running statistics that passes with them are normalised by, where the learner keeps some.
    `trajectory`, when asked for, holds the parameters at steps 0 … q, the last being `params`.
    `support_loss` is the loss on each task's support set before each step (`trainers.losses.task_losses`).
    `states` are the trajectory, or its end, with what the update rule carries from step to step: what `adapt` goes on
    from, given among its `params`.
    """

    params: dict[str, Tensor]
    support_loss: Float[Tensor, "step task"]
    trajectory: tuple[dict[str, Tensor], ...] | None
    states: tuple[dict[str, Tensor], ...]


def adapt(
    network: nn.Module,
    params: Parameters,
    support: Examples,
    *,
    layers: Collection[str] | None = None,
    inner_lr: float,
    steps: int,
    first_order: bool = False,
    create_graph: bool = False,
    adapt_norm: bool = True,
    every_step: bool = False,
    rule: UpdateRule = SGD,
    step_norms: bool = False,
    step_statistics: bool = False,
    prox_lambda: float = 0.0,
    inner_clip: float = 0.0,
    first: int = 0,
) -> Adapted:
    """Adapt parameters to each task of a batch: θ_T ← θ_T − α U(∇ L_support(θ_T)), `steps` times.

    The inner loop of Finn et al. (2017, Eq. 1) and Raghu et al. (2020, Eq. 1), where U is the identity; of the others
    see `trainers.update_rules`. Every task has its own gradient: the sum of the tasks' losses separates over the task
    axis.

    Args:
        network: a `TaskNetwork`, or any module (then run task by task).
        params: the initialisation by name, shared or with a leading task axis; the rule's parameters among them.
        support: images (task, sample, …) and labels (task, sample), or what else `trainers.losses` takes.
        layers: names or globs of what adapts, at any depth (`trainers.networks.naming`; default: all); none is a valid
            ablation.
        inner_lr: α.
        steps: number of inner steps.
        first_order: treat inner gradients as constants (FOMAML).
        create_graph: keep what is needed to differentiate the result by `params`.
        adapt_norm: whether the affine parameters of norms adapt.
        every_step: also return the parameters at each step.
        rule: how a gradient becomes a step.
        step_norms: whether norms have parameters of their own for each step (`trainers.step_norms`), among `params`.
        step_statistics: whether they go by running statistics of each step, among `params`, too
            (`trainers.step_statistics`).
        prox_lambda: λ of a loop that descends L_support(θ_T) + λ/2 ‖θ_T − θ‖², θ being `params`.
        inner_clip: every element of a gradient is held to ± this; 0 for no limits.
        first: index of the first step, for a loop that is taken in parts (`Adapted.states`).

    Raises:
        MetaprobeError: a layer is unknown, a parameter's shape does not fit, one of the rule's is missing, a loop that
            is held near its start is to go on from elsewhere, or a rule with a memory is not to first order.

    A parameter that the output does not depend on takes no step, and a warning names it.
    """
    if prox_lambda and first:
        raise MetaprobeError(
            f"an inner loop with prox_lambda={prox_lambda} is held near its start; take all its steps at once"
        )
    if rule.memory is not None and create_graph and not first_order:
        raise MetaprobeError(f"update rule {rule.name} takes inner gradients as constants; adapt with first_order=True")
    tasks, keep = support.images.shape[0], create_graph and not first_order
    moving = adaptable(network, params, layers, adapt_norm)
    sets = statistics_part(params) if step_statistics else {}
    current = network_part(params) | set_of_step(sets, 0)
    for name in moving:
        value = for_each_task(network, name, params[name], tasks)
        current[name] = value if create_graph else value.detach().requires_grad_()
    held = moving if prox_lambda else ()
    origin = {name: current[name] if create_graph else current[name].detach() for name in held}
    stepper, carried = Stepper.of(rule, inner_lr, network, params, moving, tasks, create_graph)
    states, losses = [current | stepper.changing(carried)], []
    if moving and steps:
        norms = norms_of_step(network, params, layers, first, tasks) if step_norms else {}
        prefix, rest = _split_at_first_adapted(network, (*moving, *norms))
        current |= set_of_step(sets, first, prefix)
        inputs = _through(network, current, support.images, prefix, keep)
        head = network if isinstance(network, TaskNetwork) and is_linear_head(network, moving) and not norms else None
        if head and rule is SGD and not (prox_lambda or inner_clip):
            with torch.set_grad_enabled(create_graph):
                states, losses = adapt_linear_head(
                    head, current, inputs, support.labels, inner_lr, steps, first_order, every_step
                )
        for step in range(first, first + steps) if not losses else ():
            if norms:
                now = norms_of_step(network, params, layers, step, tasks)
                current = current | {name: value if create_graph else value.detach() for name, value in now.items()}
            with torch.set_grad_enabled(keep or head is None):
                if head:
                    loss, gradients = head_gradients(head, current, inputs, support.labels)
                else:
                    loss = task_losses(forward_tasks(network, current, inputs, layers=rest), support.labels)
                    gradients = _gradients(network, loss.sum(), {name: current[name] for name in moving}, keep)
            if inner_clip:
                with torch.set_grad_enabled(keep):
                    gradients = {name: one.clamp(-inner_clip, inner_clip) for name, one in gradients.items()}
            if prox_lambda:
                with torch.set_grad_enabled(create_graph):
                    pull = {name: prox_lambda * (current[name] - origin[name]) for name in gradients}
                    gradients = {name: gradient + pull[name] for name, gradient in gradients.items()}
            moved, carried = stepper.take(current, carried, gradients, loss.detach(), step, keep)
            current = current | {n: v if create_graph else v.detach().requires_grad_() for n, v in moved.items()}
            current |= set_of_step(sets, step + 1, prefix)
            losses.append(loss.detach())
            states = [*(states if every_step else ()), current | stepper.changing(carried)]
    if not create_graph:
        states = [{name: value.detach() for name, value in state.items()} for state in states]
    support_loss = torch.stack(losses) if losses else torch.empty(0, tasks, device=support.images.device)
    trajectory = tuple(network_part(state) | statistics_part(state) for state in states)
    return Adapted(trajectory[-1], support_loss, trajectory if every_step else None, tuple(states))


def adapt_as(
    network: nn.Module,
    params: Parameters,
    support: Examples,
    adaptation: Adaptation,
    *,
    create_graph: bool = False,
    every_step: bool = False,
    first: int = 0,
) -> Adapted:
    """Adapt as a learner's `Adaptation` says: modulate θ, if it is modulated, and take its inner steps; see `adapt`.

    A modulated θ is the parameters at step 0; with no steps it is what is left. A loop that goes on from a later step
    (`first`) has it in what it goes on from.
    """
    start = params
    if not first:
        with torch.set_grad_enabled(create_graph):
            start = modulated_start(network, params, support, adaptation).params
    return adapt(
        network,
        start,
        support,
        layers=adaptation.layers,
        inner_lr=adaptation.inner_lr,
        steps=adaptation.steps,
        first_order=adaptation.first_order,
        adapt_norm=adaptation.adapt_norm,
        create_graph=create_graph,
        every_step=every_step,
        rule=rule_named(adaptation.rule),
        step_norms=adaptation.step_norms,
        step_statistics=adaptation.step_statistics == "running",
        prox_lambda=adaptation.prox_lambda,
        inner_clip=adaptation.inner_clip,
        first=first,
    )


def query_logits(
    network: nn.Module, params: Parameters, support: Examples, query: Examples, *, transductive: bool = True
) -> Float[Tensor, "task sample way"]:
    """Return the logits of each task's query set under its own parameters.

    Args:
        network: as in `adapt`.
        params: usually `Adapted.params`.
        support: the tasks' support sets; read only for their statistics.
        query: the samples to classify.
        transductive: normalise the query set with its own statistics, else with those of the support set.
    """
    if transductive:
        return forward_tasks(network, params, query.images)
    n_context = support.images.shape[1]
    both = one_batch(support.images, query.images)
    return forward_tasks(network, params, both, n_context=n_context)[:, n_context:]


def adaptable(
    network: nn.Module, params: Parameters, layers: Collection[str] | None, adapt_norm: bool = True
) -> tuple[str, ...]:
    """Return the names of the parameters that adapt, given the layers that do.

    A warning tells of parameters that these layers mean and that stay as they are, because of `requires_grad=False`
    (`trainers.networks.naming`).

    Raises:
        MetaprobeError: a layer is unknown.
    """
    chosen = set(chosen_parameters(network, layers))
    if held := held_parameters(network, layers):
        warnings.warn(
            f"{_listed(held)} of {type(network).__name__} stay as they are, by requires_grad=False; to adapt them, "
            "name them among the layers",
            stacklevel=3,
        )
    fixed = () if adapt_norm else norm_parameters(network)
    return tuple(name for name in params if name in chosen and name not in fixed)


def _gradients(network: nn.Module, loss: Tensor, params: Parameters, keep: bool) -> dict[str, Tensor]:
    """Return the gradient by each parameter that the loss depends on; a warning tells of the others."""
    found: tuple[Tensor | None, ...] = (None,) * len(params)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, list(params.values()), create_graph=keep, allow_unused=True)
    if unused := [name for name, gradient in zip(params, found, strict=True) if gradient is None]:
        warnings.warn(
            f"{_listed(names_of(network, unused))} of {type(network).__name__} take no inner step: the output does not "
            "depend on them",
            stacklevel=3,
        )
    return {name: gradient for name, gradient in zip(params, found, strict=True) if gradient is not None}


def _listed(names: Sequence[str]) -> str:
    """Return names in words, the first few of many."""
    told = ", ".join(names[:_TOLD])
    return told if len(names) <= _TOLD else f"{told} and {len(names) - _TOLD} more"


def _split_at_first_adapted(
    network: nn.Module, moving: Collection[str]
) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Split a chain of layers into those before the first that adapts, whose output stays the same, and the rest."""
    if not isinstance(network, TaskNetwork):
        return (), None
    return network.split_at({layer_of(name) for name in moving})


def _through(network: nn.Module, params: Parameters, images: Tensor, prefix: tuple[str, ...], graph: bool) -> Tensor:
    if not prefix:
        return images
    with torch.set_grad_enabled(graph):
        return forward_tasks(network, params, images, layers=prefix)
