"""How steep and how curved a task's loss is at given parameters: what a bound's constants are estimated from."""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.adapt import adaptable, task_losses
from metaprobe.trainers.networks import Parameters, forward_tasks, has_task_axis
from metaprobe.trainers.tasks.episodes import Examples

__all__ = ["curvature", "gradient_norms", "sample_gradient_norms"]


def gradient_norms(
    network: nn.Module, params: Parameters, examples: Examples, layers: Collection[str], adapt_norm: bool = True
) -> Float[Tensor, " task"]:
    """Return ‖∇L(θ_T)‖₂ of each task, L the mean cross-entropy of its examples.

    Args:
        network: as in `trainers.adapt.adapt`.
        params: θ_T, shared or with a leading task axis.
        examples: normalised together, as a batch.
        layers: those whose parameters adapt; the gradient is by these alone.
        adapt_norm: whether the norms' affine parameters are among them.
    """
    everything, leaves = _leaves(network, params, examples, layers, adapt_norm)
    if not leaves:
        return _zeros(examples)
    loss = task_losses(forward_tasks(network, everything, examples.images), examples.labels)
    return _norm(torch.autograd.grad(loss.sum(), leaves))


def sample_gradient_norms(
    network: nn.Module, params: Parameters, examples: Examples, layers: Collection[str], adapt_norm: bool = True
) -> Float[Tensor, "task sample"]:
    """Return ‖∇ℓ_i(θ_T)‖₂ of each task's every example; arguments as in `gradient_norms`.

    A batch norm makes an example's loss depend on the others, which are its batch here as in the inner loop.
    """
    everything, leaves = _leaves(network, params, examples, layers, adapt_norm)
    if not leaves:
        return _zeros(examples).unsqueeze(1).expand(examples.labels.shape)
    logits = forward_tasks(network, everything, examples.images)
    losses = F.cross_entropy(logits.flatten(0, 1), examples.labels.flatten(), reduction="none")
    columns = losses.view_as(examples.labels).sum(dim=0)
    last = len(columns) - 1
    norms = [_norm(torch.autograd.grad(loss, leaves, retain_graph=place < last)) for place, loss in enumerate(columns)]
    return torch.stack(norms, dim=1)


def curvature(
    network: nn.Module,
    params: Parameters,
    examples: Examples,
    layers: Collection[str],
    adapt_norm: bool = True,
    iterations: int = 10,
) -> Float[Tensor, " task"]:
    """Return ‖∇²L(θ_T) v‖₂ for a unit vector v that power iteration turns towards the largest |eigenvalue|.

    It begins at the gradient, so nothing is drawn; v being a unit vector, the result is never above the largest
    |eigenvalue|, and nears it from below with every iteration. Where the gradient is zero it is 0.

    Args:
        network: as in `gradient_norms`, as are the next four.
        params: θ_T.
        examples: the examples.
        layers: those that adapt.
        adapt_norm: see there.
        iterations: of power iteration; each is a Hessian-vector product, by differentiating twice.
    """
    everything, leaves = _leaves(network, params, examples, layers, adapt_norm)
    if not leaves:
        return _zeros(examples)
    with torch.enable_grad():
        loss = task_losses(forward_tasks(network, everything, examples.images), examples.labels)
        gradients = torch.autograd.grad(loss.sum(), leaves, create_graph=True)
    direction = [gradient.detach() for gradient in gradients]
    found = _zeros(examples)
    for _ in range(iterations):
        direction = _units(direction)
        # Tasks share no parameter: the Hessian of their sum is one block a task.
        direction = list(torch.autograd.grad(gradients, leaves, direction, retain_graph=True))
        found = torch.maximum(found, _norm(direction))
    return found


def _leaves(
    network: nn.Module, params: Parameters, examples: Examples, layers: Collection[str], adapt_norm: bool
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return all parameters, those that adapt as leaves with a task axis, and the leaves alone."""
    tasks, everything = len(examples.images), dict(params)
    moving = adaptable(network, params, layers, adapt_norm)
    for name in moving:
        value = params[name].detach()
        own = value if has_task_axis(network, name, value) else value.expand(tasks, *value.shape)
        everything[name] = own.clone().requires_grad_()
    return everything, [everything[name] for name in moving]


def _zeros(examples: Examples) -> Float[Tensor, " task"]:
    return examples.images.new_zeros(len(examples.images), dtype=torch.float64)


def _norm(parts: Collection[Tensor]) -> Float[Tensor, " task"]:
    return torch.stack([part.detach().double().square().flatten(1).sum(dim=1) for part in parts]).sum(dim=0).sqrt()


def _units(parts: Collection[Tensor]) -> list[Tensor]:
    norm = _norm(parts)
    scale = torch.where(norm > 0, 1 / norm, 0)
    return [part * scale.to(part.dtype).view(-1, *[1] * (part.dim() - 1)) for part in parts]
