"""Accuracy on the tasks of a plan: one way of adapting a learner, on all domains or on one alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from torch import nn

from metaprobe.analyses.contrasts import DIFFERENCE, filled
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.plan import Learner, TestPlan, learner_of, sampler_of, told_of_frozen, told_of_steps
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import Evaluation, TestHead, evaluate_each
from metaprobe.trainers.intervals import EVERYWHERE, POSITIVE, mean_interval, too_few
from metaprobe.trainers.networks.naming import without
from metaprobe.trainers.task_kinds import CLASSIFICATION, TaskKind
from metaprobe.trainers.tasks.data import Data, TaskSampler
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Way", "accuracy_of", "evaluated", "group_accuracy", "mean_row", "narrowed", "score_rows", "task_rows"]

Way = tuple[tuple[str, ...], int, TestHead]
"""How a learner is tested: the layers that do not adapt, the number of inner steps, the head."""


def accuracy_of(
    checkpoint: Checkpoint,
    data: Data,
    plan: TestPlan,
    *,
    frozen: Sequence[str] = (),
    inner_steps: int | None = None,
    head: TestHead = "own",
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Test one way of adapting a checkpoint.

    Args:
        checkpoint: the learner.
        data: where test tasks come from.
        plan: which tasks.
        frozen: layers that do not adapt.
        inner_steps: test-time steps (default: the trained number; none without a head, which needs no inner loop).
        head: its own, "nil" or "matching" (`trainers.evaluate.evaluate`).
        advance: called with the number of tasks just done.

    Returns:
        Rows "accuracy" (percent) and "loss" (nats), or "mean_squared_error" of a regression; with `plan.per_task` also
        the first of each task.

    Raises:
        MetaprobeError: a layer is unknown, the data do not fit, or a regression is to be tested without a head.
    """
    learner = learner_of(checkpoint, plan)
    trained = checkpoint.adaptation.steps if head == "own" else 0
    count = trained if inner_steps is None else inner_steps
    way = (tuple(frozen), count, head)
    (result,) = evaluated(learner, sampler_of(checkpoint, data, plan), plan, [way], advance)
    rows = score_rows(told_of_steps(learner, count), tuple(frozen), count, head, result, plan.task_rows)
    return Table.of(told_of_frozen(learner, rows))


def group_accuracy(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    head: TestHead = "own",
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Test a checkpoint on each domain alone, then on all together (Zhou et al. 2021, Tables 1 and 2).

    Args:
        checkpoint: the learner.
        imageset: where test tasks come from; of one domain, it is tested once.
        plan: which tasks: that many of each domain, and that many of the mixture, where each task draws its domain.
        head: as of `accuracy_of`.
        advance: called with the number of tasks just done.

    Returns:
        Rows "accuracy" (percent) and "loss" (nats), with `group` the domain, or None for all together; with
        `plan.per_task` also "accuracy" of each task, which is the same one for every learner that is given this plan.

    Raises:
        MetaprobeError: the plan names a domain already, or the data do not fit.
    """
    if plan.group is not None:
        raise MetaprobeError(f"the accuracy of every domain was asked for, and of {plan.group!r} alone; leave one out")
    groups = imageset.domain_names if len(imageset.domain_names) > 1 else ()
    plans = [dataclasses.replace(plan, group=group) for group in (*groups, None)]
    return sum((accuracy_of(checkpoint, imageset, one, head=head, advance=advance) for one in plans), Table())


def evaluated(
    learner: Learner,
    sampler: TaskSampler,
    plan: TestPlan,
    ways: Sequence[Way],
    advance: Callable[[int], None] | None,
) -> list[Evaluation]:
    """Score a learner in several ways; see `trainers.evaluate.evaluate_each`.

    Of several initialisations a task is assigned its own by the adaptation that the learner was trained with, whatever
    is frozen afterwards.

    Raises:
        MetaprobeError: a layer is unknown, or the number of steps is below 0.
    """
    return evaluate_each(
        learner.network,
        learner.start,
        sampler,
        [(_adaptation(learner, frozen, steps), head) for frozen, steps, head in ways],
        tasks=plan.tasks,
        transductive=learner.transductive,
        one_query=learner.one_query,
        chunk=plan.chunk,
        advance=advance,
    )


def _adaptation(learner: Learner, frozen: tuple[str, ...], steps: int) -> Adaptation:
    """Return how to adapt: without a step no layer does, so that its weights need not be those of each task."""
    found = narrowed(learner.network, learner.adaptation, frozen, steps)
    return found if steps or found.modulation else dataclasses.replace(found, layers=())


def narrowed(network: nn.Module, adaptation: Adaptation, frozen: Sequence[str], steps: int) -> Adaptation:
    """Return an adaptation without the frozen layers (names or globs, at any depth), and with another number of steps.

    Raises:
        MetaprobeError: a layer is unknown, or the number of steps is below 0.
    """
    if steps < 0:
        raise MetaprobeError(f"inner steps must be at least 0; got {steps}")
    kept = without(network, adaptation.layers, frozen)
    return dataclasses.replace(adaptation, layers=kept, steps=steps)


def score_rows(
    identity: Row,
    frozen: tuple[str, ...],
    steps: int,
    head: TestHead,
    result: Evaluation,
    tasks: Sequence[int] = (),
    less: tuple[str, Evaluation] | None = None,
) -> list[Row]:
    """Return the rows of one test: means over tasks, then the metric of every task that is to have a row.

    Args:
        identity: says what was tested.
        frozen: layers that did not adapt.
        steps: of the inner loop.
        head: that was tested.
        result: the scores.
        tasks: the index of each task, in the order of the scores, for rows of their own; none for no such rows.
        less: what the metric is to be compared with, in the words of `Row.minus`, and its scores on the same tasks.
    """
    identity = dataclasses.replace(
        identity,
        phase="post" if steps else "pre",
        frozen=",".join(frozen),
        head=head,
        inner_steps=steps,
    )
    kind = result.kind
    queries = result.queries if kind is CLASSIFICATION else None
    rows = [mean_row(identity, kind.metric, result.score, kind.limits, queries)]
    if kind is CLASSIFICATION:  # of a regression, the metric is the loss
        rows.append(mean_row(identity, "loss", result.loss, POSITIVE))
    if less is not None:
        minus, other = less
        rows.append(_difference_row(dataclasses.replace(identity, minus=minus), kind, result.score - other.score))
    return [*rows, *task_rows(identity, kind.metric, result.score, tasks)]


def mean_row(
    identity: Row,
    measure: str,
    per_task: Float[np.ndarray, " task"],
    limits: tuple[float, float] = EVERYWHERE,
    queries: int | None = None,
) -> Row:
    """Return the row of a mean over tasks with its 95 % interval (`trainers.intervals`); one task alone has none.

    Where a task has no number (its inner loop diverged), the mean has none: undefined, with how many there are. Over so
    few tasks that the interval is rough, `reason` says so.

    Args:
        identity: says what the numbers are of.
        measure: what was measured.
        per_task: the numbers.
        limits: smallest and largest value.
        queries: of a task, where the numbers are the percentage of them that is right.
    """
    identity = dataclasses.replace(identity, measure=measure, n=len(per_task))
    if lost := int((~np.isfinite(per_task)).sum()):
        why = f"{lost} of {len(per_task)} tasks have no finite {measure}: their inner loop diverged"
        reason = "; ".join(filter(None, (identity.reason, why)))
        return dataclasses.replace(identity, value=None, status="undefined", reason=reason)
    mean, rough = mean_interval(per_task[None], limits, queries), too_few(len(per_task))
    reason = "; ".join(filter(None, (identity.reason, rough))) or None
    return dataclasses.replace(identity, value=mean.value, low=mean.low, high=mean.high, reason=reason)


def task_rows(identity: Row, measure: str, per_task: Float[np.ndarray, " task"], tasks: Sequence[int]) -> Iterator[Row]:
    """Yield the row of each single task, whose indices are given in the order of the numbers; none for no indices."""
    for task, value in zip(tasks, per_task, strict=True) if tasks else ():
        yield mean_row(dataclasses.replace(identity, task=task), measure, value[None])


def _difference_row(identity: Row, kind: TaskKind, per_task: Float[np.ndarray, " task"]) -> Row:
    """Return the row of a paired difference in the metric, with the interval that every difference has."""
    row, most = mean_row(identity, kind.metric + DIFFERENCE, per_task), kind.limits[1] - kind.limits[0]
    return row if row.value is None else filled(row, per_task[None], (-most, most))
