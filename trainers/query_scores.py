"""What queries say of adapted parameters: logits by the head that is tested, and each task's metric and loss."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.adapt import query_logits
from metaprobe.trainers.algorithms import TestHead
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.losses import kind_of, task_losses, task_scores
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks
from metaprobe.trainers.networks.heads import matching_logits, nil_log_probabilities, one_query_at_a_time
from metaprobe.trainers.task_kinds import REGRESSION, TaskKind
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["logits_by", "query_scores", "refuse_nil", "scores_of"]


def query_scores(
    network: nn.Module,
    adapted: Parameters,
    tasks: Tasks,
    head: TestHead = "own",
    transductive: bool = True,
    one_query: bool = False,
) -> Float[np.ndarray, "2 task"]:
    """Return each task's metric, in its unit, and mean query loss, with its adapted parameters.

    Where the adapted network's outputs are no numbers, as its inner loop diverged, there is no accuracy either: NaN
    stands for both, as the first of several NaN would otherwise count as the class chosen.

    Args:
        network: any module; for the NIL head and for `transductive` False a `TaskNetwork`.
        adapted: parameters by name, with a task axis or shared.
        tasks: whose query sets are classified.
        head: see `evaluate`.
        transductive: see `evaluate`.
        one_query: see `evaluate`.
    """
    with torch.no_grad():
        return scores_of(logits_by(network, adapted, tasks, head, transductive, one_query), tasks)


def scores_of(logits: Float[Tensor, "task sample way"], tasks: Tasks) -> Float[np.ndarray, "2 task"]:
    """Return what `query_scores` does, of query logits."""
    loss = task_losses(logits, tasks.query.labels).double()
    kind = kind_of(tasks.query.labels)
    score = loss if kind is REGRESSION else kind.scale * task_scores(logits.double(), tasks.query.labels)
    return torch.stack([score.where(~loss.isnan(), loss), loss]).cpu().numpy()


def refuse_nil(kind: TaskKind) -> None:
    """Refuse heads that read classes of the support set for tasks without, as a `MetaprobeError`."""
    if kind is REGRESSION:
        raise MetaprobeError(
            "the NIL head weighs the support set's classes by similarity of features, as the matching head does, and a "
            "regression has none; test the learner's own head"
        )


def logits_by(
    network: nn.Module, params: Parameters, tasks: Tasks, head: TestHead, transductive: bool, one_query: bool
) -> Float[Tensor, "task sample way"]:
    """Return the logits of each task's queries by a head; see `trainers.evaluate.evaluate`.

    Args:
        network: any module; for other heads than its own a `TaskNetwork`.
        params: as adapted, with a task axis or shared.
        tasks: whose query sets are classified.
        head: "own", "nil" or "matching", whose full-context embeddings are not looked at.
        transductive: normalise query sets by themselves, else with the support set's statistics.
        one_query: neither, but each query with the support set and itself.

    Raises:
        MetaprobeError: a head that reads classes is asked of tasks without, or of another module.
    """
    if head == "own" and one_query:
        return one_query_at_a_time(lambda images: forward_tasks(network, params, images), tasks)
    if head == "own":
        return query_logits(network, params, tasks.support, tasks.query, transductive=transductive)
    refuse_nil(kind_of(tasks.query.labels))
    if not isinstance(network, TaskNetwork):
        raise MetaprobeError(
            f"the NIL head reads the features of a TaskNetwork; {type(network).__name__} is none, test its own head"
        )
    without = nil_log_probabilities if head == "nil" else matching_logits
    return without(network, params, tasks, transductive, one_query)
