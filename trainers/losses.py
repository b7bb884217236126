"""Loss, metric and gradient of tasks by what their labels are: whole numbers are classes, others are regressed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.task_kinds import CLASSIFICATION, REGRESSION, TaskKind

__all__ = ["kind_of", "output_errors", "task_losses", "task_scores"]


def kind_of(labels: Tensor) -> TaskKind:
    """Return what tasks with these labels ask for."""
    return REGRESSION if labels.is_floating_point() else CLASSIFICATION


def task_losses(outputs: Float[Tensor, "task sample ..."], labels: Tensor) -> Float[Tensor, " task"]:
    """Return each task's loss: the mean cross-entropy in nats, or the mean squared error over samples and outputs.

    Args:
        outputs: logits (task, sample, way); of regression, numbers of the labels' shape.
        labels: ways (task, sample); of regression, floating targets (task, sample, output).

    Raises:
        MetaprobeError: outputs and targets of a regression are not of one shape.
    """
    if kind_of(labels) is REGRESSION:
        return _errors(outputs, labels).square().flatten(1).mean(dim=1)
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view_as(labels).mean(dim=1)


def task_scores(outputs: Float[Tensor, "task sample ..."], labels: Tensor) -> Float[Tensor, " task"]:
    """Return each task's metric, before its scale: the share of samples classified correctly, or the squared error.

    Arguments and errors as `task_losses`.
    """
    if kind_of(labels) is REGRESSION:
        return task_losses(outputs.detach(), labels)
    return (outputs.detach().argmax(-1) == labels).to(outputs.dtype).mean(dim=1)


def output_errors(outputs: Float[Tensor, "task sample way"], labels: Tensor) -> Float[Tensor, "task sample way"]:
    """Return the gradient of `task_losses` by the outputs: (softmax − onehot)/n, or 2(output − target)/(n·outputs)."""
    if kind_of(labels) is REGRESSION:
        return 2 * _errors(outputs, labels) / labels[0].numel()
    ways = torch.arange(outputs.shape[-1], device=labels.device)
    targets = (labels.unsqueeze(-1) == ways).to(outputs.dtype)
    return (torch.softmax(outputs, dim=-1) - targets) / labels.shape[1]


def _errors(outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape != labels.shape:  # broadcasting would compare every sample with every other
        got, wanted = tuple(outputs.shape[1:]), tuple(labels.shape[1:])
        raise MetaprobeError(
            f"the network gives outputs of shape {got} for a task's targets of shape {wanted} (sample, output); "
            "regression needs one output a target"
        )
    return outputs - labels.to(outputs.dtype)
