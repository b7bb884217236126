"""Distances to task optima and the terms of the excess-risk bound (Zhou et al. 2021, Theorem 1 and Corollary 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.clustering.bound_rows import Found, bound_rows
from metaprobe.analyses.clustering.smoothness import curvature, gradient_norms, sample_gradient_norms
from metaprobe.analyses.clustering.task_optimum import OptimumSearch, descend, squared_distances, task_samples
from metaprobe.analyses.table import Table
from metaprobe.analyses.testing import Learner, TestPlan, learner_of, sampler_of
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters, Start, starting_point
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.limits import check_whole
from metaprobe.trainers.networks import Parameters, TaskNetwork
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.episodes import Examples, Tasks
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["bound_terms"]


@dataclasses.dataclass(frozen=True)
class _Common:
    """Where the search for the optimum begins that all learners are measured to."""

    start: Start
    adaptation: Adaptation
    told: str
    own: bool = False  # it is where the learner begins too: what is found from there is found already


def bound_terms(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    search: OptimumSearch | None = None,
    *,
    common: Checkpoint | None = None,
    steps: int = 20,
    constant_tasks: int = 20,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Estimate the terms of ER(θ_T^q) ≤ 2G²(ρ^q − 1)/(KL) + (1/2α) E‖θ − θ_T*‖², ρ = 1 + 2αL (Theorem 1).

    θ is the initialisation that a task starts from (of several, the one it is assigned to: Corollary 1), α the inner
    rate, K the support samples of a task. Nothing else is known, so every row is an estimate, and says of what:

    - θ_T*: where full-batch gradient descent leads from the learner's own adapted parameters, on a sample of the task
      much larger than its support set (`analyses.clustering.task_optimum`). A cross-entropy that can reach zero has no
      finite optimum, and a network's loss is not convex and has flat directions (a convolution before a batch norm may
      be scaled at will): where the descent ends depends on where it began, for how long it went and at what rate. An
      optimum found from θ is near θ for that reason alone. The loss and the gradient's norm where it ends are given, to
      judge how near an optimum that is. Compare learners therefore with the same plan and search,
      and look at the second distance too: to one common optimum, found from the same start for all of them (by default
      the base of a learner with several initialisations, and a learner's own start otherwise: for MAML and the TSA-MAML
      made from it, MAML's). That one favours the learner whose start it was. What holds for both is worth saying.
    - G: the largest ‖∇ℓ_i(θ)‖ of a support sample, at the initialisation and after each of the learner's inner steps.
      A lower estimate of the Lipschitz constant, which is a supremum over all θ and samples.
    - L: the largest |eigenvalue| of the Hessian of the support loss at the same points, by power iteration. A lower
      estimate: points and iterations are few, and the theorem's L is of each sample's loss, which may curve more than
      their mean. ReLU and max-pool make kinks where no L exists at all.

    Lower estimates of G and L give a first term that is no bound; its growth with q is the claim (Z10).

    Args:
        checkpoint: the learner.
        imageset: where tasks and their samples come from.
        plan: which tasks.
        search: how θ_T* is looked for.
        common: of one initialisation, from which the common optimum is looked for.
        steps: the first term is given for q = 0 … this.
        constant_tasks: G and L are maxima over the first so many tasks: they have no interval that more would narrow,
            and take a quarter of a task's time.
        advance: called with the number of tasks just done.

    Returns:
        Rows "estimated_squared_distance" and "estimated_squared_distance_to_common_optimum" (means over tasks, all
        parameters), "estimated_optimum_loss" (nats) and "estimated_optimum_gradient_norm" on the sample at the own
        optimum, "estimated_gradient_bound", "estimated_smoothness" (maxima over tasks), "estimated_growth",
        "estimated_first_term" (`step` is q) and "estimated_second_term". Undefined where a number is not finite. With
        `plan.per_task` also both distances of each task.

    Raises:
        MetaprobeError: `constant_tasks` is below 1, `common` has several initialisations or another network, or the
            data do not fit.
    """
    check_whole("constant_tasks", constant_tasks, 1)
    search = search or OptimumSearch()
    learner, sampler = learner_of(checkpoint, plan), sampler_of(checkpoint, imageset, plan)
    shared = _common(checkpoint, common, plan)
    firsts = range(0, plan.tasks, plan.chunk)
    batches = (sampler.batch(range(first, min(first + plan.chunk, plan.tasks))) for first in firsts)
    parts = []

    def measured(own: TaskNetwork, batch: Tasks) -> Float[np.ndarray, "6 task"]:
        return _measured(own, learner, shared, imageset, batch, search, batch.indices[0] < constant_tasks)

    with exact_float32(), TaskWorkers(learner.network) as workers:
        run = workers.map(measured, batches)
        for part in run:
            parts.append(part)
            if advance:
                advance(part.shape[1])
    samples = checkpoint.network_config.n_way * checkpoint.config.n_shot
    found, how = Found(*np.concatenate(parts, axis=1)), learner.adaptation
    first = slice(constant_tasks)
    found = dataclasses.replace(found, steepest=found.steepest[first], curved=found.curved[first])
    identity = dataclasses.replace(learner.identity, head="own", inner_steps=how.steps)
    other = (shared.told, shared.adaptation) if shared else None
    return Table.of(bound_rows(identity, found, how, search, other, samples, steps, plan.task_rows))


def _common(checkpoint: Checkpoint, common: Checkpoint | None, plan: TestPlan) -> _Common | None:
    """Return where the common search begins; None where that is the learner's own start."""
    if common is None:
        clusters = checkpoint.clusters
        if clusters is None:
            return None
        return _Common(clusters.to(plan.device).base, checkpoint.adaptation, "the base of its initialisations")
    if common.clusters is not None:
        raise MetaprobeError(
            f"the common optimum is looked for from one initialisation; checkpoint {common.fingerprint[:12]} has "
            f"{common.clusters.count}, pass the one it was made from"
        )
    if common.network_config != checkpoint.network_config:
        raise MetaprobeError(
            f"checkpoint {common.fingerprint[:12]}, where the common search begins, is of another network than "
            f"{checkpoint.fingerprint[:12]}: {common.network_config} and {checkpoint.network_config}"
        )
    told = f"{common.config.algorithm} {common.fingerprint[:12]}"
    own = (common.fingerprint, common.adaptation) == (checkpoint.fingerprint, checkpoint.adaptation)
    return _Common(common.start(plan.device), common.adaptation, told, own)


def _measured(
    network: TaskNetwork,
    learner: Learner,
    common: _Common | None,
    imageset: ImageSet,
    tasks: Tasks,
    search: OptimumSearch,
    constants: bool,
) -> Float[np.ndarray, "6 task"]:
    """Return what the fields of `Found` hold, in their order, for each task; without `constants` 0 for the last two."""
    start, found = starting_point(network, learner.start, tasks.support), []
    for there, sample in task_samples(imageset, tasks, search.images):
        support = tasks.support[there]
        own = _slice(start, there) if isinstance(learner.start, Clusters) else start
        optimum, loss = _optimum(network, own, support, sample, learner.adaptation, search)
        shared = optimum
        if common is not None and not common.own:
            origin = starting_point(network, common.start, support)
            shared, _ = _optimum(network, origin, support, sample, common.adaptation, search)
        ends = [squared_distances(network, own, end, len(loss)) for end in (optimum, shared)]
        how = learner.adaptation
        left = gradient_norms(network, optimum, sample, how.layers, how.adapt_norm)
        last = _constants(network, own, support, how) if constants else (torch.zeros_like(loss),) * 2
        values = (loss, left, *last)
        found.append(torch.stack([*ends, *(value.double().cpu() for value in values)]))
    return torch.cat(found, dim=1).numpy()


def _optimum(
    network: TaskNetwork,
    start: Parameters,
    support: Examples,
    sample: Examples,
    adaptation: Adaptation,
    search: OptimumSearch,
) -> tuple[Parameters, Float[Tensor, " task"]]:
    rate = search.rate or adaptation.inner_lr
    return descend(network, start, support, sample, adaptation, rate, search.steps)


def _slice(params: Parameters, tasks: slice) -> Parameters:
    return {name: value[tasks] for name, value in params.items()}


def _constants(
    network: TaskNetwork, start: Parameters, support: Examples, how: Adaptation
) -> tuple[Float[Tensor, " task"], Float[Tensor, " task"]]:
    """Return the largest per-sample gradient norm and the largest curvature along each task's adaptation."""
    path = adapt_as(network, start, support, how, every_step=True).trajectory
    assert path is not None
    norms = [sample_gradient_norms(network, at, support, how.layers, how.adapt_norm).amax(dim=1) for at in path]
    curved = [curvature(network, at, support, how.layers, how.adapt_norm) for at in path]
    return torch.stack(norms).amax(dim=0), torch.stack(curved).amax(dim=0)
