"""Two heads on one body at test time: the learner's own, adapted to each task, and the NIL head, which needs none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from analyses.table import Table
from analyses.testing.accuracy import evaluated, mean_row, rows_of
from analyses.testing.plan import TestPlan, learner_of, sampler_of
from trainers.checkpoint import Checkpoint
from trainers.tasks.imageset import ImageSet

__all__ = ["compare_heads"]


def compare_heads(
    checkpoint: Checkpoint,
    imageset: ImageSet,
    plan: TestPlan,
    *,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Test a checkpoint as it adapts, and with the NIL head on the body as it is (Raghu et al. 2020, Table 7).

    Both meet the same tasks, so their difference is paired, task by task.

    Args:
        checkpoint: the learner.
        imageset: where test tasks come from.
        plan: which tasks.
        advance: called with the number of tasks just done, twice the plan's in all.

    Returns:
        Rows "accuracy" (percent) and "loss" (nats) of each head, and "head_difference" (own − NIL, percentage points);
        with `plan.per_task` also "accuracy" of each head on each task.

    Raises:
        MetaprobeError: the data do not fit.
    """
    learner, sampler = learner_of(checkpoint, plan), sampler_of(checkpoint, imageset, plan)
    steps = checkpoint.adaptation.steps
    own = evaluated(learner, sampler, plan, (), steps, "own", advance)
    nil = evaluated(learner, sampler, plan, (), 0, "nil", advance)
    identity = dataclasses.replace(learner.identity, frozen="", inner_steps=steps)
    difference = mean_row(identity, "head_difference", own.accuracy - nil.accuracy)
    rows = rows_of(learner, (), steps, "own", own, None, plan.task_rows)
    return Table.of([*rows, *rows_of(learner, (), 0, "nil", nil, None, plan.task_rows), difference])
