"""Freezing ablation: keep layers fixed in the test-time inner loop and see what accuracy it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import Learner, TestPlan, adapting_all, identity_of, learner_of, sampler_of
from metaprobe.analyses.testing.ablation import Ablation, OtherSteps, all_subsets, contiguous_blocks
from metaprobe.analyses.testing.accuracy import Way, accuracy_of, evaluated, group_accuracy, mean_row, score_rows
from metaprobe.analyses.testing.module_freezing import freeze_module
from metaprobe.analyses.testing.plan import told_of_frozen
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.tasks.data import Data

__all__ = [
    "TestPlan",
    "accuracy_of",
    "all_subsets",
    "contiguous_blocks",
    "freeze",
    "freeze_module",
    "group_accuracy",
    "identity_of",
    "mean_row",
    "sampler_of",
]


def freeze(
    path: Path | str,
    data: Data,
    plan: TestPlan,
    *,
    frozen: Sequence[Sequence[str]] | None = None,
    inner_steps: Sequence[int] = (),
    other_steps: OtherSteps = "ends",
    adapts: Literal["all"] | None = None,
    nil_head: bool = False,
    random_row: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Run a freezing ablation on a checkpoint, with the untrained network beside it.

    Each set of frozen layers is the same inner loop with fewer layers, on the same tasks, so differences to the
    first set are paired. A number of steps other than the first is tested on the first and the last set unless all are
    asked for: what freezing the body costs depends on how many steps the head may take.

    Args:
        path: the checkpoint.
        data: where test tasks come from.
        plan: which tasks.
        frozen: sets of layer names (default: `contiguous_blocks`); differences are to the first.
        inner_steps: numbers of test-time steps (default: the trained one).
        other_steps: which sets are tested at numbers of steps other than the first.
        adapts: "all" to let every layer that is not frozen adapt, though the learner was trained otherwise: of ANIL,
            freezing the whole body is then its own way of testing. Such rows say so in `adapts`; the rows of a learner
            that adapts all layers anyway are as without.
        nil_head: whether to test the NIL head, too, which needs no step, on each body as it is.
        random_row: whether to test the untrained network of the run's seed too.
        progress: called with the number of tasks done and of tasks in all.

    Returns:
        Rows "accuracy" (percent), "loss" (nats) and "accuracy_difference" (percentage points), whose `minus` says which
        set is taken off ("frozen=none"); with `plan.per_task` also "accuracy" of each task. Of a regression the metric
        is "mean_squared_error", and less of it is better.

    Raises:
        MetaprobeError: a layer is unknown, the data do not fit, or a regression is to be tested with the NIL head.
    """
    checkpoint = load_checkpoint(path)
    trained = learner_of(checkpoint, plan)
    sets = contiguous_blocks(layers_of(trained.network)) if frozen is None else frozen
    ablation = Ablation.of(sets, inner_steps, checkpoint.adaptation.steps, other_steps)
    learners = (trained, _untrained(checkpoint, plan)) if random_row else (trained,)
    if adapts == "all":
        learners = tuple(adapting_all(learner) for learner in learners)
    sampler = sampler_of(checkpoint, data, plan)
    total, done = plan.tasks * len(learners) * (len(ablation) + nil_head), 0

    def advance(tasks: int) -> None:
        nonlocal done
        done += tasks
        if progress:
            progress(done, total)

    def tested(learner: Learner) -> list[Row]:
        ways: list[Way] = [(names, steps, "own") for steps, sets in ablation.wanted.items() for names in sets]
        if nil_head:
            ways.append(((), 0, "nil"))
        found = evaluated(learner, sampler, plan, ways, advance)
        tests = dict(zip(ways, found, strict=True))
        rows = ablation.rows(learner.identity, lambda names, steps: tests[names, steps, "own"], plan.task_rows)
        if nil_head:
            identity = dataclasses.replace(learner.identity, adapts=None)  # nothing adapts for this head
            rows += score_rows(identity, (), 0, "nil", found[-1], plan.task_rows)
        return told_of_frozen(learner, rows)

    return Table.of(row for learner in learners for row in tested(learner))


def _untrained(checkpoint: Checkpoint, plan: TestPlan) -> Learner:
    learner = learner_of(checkpoint.untrained(), plan)
    if checkpoint.adaptation.step_statistics == "running" and plan.norm is None:
        told = "normalised by its batches, as it has collected no statistics"
        reason = "; ".join(filter(None, (learner.identity.reason, told)))
        learner = dataclasses.replace(learner, identity=dataclasses.replace(learner.identity, reason=reason))
    source = f"adapted as {checkpoint.config.algorithm} {checkpoint.fingerprint[:12]}"
    return dataclasses.replace(
        learner, identity=dataclasses.replace(learner.identity, algorithm="random", source=source)
    )
