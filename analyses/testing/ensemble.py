"""Several learners as one: each adapts by itself, and the mean of their logits classifies."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.accuracy import narrowed, score_rows
from metaprobe.analyses.testing.plan import Learner, TestPlan, learner_of, sampler_of, told_of_steps
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import TestHead, adapted_logits, score_tasks
from metaprobe.trainers.networks import TaskNetwork
from metaprobe.trainers.query_scores import scores_of
from metaprobe.trainers.tasks.data import Data
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["ensemble_accuracy"]


def ensemble_accuracy(
    checkpoints: Sequence[Checkpoint],
    data: Data,
    plan: TestPlan,
    *,
    frozen: Sequence[str] = (),
    inner_steps: int | None = None,
    head: TestHead = "own",
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Test several checkpoints as one learner, whose logits are the mean of theirs (Antoniou et al. 2019, Section 4.2).

    Args:
        checkpoints: the learners, each of which adapts as it was trained to; the paper's are the best of one run.
        data: where test tasks come from, the same ones for all.
        plan: which tasks.
        frozen: layers that do not adapt, in any of them.
        inner_steps: test-time steps of all (default: of each the number that it was trained with).
        head: their own, or "nil" or "matching", whose log-probabilities or similarities are averaged. Of a regression
            the outputs are.
        advance: called with the number of tasks just done.

    Returns:
        Rows as of `analyses.testing.accuracy.accuracy_of`; `checkpoint` has the ids joined by +, `inner_steps` the
        largest number that one of them took.

    Raises:
        MetaprobeError: there is none, one stands there twice, they are of different ways, shots or kinds of tasks, a
            layer is unknown, or the data do not fit.
    """
    _check(checkpoints, plan)
    learners = [learner_of(checkpoint, plan) for checkpoint in checkpoints]
    samplers = [sampler_of(checkpoint, data, plan) for checkpoint in checkpoints]  # of the same tasks; each checks them
    trained = [checkpoint.adaptation.steps if head == "own" else 0 for checkpoint in checkpoints]
    steps = trained if inner_steps is None else [inner_steps] * len(trained)
    hows = [
        narrowed(learner.network, learner.adaptation, frozen, count)
        for learner, count in zip(learners, steps, strict=True)
    ]

    def scored(networks: nn.ModuleList, batch: Tasks) -> Float[np.ndarray, "2 task"]:
        logits = []
        for network, learner, how in zip(networks, learners, hows, strict=True):
            assert isinstance(network, TaskNetwork)
            options = (head, learner.transductive, learner.one_query)
            logits.append(adapted_logits(network, learner.start, batch, how, *options))
        return scores_of(torch.stack(logits).mean(dim=0), batch)[None]

    networks = nn.ModuleList(learner.network for learner in learners)
    (result,) = score_tasks(networks, scored, samplers[0], plan.tasks, chunk=plan.chunk, advance=advance)
    return Table.of(score_rows(_identity(learners, steps), tuple(frozen), max(steps), head, result, plan.task_rows))


def _check(checkpoints: Sequence[Checkpoint], plan: TestPlan) -> None:
    if not checkpoints:
        raise MetaprobeError("an ensemble needs at least one checkpoint; got none")
    ids = [checkpoint.fingerprint[:12] for checkpoint in checkpoints]
    if twice := next((one for place, one in enumerate(ids) if one in ids[:place]), None):
        raise MetaprobeError(f"checkpoint {twice} stands in the ensemble twice; name each once")
    tested = [as_tested(checkpoint, plan.otherwise) for checkpoint in checkpoints]
    for name, values in (
        ("n_way", [one.network_config.n_way for one in tested]),
        ("n_shot", [one.config.n_shot for one in tested]),
        ("loss", [one.config.loss for one in tested]),
    ):
        if len(set(values)) > 1:
            told = ", ".join(f"{one} {value}" for one, value in zip(ids, values, strict=True))
            raise MetaprobeError(f"an ensemble is tested on tasks of one kind; {name} differs: {told}")


def _identity(learners: Sequence[Learner], steps: Sequence[int]) -> Row:
    """Return a row that says which checkpoints it is of, and what they have in common."""
    rows = [told_of_steps(learner, count) for learner, count in zip(learners, steps, strict=True)]

    def common(name: str) -> object:
        values = {getattr(row, name) for row in rows}
        return values.pop() if len(values) == 1 else None

    told = f"mean of the logits of {len(rows)} checkpoints" if len(rows) > 1 else ""
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    return dataclasses.replace(
        rows[0],
        checkpoint="+".join(row.checkpoint or "" for row in rows),
        algorithm="+".join(dict.fromkeys(row.algorithm or "" for row in rows)),
        update_rule=common("update_rule"),
        seed=common("seed"),
        iteration=common("iteration"),
        reason="; ".join(filter(None, (told, *reasons))) or None,
    )
