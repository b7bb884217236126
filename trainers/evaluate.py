"""Test-time scores: adapt to each task's support set, then classify its query set, or tell its numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.algorithms import TestHead
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Start, starting_point
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.device import device_named, exact_float32, memory_of
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.limits import bytes_of_tasks, check_memory
from metaprobe.trainers.losses import kind_of
from metaprobe.trainers.networks import TaskNetwork
from metaprobe.trainers.networks.first_layers import first_layers_once
from metaprobe.trainers.networks.full_context import full_context_part
from metaprobe.trainers.networks.heads import matching_logits
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.query_scores import logits_by, scores_of
from metaprobe.trainers.task_kinds import CLASSIFICATION, TaskKind
from metaprobe.trainers.tasks.data import Data, TaskSampler, check_data, check_shape, task_sampler
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Evaluation", "TestHead", "adapted_logits", "evaluate", "evaluate_each", "sampler_for"]
__all__ += ["score_tasks"]

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Evaluation:
    """What each task's queries say of a learner: the metric of the tasks' kind, and the mean loss.

    Attributes:
        score: accuracy in percent, or mean squared error.
        loss: nats, or mean squared error.
        queries: how many samples of a task it is of.
        kind: of the tasks.
    """

    score: Float[np.ndarray, " task"]
    loss: Float[np.ndarray, " task"]
    queries: int
    kind: TaskKind = CLASSIFICATION

    @property
    def accuracy(self) -> Float[np.ndarray, " task"]:
        """The score, of tasks with classes.

        Raises:
            MetaprobeError: it is another metric.
        """
        if self.kind is not CLASSIFICATION:
            raise MetaprobeError(f"{self.kind.name} has no accuracy; its score is the {self.kind.metric}")
        return self.score


def sampler_for(
    checkpoint: Checkpoint,
    data: Data,
    *,
    split: str = "test",
    n_query: int = 15,
    seed: int = 0,
    device: str = "cpu",
    group: str | None = None,
) -> TaskSampler:
    """Return tasks of the way and shot that a checkpoint was trained for.

    Args:
        checkpoint: the learner.
        data: where the tasks come from.
        split: "train", "val" or "test".
        n_query: query images of a class.
        seed: names the tasks.
        device: where they are wanted.
        group: take tasks of this domain alone.

    Raises:
        MetaprobeError: the images do not fit the network, or the split is too small.
    """
    shape = checkpoint.network_config
    wanted = (shape.channels,) if shape.name == "mlp" else (shape.channels, shape.image_size, shape.image_size)
    check_shape(data, wanted)
    check_data(checkpoint.config, data)
    n_shot = checkpoint.config.n_shot
    sampler = task_sampler(data, split, shape.n_way, n_shot, n_query, seed, device, group)
    need = bytes_of_tasks(shape, n_shot + n_query, tasks=1, at_once=1)
    check_memory(need, "lower --n-query", memory_of(device_named(device)))
    return sampler


def evaluate(
    network: TaskNetwork,
    start: Start,
    sampler: TaskSampler,
    adaptation: Adaptation,
    *,
    tasks: int,
    first: int = 0,
    head: TestHead = "own",
    transductive: bool = True,
    one_query: bool = False,
    chunk: int = 8,
    workers: TaskWorkers[TaskNetwork] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score an initialisation on the tasks of a sampler from the one with index `first` on.

    Args:
        network: the network.
        start: the initialisation, or clusters that give each task its own.
        sampler: where the tasks come from.
        adaptation: how to adapt; a freezing ablation is one with fewer layers.
        tasks: how many.
        first: where to begin.
        head: "own", the network's adapted head; "nil", labels of the support set weighted by cosine similarity of the
            features (Raghu et al. 2020, §5.1), on the body as adapted; "matching", sums of those similarities a class,
            of full-context embeddings where the learner has some.
        transductive: normalise query sets with their own statistics, else with those of the support set.
        one_query: neither, but each query with those of the support set and itself (Zhou et al. 2021, §5.2), which
            takes as many passes as there are queries (`trainers.networks.heads.one_query_at_a_time`).
        chunk: tasks at once.
        workers: of this network (default: as many as torch may use threads).
        advance: called with the number of tasks just done.

    Raises:
        MetaprobeError: fewer than one task, a split that is too small, or a head that reads classes on tasks without.
    """
    ways: list[tuple[Adaptation, TestHead]] = [(adaptation, head)]
    norm: dict[str, bool] = {"transductive": transductive, "one_query": one_query}
    how = {"tasks": tasks, "first": first, "chunk": chunk, "workers": workers, "advance": advance}
    (found,) = evaluate_each(network, start, sampler, ways, **norm, **how)
    return found


def evaluate_each(
    network: TaskNetwork,
    start: Start,
    sampler: TaskSampler,
    ways: Sequence[tuple[Adaptation, TestHead]],
    *,
    tasks: int,
    first: int = 0,
    transductive: bool = True,
    one_query: bool = False,
    chunk: int = 8,
    workers: TaskWorkers[TaskNetwork] | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[Evaluation]:
    """Score an initialisation on the same tasks in several ways: errors, and what is not told here, as `evaluate`.

    What first layers make of a batch's samples, with weights that no task changes, is computed once for all ways.

    Args:
        network: the network.
        start: the initialisation.
        sampler: where the tasks come from.
        ways: how to adapt, and which head to test with; at least one.
        tasks: how many.
        first: where to begin.
        transductive: how query sets are normalised.
        one_query: whether each query is tested alone.
        chunk: tasks at once.
        workers: of this network.
        advance: called with the number of tests of a task just done.

    Returns:
        An evaluation of each way.
    """

    def scored(own: TaskNetwork, batch: Tasks) -> Float[np.ndarray, "way 2 task"]:
        images = (batch.support.images, batch.query.images)
        with first_layers_once(*images) if len(ways) > 1 else contextlib.nullcontext():
            logits = (adapted_logits(own, start, batch, *way, transductive, one_query) for way in ways)
            return np.stack([scores_of(one, batch) for one in logits])

    return score_tasks(network, scored, sampler, tasks, first, chunk, workers, advance)


def score_tasks(
    network: Network,
    scored: Callable[[Network, Tasks], Float[np.ndarray, "way 2 task"]],
    sampler: TaskSampler,
    tasks: int,
    first: int = 0,
    chunk: int = 8,
    workers: TaskWorkers[Network] | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[Evaluation]:
    """Score the tasks of a sampler in chunks, in one way or several, whatever it is that scores them.

    Args:
        network: copied for each worker.
        scored: of a worker's own copy and a batch, each task's metric and loss (`scores_of`) in every way.
        sampler: where the tasks come from.
        tasks: how many.
        first: where to begin.
        chunk: tasks at once.
        workers: of this network (default: as many as torch may use threads).
        advance: called with the number of tasks just done, each as often as there are ways.

    Raises:
        MetaprobeError: fewer than one task, or a split that is too small.
    """
    if tasks < 1:
        raise MetaprobeError(f"a test needs at least one task; got {tasks}")
    end = first + tasks
    batches = (sampler.batch(range(start, min(start + chunk, end))) for start in range(first, end, chunk))
    scores = []
    with contextlib.ExitStack() as stack:
        chosen = workers
        if chosen is None:
            stack.enter_context(exact_float32())
            chosen = stack.enter_context(TaskWorkers(network))
        for part in chosen.map(scored, batches):
            scores.append(part)
            if advance:
                advance(part.shape[0] * part.shape[2])
    first_task = sampler.batch([first]).query.labels
    found = np.concatenate(scores, axis=2)
    return [Evaluation(score, loss, first_task.shape[1], kind_of(first_task)) for score, loss in found]


def adapted_logits(
    network: TaskNetwork,
    start: Start,
    tasks: Tasks,
    adaptation: Adaptation,
    head: TestHead = "own",
    transductive: bool = True,
    one_query: bool = False,
) -> Float[Tensor, "task sample way"]:
    """Adapt to each task of a batch and return the logits of its queries; arguments and errors as `evaluate`.

    Of the NIL head they are log-probabilities, of a regression the numbers that it asks for.
    """
    begun = starting_point(network, start, tasks.support)
    adapted = adapt_as(network, begun, tasks.support, adaptation).params
    with torch.no_grad():
        if head == "matching" and adaptation.fce_steps:
            params = {**adapted, **full_context_part(begun)}
            return matching_logits(network, params, tasks, transductive, one_query, adaptation.fce_steps)
        return logits_by(network, adapted, tasks, head, transductive, one_query)
