"""Loss and accuracy over the steps of the inner loop, longer than the learner was trained for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import Learner, TestPlan, learner_of, sampler_of
from metaprobe.analyses.testing.accuracy import mean_row, task_rows
from metaprobe.trainers.adapt import adapt_as, query_logits, task_losses
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import starting_point
from metaprobe.trainers.device import exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.intervals import PERCENT, POSITIVE
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.task_kinds import CLASSIFICATION
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["step_curves"]

_MEASURES = ("support_loss", "support_accuracy", "query_loss", "query_accuracy")
_QUARTILES = (("lower_quartile", 0.25), ("upper_quartile", 0.75))


def step_curves(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    steps: int = 20,
    *,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Measure a learner after 0, 1, … inner steps on the same tasks (Zhou et al. 2021, Fig. 2 and Fig. 6).

    One pass of the inner loop, at the inner rate and on the layers that the learner was trained with, from its
    initialisation; of several, from the one that a task is assigned to by the trained adaptation, however many steps
    are looked at.

    Args:
        checkpoint: the learner.
        imageset: where test tasks come from.
        plan: which tasks.
        steps: the last step looked at.
        advance: called with the number of tasks just done.

    Returns:
        For each step rows "support_loss", "query_loss" (nats), "support_accuracy" and "query_accuracy" (percent): the
        mean over tasks with its 95 % interval; and the same names with "_lower_quartile" and "_upper_quartile", the
        band over tasks. `step` is the step, `inner_steps` the last one. With `plan.per_task` also "query_loss" and
        "query_accuracy" of each task.

    Raises:
        MetaprobeError: fewer than one step, queries one by one, a regression, or the data do not fit.
    """
    if steps < 1:
        raise MetaprobeError(f"curves over inner steps need at least 1 step; got {steps}")
    if plan.norm == "one-query":
        told = "curves over inner steps are not measured with one query at a time, a pass for each query and step"
        raise MetaprobeError(f"{told}; leave the plan's norm open, or choose another")
    if checkpoint.config.loss != CLASSIFICATION.loss:
        raise MetaprobeError("curves over inner steps are of loss and accuracy, and a regression has no accuracy")
    learner, sampler = learner_of(checkpoint, plan), sampler_of(checkpoint, imageset, plan)
    learner = dataclasses.replace(learner, adaptation=dataclasses.replace(learner.adaptation, steps=steps))
    firsts = range(0, plan.tasks, plan.chunk)
    batches = (sampler.batch(range(first, min(first + plan.chunk, plan.tasks))) for first in firsts)
    parts = []
    with exact_float32(), TaskWorkers(learner.network) as workers:
        for part in workers.map(lambda network, batch: _scores(network, learner, batch), batches):
            parts.append(part)
            if advance:
                advance(part.shape[2])
    scores = np.concatenate(parts, axis=2)
    identity = dataclasses.replace(learner.identity, head="own", inner_steps=steps)
    images = (sampler.n_way * sampler.n_shot, sampler.n_way * sampler.n_query)
    return Table.of(
        row for step, found in enumerate(scores) for row in _rows(identity, step, found, plan.task_rows, images)
    )


def _scores(network: TaskNetwork, learner: Learner, tasks: Tasks) -> Float[np.ndarray, "step measure task"]:
    """Return what `_MEASURES` names, before adaptation and after every step."""
    start = starting_point(network, learner.start, tasks.support)
    path = adapt_as(network, start, tasks.support, learner.adaptation, every_step=True).trajectory
    assert path is not None
    with torch.no_grad():
        found = [_at(network, params, tasks, learner.transductive) for params in path]
    found += found[-1:] * (learner.adaptation.steps + 1 - len(found))  # where nothing adapts the path is its start
    return torch.stack(found).cpu().numpy()


def _at(network: TaskNetwork, params: Parameters, tasks: Tasks, transductive: bool) -> Float[Tensor, "measure task"]:
    support = forward_tasks(network, params, tasks.support.images)
    query = query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    scores = []
    for logits, labels in ((support, tasks.support.labels), (query, tasks.query.labels)):
        scores.append(task_losses(logits, labels).double())
        scores.append(100 * (logits.argmax(-1) == labels).double().mean(dim=1))
    return torch.stack(scores)


def _rows(
    identity: Row,
    step: int,
    scores: Float[np.ndarray, "measure task"],
    tasks: Sequence[int],
    images: tuple[int, int],  # of a task, that support and query accuracies are shares of
) -> Iterator[Row]:
    identity = dataclasses.replace(identity, phase="post" if step else "pre", step=step)
    for measure, per_task in zip(_MEASURES, scores, strict=True):
        if measure.endswith("accuracy"):
            yield mean_row(identity, measure, per_task, PERCENT, images[measure.startswith("query")])
        else:
            yield mean_row(identity, measure, per_task, POSITIVE)
        for name, share in _QUARTILES:
            value = float(np.quantile(per_task, share))
            yield dataclasses.replace(identity, measure=f"{measure}_{name}", value=value, n=len(per_task))
        if measure.startswith("query"):
            yield from task_rows(identity, measure, per_task, tasks)
