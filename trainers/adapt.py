"""The inner loop. Nothing else in the project takes an inner step.

MAML, FOMAML, ANIL and every freezing ablation are this one call with other `layers`, `steps` or `first_order`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trainers.config import Adaptation
from trainers.losses import output_errors, task_losses
from trainers.networks import Parameters, TaskNetwork, forward_tasks, has_task_axis, layer_of, norm_parameters
from trainers.networks.naming import chosen_parameters, held_parameters, layers_of, names_of
from trainers.tasks.episodes import Examples
from trainers.update_rules import UpdateRule, sgd

__all__ = ["Adapted", "adapt", "adapt_as", "adaptable", "is_linear_head", "layers_of", "query_logits", "task_losses"]

_TOLD = 6  # names in a warning


@dataclass(frozen=True)
class Adapted:
    """What the inner loop leaves.

    `params` are all parameters: the adapted ones with a leading task axis, the frozen ones as they were given.
    `trajectory`, when asked for, holds the parameters at steps 0 … q, the last being `params`.
    `support_loss` is the loss on each task's support set before each step (`trainers.losses.task_losses`).
    """

    params: dict[str, Tensor]
    support_loss: Float[Tensor, "step task"]
    trajectory: tuple[dict[str, Tensor], ...] | None


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
    rule: UpdateRule = sgd,
) -> Adapted:
    """Adapt parameters to each task of a batch: θ_T ← θ_T − α ∇ L_support(θ_T), `steps` times.

    The inner loop of Finn et al. (2017, Eq. 1) and Raghu et al. (2020, Eq. 1). Every task
    has its own gradient: the sum of the tasks' losses separates over the task axis.

    Args:
        network: a `TaskNetwork`, or any module (then run task by task).
        params: the initialisation by name, shared or with a leading task axis.
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

    Raises:
        MetaprobeError: a layer is unknown, or a parameter's shape does not fit.

    A parameter that the output does not depend on takes no step, and a warning names it.
    """
    tasks = support.images.shape[0]
    moving = adaptable(network, params, layers, adapt_norm)
    current = dict(params)
    for name in moving:
        shared = not has_task_axis(network, name, params[name])
        value = params[name].expand(tasks, *params[name].shape) if shared else params[name]
        current[name] = value if create_graph else value.detach().requires_grad_()
    trajectory, losses = [dict(current)], []
    if moving and steps:
        prefix, rest = _split_at_first_adapted(network, moving)
        inputs = _through(network, params, support.images, prefix, create_graph and not first_order)
        if rule is sgd and is_linear_head(network, moving):
            with torch.set_grad_enabled(create_graph):
                trajectory, losses = _adapt_linear_head(
                    network, current, inputs, support.labels, inner_lr, steps, first_order, every_step
                )
        else:
            for _ in range(steps):
                with torch.enable_grad():
                    loss = task_losses(forward_tasks(network, current, inputs, layers=rest), support.labels)
                    keep = create_graph and not first_order
                    gradients = _gradients(network, loss.sum(), {name: current[name] for name in moving}, keep)
                for name, gradient in gradients.items():
                    stepped = rule(current[name], gradient, inner_lr)
                    current[name] = stepped if create_graph else stepped.detach().requires_grad_()
                losses.append(loss.detach())
                trajectory.append(dict(current))
    if not create_graph:
        trajectory = [{name: value.detach() for name, value in entry.items()} for entry in trajectory]
    support_loss = torch.stack(losses) if losses else torch.empty(0, tasks, device=support.images.device)
    return Adapted(trajectory[-1], support_loss, tuple(trajectory) if every_step else None)


def adapt_as(
    network: nn.Module,
    params: Parameters,
    support: Examples,
    adaptation: Adaptation,
    *,
    create_graph: bool = False,
    every_step: bool = False,
) -> Adapted:
    """Adapt as a learner's `Adaptation` says; see `adapt`."""
    return adapt(
        network,
        params,
        support,
        layers=adaptation.layers,
        inner_lr=adaptation.inner_lr,
        steps=adaptation.steps,
        first_order=adaptation.first_order,
        adapt_norm=adaptation.adapt_norm,
        create_graph=create_graph,
        every_step=every_step,
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
    both = torch.cat([support.images, query.images], dim=1)
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


def is_linear_head(network: nn.Module, moving: Collection[str]) -> bool:
    """Tell whether the parameters that adapt are those of a linear head on fixed features."""
    if not isinstance(network, TaskNetwork):
        return False
    name = network.layer_names[-1]
    return network.linear_head and set(moving) == {f"{name}.weight", f"{name}.bias"}


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


def _adapt_linear_head(
    network: nn.Module,
    params: Mapping[str, Tensor],
    maps: Tensor,
    labels: Tensor,
    inner_lr: float,
    steps: int,
    first_order: bool,
    every_step: bool,
) -> tuple[list[dict[str, Tensor]], list[Float[Tensor, " task"]]]:
    """Adapt a linear head alone, without differentiating twice.

    With the support features F (sample, feature), outputs Z_q = F W_qᵀ + b_q and errors E_q = ∂L/∂Z_q, of
    cross-entropy (softmax(Z_q) − Y)/n (`trainers.losses.output_errors`), a gradient step is W_{q+1} = W_q − α E_qᵀ F,
    b_{q+1} = b_q − α E_qᵀ 1, so that outputs follow from outputs alone: Z_{q+1} = Z_q − α (F Fᵀ + 1) E_q, and
    W_q = W_0 − α (Σ E)ᵀ F.

    Returns:
        All parameters at steps 0 … q, or at the last alone, and the support loss before each step.
    """
    assert isinstance(network, TaskNetwork)
    weight_name, bias_name = (f"{network.layer_names[-1]}.{part}" for part in ("weight", "bias"))
    weight, bias, features = params[weight_name], params[bias_name], network.features(maps)
    with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
        gram = features @ features.transpose(1, 2) + 1
        logits = torch.baddbmm(bias.unsqueeze(1), features, weight.transpose(1, 2))
        errors, losses = torch.zeros_like(logits), []
        summed = [errors]
        for _ in range(steps):
            losses.append(task_losses(logits.detach(), labels))
            step = output_errors(logits, labels)
            logits = logits - inner_lr * (gram @ step)
            errors = errors + step
            summed.append(errors)
        moved = [(e.transpose(1, 2) @ features, e.sum(1)) for e in (summed if every_step else summed[-1:])]
    path = [{**params, weight_name: weight - inner_lr * w, bias_name: bias - inner_lr * b} for w, b in moved]
    return path, losses


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
