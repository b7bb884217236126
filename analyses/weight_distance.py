"""How far adaptation moves each layer's weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.freezing import TestPlan, mean_row, sampler_of
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import learner_of
from metaprobe.analyses.testing.accuracy import task_rows
from metaprobe.trainers.adapt import adapt_as, layers_of
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.clustering.clusters import Clusters, starting_point
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.intervals import POSITIVE
from metaprobe.trainers.networks import Parameters
from metaprobe.trainers.networks.naming import is_within
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.tasks.data import Data

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
        if not is_within(name, layer):
            continue
        own = value if per_task else value.unsqueeze(0)
        end = after[name] if per_task or after[name].dim() > value.dim() else own
        start = own.detach().double().cpu()
        norms += (start**2).flatten(1).sum(dim=1)
        squared += ((end.detach().double().cpu() - start) ** 2).flatten(1).sum(dim=1)
    return squared.sqrt(), norms.sqrt()


def weight_distance(path: Path | str, data: Data, plan: TestPlan, inner_steps: int | None = None) -> Table:
    """Measure how far each layer's weights move when a checkpoint adapts (Raghu et al. 2020, Appendix B.3).

    Args:
        path: the checkpoint.
        data: where test tasks come from.
        plan: which tasks; with the same plan, the ones that accuracies are measured on.
        inner_steps: of the adaptation (default: as many as it was trained with).

    Returns:
        Rows "euclidean_distance", "rms_change" (the root of the mean squared change of a weight, ‖θ_T − θ‖₂/√d for a
        layer of d weights, by which layers of different sizes can be compared) and "relative_distance" (divided by the
        layer's norm), means over tasks, with `plan.per_task` also of each task; the relative one is undefined for a
        layer whose weights are all zero. A learner with several initialisations moves from the one that a task is
        assigned to, and is measured from there.
    """
    checkpoint = load_checkpoint(path)
    learner = learner_of(checkpoint, plan)
    network, start, adaptation = learner.network, learner.start, learner.adaptation
    if inner_steps is not None:
        adaptation = dataclasses.replace(adaptation, steps=inner_steps)
    several = isinstance(start, Clusters)
    sampler = sampler_of(checkpoint, data, plan)
    distances: dict[str, list[np.ndarray]] = {layer: [] for layer in layers_of(network)}
    norms: dict[str, list[np.ndarray]] = {layer: [] for layer in distances}
    with exact_float32(), one_thread():
        for first in range(0, plan.tasks, plan.chunk):
            tasks = sampler.batch(range(first, min(first + plan.chunk, plan.tasks)))
            params = starting_point(network, start, tasks.support)
            adapted = adapt_as(network, params, tasks.support, adaptation)
            for layer, found in distances.items():
                moved, norm = layer_distances(params, adapted.params, layer, len(tasks), several)
                found.append(moved.numpy())
                norms[layer].append(norm.numpy())
    identity = dataclasses.replace(
        learner.identity,
        phase="pre-post",
        step=adaptation.steps,
        inner_steps=adaptation.steps,
        n=plan.tasks,
    )
    sizes = dict.fromkeys(distances, 0)
    for name, value in network.named_parameters():
        sizes[next(layer for layer in sizes if is_within(name, layer))] += value.numel()
    return Table.of(
        row
        for layer, found in distances.items()
        for row in _layer_rows(
            dataclasses.replace(identity, layer=layer),
            np.concatenate(found),
            np.concatenate(norms[layer]),
            sizes[layer],
            plan.task_rows,
        )
    )


def _layer_rows(
    identity: Row, distances: Float[np.ndarray, " task"], norms: Float[np.ndarray, " task"], size: int, tasks: range
) -> list[Row]:
    rows = []
    scales = {
        "euclidean_distance": np.ones_like(norms),
        "rms_change": np.full_like(norms, np.sqrt(size)),
        "relative_distance": norms,
    }
    for measure, scale in scales.items():
        if not scale.all():
            reason = "; ".join(filter(None, (identity.reason, "the layer's weights are all zero")))
            rows.append(dataclasses.replace(identity, measure=measure, status="undefined", reason=reason))
            continue
        rows.append(mean_row(identity, measure, distances / scale, POSITIVE))
        rows += task_rows(identity, measure, distances / scale, tasks)
    return rows
