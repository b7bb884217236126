"""How far adaptation moves each layer's weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from analyses.freezing import TestPlan, identity_of, mean_row, sampler_of
from analyses.table import Row, Table
from trainers.adapt import adapt_as, layers_of
from trainers.checkpoint import load_checkpoint
from trainers.device import device_named, exact_float32
from trainers.networks import Parameters, layer_of
from trainers.parallel import one_thread
from trainers.tasks.imageset import ImageSet

__all__ = ["layer_distances", "weight_distance"]


def layer_distances(
    before: Parameters, after: Parameters, layer: str, tasks: int
) -> tuple[Float[Tensor, " task"], float]:
    """Return ‖θ_T − θ‖₂ of one layer for each task, and ‖θ‖₂ of the layer.

    Args:
        before: θ, shared by all tasks.
        after: θ_T; a parameter without a task axis did not adapt.
        layer: its parameters are taken together, as one vector.
        tasks: how many tasks.
    """
    squared = torch.zeros(tasks, dtype=torch.float64)
    norm = 0.0
    for name, value in before.items():
        if layer_of(name) != layer:
            continue
        start = value.detach().double().cpu()
        norm += float((start**2).sum())
        if after[name].dim() > value.dim():
            squared += ((after[name].detach().double().cpu() - start) ** 2).flatten(1).sum(dim=1)
    return squared.sqrt(), norm**0.5


def weight_distance(path: Path | str, imageset: ImageSet, plan: TestPlan) -> Table:
    """Measure how far each layer's weights move when a checkpoint adapts (Raghu et al. 2020, Appendix B.3).

    Args:
        path: the checkpoint.
        imageset: where test tasks come from.
        plan: which tasks; with the same plan, the ones that accuracies are measured on.

    Returns:
        Rows "euclidean_distance" and "relative_distance" (divided by the layer's norm), means over tasks; the relative
        one is undefined for a layer whose weights are all zero.
    """
    checkpoint = load_checkpoint(path)
    network = checkpoint.network().to(device_named(plan.device))
    params = dict(network.named_parameters())
    sampler = sampler_of(checkpoint, imageset, plan)
    distances: dict[str, list[np.ndarray]] = {layer: [] for layer in layers_of(network)}
    norms: dict[str, float] = {}
    with exact_float32(), one_thread():
        for first in range(0, plan.tasks, plan.chunk):
            tasks = sampler.batch(range(first, min(first + plan.chunk, plan.tasks)))
            adapted = adapt_as(network, params, tasks.support, checkpoint.adaptation)
            for layer, found in distances.items():
                moved, norms[layer] = layer_distances(params, adapted.params, layer, len(tasks))
                found.append(moved.cpu().numpy())
    identity = dataclasses.replace(
        identity_of(checkpoint),
        phase="pre-post",
        step=checkpoint.adaptation.steps,
        inner_steps=checkpoint.adaptation.steps,
        n=plan.tasks,
    )
    return Table.of(
        row
        for layer, found in distances.items()
        for row in _layer_rows(dataclasses.replace(identity, layer=layer), np.concatenate(found), norms[layer])
    )


def _layer_rows(identity: Row, distances: Float[np.ndarray, " task"], norm: float) -> list[Row]:
    rows = []
    for measure, scale in (("euclidean_distance", 1.0), ("relative_distance", norm)):
        if scale == 0:
            reason = "the layer's weights are all zero"
            rows.append(dataclasses.replace(identity, measure=measure, status="undefined", reason=reason))
            continue
        rows.append(mean_row(identity, measure, distances / scale))
    return rows
