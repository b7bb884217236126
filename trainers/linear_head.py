"""The inner loop of a linear head on fixed features, whose gradients have a closed form."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.losses import output_errors, task_losses
from metaprobe.trainers.networks import Parameters, TaskNetwork

__all__ = ["adapt_linear_head", "head_gradients", "is_linear_head"]


def is_linear_head(network: nn.Module, moving: Collection[str]) -> bool:
    """Tell whether the parameters that adapt are those of a linear head on fixed features."""
    return isinstance(network, TaskNetwork) and network.linear_head and set(moving) == set(_names(network))


def head_gradients(
    network: TaskNetwork, params: Parameters, maps: Tensor, labels: Tensor
) -> tuple[Float[Tensor, " task"], dict[str, Tensor]]:
    """Return the support loss, and its gradients EᵀF and Eᵀ1 by the head's weight and bias.

    F are the features (sample, feature), E = ∂L/∂Z the errors of the outputs Z = F Wᵀ + b
    (`trainers.losses.output_errors`). Differentiating them is differentiating once.

    Args:
        network: with a linear head.
        params: the head's, with a leading task axis.
        maps: what the head reads.
        labels: (task, sample).
    """
    weight_name, bias_name = _names(network)
    features = network.features(maps)
    outputs = torch.baddbmm(params[bias_name].unsqueeze(1), features, params[weight_name].transpose(1, 2))
    errors = output_errors(outputs, labels)
    gradients = {weight_name: errors.transpose(1, 2) @ features, bias_name: errors.sum(1)}
    return task_losses(outputs.detach(), labels), gradients


def adapt_linear_head(
    network: TaskNetwork,
    params: Mapping[str, Tensor],
    maps: Tensor,
    labels: Tensor,
    inner_lr: float,
    steps: int,
    first_order: bool,
    every_step: bool,
) -> tuple[list[dict[str, Tensor]], list[Float[Tensor, " task"]]]:
    """Adapt a linear head alone by gradient descent, without differentiating twice.

    With the support features F (sample, feature), outputs Z_q = F W_qᵀ + b_q and errors E_q = ∂L/∂Z_q, of
    cross-entropy (softmax(Z_q) − Y)/n (`trainers.losses.output_errors`), a gradient step is W_{q+1} = W_q − α E_qᵀ F,
    b_{q+1} = b_q − α E_qᵀ 1, so that outputs follow from outputs alone: Z_{q+1} = Z_q − α (F Fᵀ + 1) E_q, and
    W_q = W_0 − α (Σ E)ᵀ F.

    Returns:
        All parameters at steps 0 … q, or at the last alone, and the support loss before each step.
    """
    weight_name, bias_name = _names(network)
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


def _names(network: TaskNetwork) -> tuple[str, str]:
    name = network.layer_names[-1]
    return f"{name}.weight", f"{name}.bias"
