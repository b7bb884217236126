"""What a learned update rule makes of a gradient, layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import TestPlan, learner_of, sampler_of
from metaprobe.analyses.testing.accuracy import mean_row, task_rows
from metaprobe.trainers.adapt import adapt_as, adaptable, layers_of
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters, starting_point
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.intervals import POSITIVE
from metaprobe.trainers.networks import has_task_axis
from metaprobe.trainers.networks.naming import is_within
from metaprobe.trainers.parallel import one_thread
from metaprobe.trainers.tasks.data import Data
from metaprobe.trainers.update_rules import Slot, network_part, rule_named

__all__ = ["effective_rank", "update_map"]


def update_map(
    checkpoint: Checkpoint, data: Data, plan: TestPlan, advance: Callable[[int], None] | None = None
) -> Table:
    """Compare the first inner step that a rule takes, −α U(g), with the plain one, −α g, from the same initialisation.

    Args:
        checkpoint: of a learner with an update rule; plain steps are compared with themselves.
        data: where test tasks come from.
        plan: which tasks; with `plan.per_task` each has rows of its own.
        advance: called with the number of tasks just done.

    Returns:
        Of each layer that adapts "update_cosine", the cosine between both steps, all tensors of the layer as one
        vector, and "update_norm_ratio", ‖αU(g)‖/‖αg‖, means over tasks; undefined where a gradient vanishes. A rule
        with a memory takes no α, and its step is compared with g itself, so that the ratio is its rate. Of a rule that
        multiplies gradients by matrices "update_effective_rank": their effective rank (`effective_rank`) as a share of
        full rank, a mean over those of the layer.

    Raises:
        MetaprobeError: the learner has several initialisations, is modulated, or takes no inner steps.
    """
    learner, sampler = learner_of(checkpoint, plan), sampler_of(checkpoint, data, plan)
    ruled = dataclasses.replace(learner.adaptation, steps=1)
    rule = rule_named(ruled.rule)
    plain = dataclasses.replace(ruled, rule="sgd", inner_lr=1.0 if rule.memory else ruled.inner_lr)
    if learner.adaptation.modulation:
        told = f"begins at what its task makes of the weights (modulation {learner.adaptation.modulation})"
        raise MetaprobeError(f"checkpoint {checkpoint.fingerprint[:12]} {told}: its first step is not that alone")
    if isinstance(learner.start, Clusters) or not (learner.adaptation.layers and learner.adaptation.steps):
        told = "has several initialisations" if isinstance(learner.start, Clusters) else "takes no inner steps"
        raise MetaprobeError(f"checkpoint {checkpoint.fingerprint[:12]} {told}: there is no step to compare")
    network, found = learner.network, dict[str, list[np.ndarray]]()
    with exact_float32(), one_thread():
        for first in range(0, plan.tasks, plan.chunk):
            tasks = sampler.batch(range(first, min(first + plan.chunk, plan.tasks)))
            start = starting_point(network, learner.start, tasks.support)
            ends = [adapt_as(network, start, tasks.support, how).params for how in (ruled, plain)]
            step, other = (
                {n: (v - start[n]).double() for n, v in network_part(end).items() if has_task_axis(network, n, v)}
                for end in ends
            )
            for layer in layers_of(network):
                if any(is_within(name, layer) for name in other):
                    found.setdefault(layer, []).append(_compared(step, other, layer))
            if advance:
                advance(len(tasks))
    identity = dataclasses.replace(learner.identity, phase="pre-post", step=1, inner_steps=1)
    moving = adaptable(network, dict(network.named_parameters()), ruled.layers, ruled.adapt_norm)
    matrices = {name for name, slot in rule.parameters(network, moving).items() if _is_matrix(slot)}
    own = {
        name: value for full, value in checkpoint.rule.items() if (name := full.removeprefix(UPDATE_RULE)) in matrices
    }
    ranks = {layer: _share_of_rank(own, layer) for layer in found}
    rows: list[Row] = []
    for layer, parts in found.items():
        row, (cosine, ratio) = dataclasses.replace(identity, layer=layer), np.concatenate(parts, axis=1)
        for measure, values, limits in (
            ("update_cosine", cosine, (-1.0, 1.0)),
            ("update_norm_ratio", ratio, POSITIVE),
        ):
            rows.append(_row(row, measure, values, limits))
            rows += task_rows(row, measure, values, plan.task_rows)
        if (share := ranks[layer]) is not None:
            rows.append(dataclasses.replace(row, measure="update_effective_rank", value=share))
    return Table.of(rows)


def effective_rank(matrix: Float[Tensor, "row column"]) -> float:
    """Return exp(−Σ p ln p), p being the singular values over their sum: from 1 to the full rank (Roy, Vetterli 2007).

    0 of a matrix that is all zero.
    """
    values = torch.linalg.svdvals(matrix.double())
    if not float(values.sum()):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def _compared(ruled: Mapping[str, Tensor], plain: Mapping[str, Tensor], layer: str) -> Float[np.ndarray, "2 task"]:
    """Return the cosine between two steps of a layer, and the ratio of their lengths, for each task."""
    one, other = (
        torch.cat([value.flatten(1) for name, value in step.items() if is_within(name, layer)], dim=1)
        for step in (ruled, plain)
    )
    lengths = one.norm(dim=1), other.norm(dim=1)
    cosine = (one * other).sum(dim=1) / (lengths[0] * lengths[1])
    return torch.stack([cosine.clamp(-1, 1), lengths[0] / lengths[1]]).cpu().numpy()  # NaN where one vanishes


def _row(identity: Row, measure: str, values: Float[np.ndarray, " task"], limits: tuple[float, float]) -> Row:
    if lost := int((~np.isfinite(values)).sum()):
        why = f"the gradient of the layer, or the step, vanishes in {lost} of {len(values)} tasks"
        return dataclasses.replace(identity, measure=measure, n=len(values), status="undefined", reason=why, value=None)
    return mean_row(identity, measure, values, limits)


def _is_matrix(slot: Slot) -> bool:
    """Tell whether a rule multiplies gradients by it as by a matrix: those start as the identity, or at 0."""
    square = len(slot.shape) == 2 and slot.shape[0] == slot.shape[1] > 1
    return square and not slot.a_step and slot.start in ("identity", "zeros")


def _share_of_rank(own: Mapping[str, Tensor], layer: str) -> float | None:
    """Return how much of full rank the matrices of a rule, by PLACE.NAME, have in a layer; None without any."""
    matrices = [value for name, value in own.items() if is_within(name.rpartition(".")[0], layer)]
    if not matrices:
        return None
    return float(np.mean([effective_rank(matrix) / len(matrix) for matrix in matrices]))
