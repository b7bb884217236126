"""The activations of query samples under given parameters, as one array a layer."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.probe.capturing.describing import Output
from metaprobe.probe.layers import taps
from metaprobe.trainers.adapt import query_logits
from metaprobe.trainers.networks import Parameters, folds_tasks
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["rows_of", "tapped"]


def tapped(
    network: nn.Module,
    params: Parameters,
    tasks: Tasks,
    modules: tuple[str, ...],
    transductive: bool,
    outputs: Mapping[str, Output] | None = None,
) -> dict[str, Float[Tensor, "task sample ..."]]:
    """Return the outputs of modules for the query samples of each task, under the task's parameters.

    Args:
        network: a `TaskNetwork`, or any module with a single task.
        params: by name, shared or with a leading task axis.
        tasks: the batch.
        modules: dotted names.
        transductive: normalise the query set with its own statistics, else with those of the support set.
        outputs: where the samples are in what each module gives; None for in front.

    Returns:
        By name, with call index, in the order of the calls: outputs that are floating tensors with a row for each
        sample, others are left out. Shape (task, sample, …), the rest being the module's own.
    """
    n_context = 0 if transductive else tasks.support.images.shape[1]
    n_samples = n_context + tasks.query.images.shape[1]
    with torch.no_grad(), taps(network, modules) as taken:
        query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    found = {}
    for name, output in taken.items():
        axis = 0 if outputs is None else outputs[name].sample_axis if name in outputs else 0
        if output.ndim < 2 or output.shape[axis] != n_samples or not output.is_floating_point():
            continue
        folded = folds_tasks(network)
        block = output.unflatten(1, (len(tasks), -1)).transpose(0, 1) if folded else output.movedim(axis, 0)[None]
        found[name] = block[:, n_context:]
    return found


def rows_of(block: Float[Tensor, "sample ..."], channel_axis: int = 1) -> Float[Tensor, "row feature"]:
    """Return activations as samples by features, the orientation of every measure.

    An output (sample, feature) is that already. Of more axes, every position is a sample and the channels are the
    features (Raghu et al. 2017, §4): (sample, channel, height, width) → (sample·height·width, channel), row
    `sample·positions + position`.

    Args:
        block: one task's output of one layer.
        channel_axis: where the features are when there are more than two axes; −1 for (sample, token, feature).
    """
    if block.ndim == 2:
        return block
    return block.movedim(channel_axis, -1).flatten(0, -2)
