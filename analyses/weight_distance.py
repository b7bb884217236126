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
from trainers.clustering.clusters import Clusters, starting_point
from trainers.device import device_named, exact_float32
from trainers.intervals import POSITIVE
from trainers.networks import Parameters, layer_of
from trainers.parallel import one_thread
from trainers.tasks.imageset import ImageSet

__all__ = ["layer_distances", "weight_distance"]


def layer_distances(
    before: Parameters, after: Parameters, layer: str, tasks: int, per_task: bool = False
) -> tuple[Float[Tensor, " task"], Float[Tensor, " task"]]:
    """Return ‖θ_T − θ‖₂ of one layer for each task, and ‖θ‖₂ of the layer that the task starts from.

    Args:
        before: θ, shared by all tasks, or with a leading task axis: of each task the initialisation it is assigned to.
        after: θ_T; a parameter of the shape it has in `before` did not adapt where θ is shared.
        layer: its parameters are taken together, as one vector.
        tasks: how many tasks.
        per_task: whether `before` has a task axis.
    """
    squared, norms = torch.zeros(2, tasks, dtype=torch.float64)
    for name, value in before.items():
        if layer_of(name) != layer:
            continue
        own = value if per_task else value.unsqueeze(0)
        end = after[name] if per_task or after[name].dim() > value.dim() else own
        start = own.detach().double().cpu()
        norms += (start**2).flatten(1).sum(dim=1)
        squared += ((end.detach().double().cpu() - start) ** 2).flatten(1).sum(dim=1)
    return squared.sqrt(), norms.sqrt()


def weight_distance(path: Path | str, imageset: ImageSet, plan: TestPlan) -> Table:
    """Measure how far each layer's weights move when a checkpoint adapts (Raghu et al. 2020, Appendix B.3).

    Args:
        path: the checkpoint.
        imageset: where test tasks come from.
        plan: which tasks; with the same plan, the ones that accuracies are measured on.

    Returns:
        Rows "euclidean_distance" and "relative_distance" (divided by the layer's norm), means over tasks; the relative
        one is undefined for a layer whose weights are all zero. A learner with several initialisations moves from the
        one that a task is assigned to, and is measured from there.
    """
    checkpoint = load_checkpoint(path)
    network, start = checkpoint.network().to(device_named(plan.device)), checkpoint.start(device_named(plan.device))
    several = isinstance(start, Clusters)
    sampler = sampler_of(checkpoint, imageset, plan)
    distances: dict[str, list[np.ndarray]] = {layer: [] for layer in layers_of(network)}
    norms: dict[str, list[np.ndarray]] = {layer: [] for layer in distances}
    with exact_float32(), one_thread():
        for first in range(0, plan.tasks, plan.chunk):
            tasks = sampler.batch(range(first, min(first + plan.chunk, plan.tasks)))
            params = starting_point(network, start, tasks.support)
            adapted = adapt_as(network, params, tasks.support, checkpoint.adaptation)
            for layer, found in distances.items():
                moved, norm = layer_distances(params, adapted.params, layer, len(tasks), several)
                found.append(moved.numpy())
                norms[layer].append(norm.numpy())
    identity = dataclasses.replace(
        identity_of(checkpoint),
        phase="pre-post",
        step=checkpoint.adaptation.steps,
        inner_steps=checkpoint.adaptation.steps,
        n=plan.tasks,
        group=plan.group,
    )
    return Table.of(
        row
        for layer, found in distances.items()
        for row in _layer_rows(
            dataclasses.replace(identity, layer=layer), np.concatenate(found), np.concatenate(norms[layer])
        )
    )


def _layer_rows(identity: Row, distances: Float[np.ndarray, " task"], norms: Float[np.ndarray, " task"]) -> list[Row]:
    rows = []
    for measure, scale in (("euclidean_distance", np.ones_like(norms)), ("relative_distance", norms)):
        if not scale.all():
            reason = "the layer's weights are all zero"
            rows.append(dataclasses.replace(identity, measure=measure, status="undefined", reason=reason))
            continue
        rows.append(mean_row(identity, measure, distances / scale, POSITIVE))
    return rows
