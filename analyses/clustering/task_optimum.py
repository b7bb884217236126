"""Estimates of a task's optimal parameters: gradient descent, from an initialisation, on many images of its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import groupby

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from metaprobe.trainers.adapt import adapt_as, task_losses
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import Parameters, TaskNetwork, forward_tasks, has_task_axis
from metaprobe.trainers.tasks.episodes import Examples, Tasks
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.update_rules import network_part

__all__ = ["OptimumSearch", "descend", "squared_distances", "task_samples"]

_LEG = 20  # steps of one call: the inner loop holds the parameters of every step until it ends


@dataclasses.dataclass(frozen=True)
class OptimumSearch:
    """How a task's optimum is looked for.

    Attributes:
        images: at most so many of a class, those of the support set included; all of a smaller class.
        steps: of full-batch gradient descent, after the learner's own inner steps.
        rate: of that descent (default: the learner's inner rate).
    """

    images: int = 20
    steps: int = 100
    rate: float | None = None

    def __post_init__(self) -> None:
        if self.images < 1 or self.steps < 1 or not (self.rate is None or self.rate > 0):
            raise MetaprobeError(
                "a search for task optima needs images and steps of at least 1 and a rate above 0; got "
                f"images={self.images}, steps={self.steps}, rate={self.rate}"
            )


def task_samples(imageset: ImageSet, tasks: Tasks, images: int) -> Iterator[tuple[slice, Examples]]:
    """Yield runs of neighbouring tasks, each with a large sample of every task's classes.

    A task's sample has as many images of each class: those of the support set, then others by ascending id (the
    learner never adapted to them), up to `images` or what the task's smallest class has.

    Args:
        imageset: where the tasks come from.
        tasks: the batch.
        images: wanted of a class.

    Raises:
        MetaprobeError: fewer images are wanted than a class has in the support set.
    """
    ways = tasks.class_ids.shape[1]
    shots = tasks.support.ids.shape[1] // ways
    if images < shots:
        raise MetaprobeError(f"a task's sample holds its support set, {shots} images a class; got images={images}")
    classes = tasks.class_ids.cpu().numpy()
    sizes = [min(images, *(len(imageset.images_of(int(own))) for own in row)) for row in classes]
    for size, run in groupby(range(len(tasks)), key=sizes.__getitem__):
        chosen = list(run)
        there = slice(chosen[0], chosen[-1] + 1)
        support = tasks.support.ids[there].cpu().numpy().reshape(len(chosen), ways, shots)
        ids = np.stack([_chosen(imageset, *task, size) for task in zip(classes[there], support, strict=True)])
        yield there, _examples(imageset, ids, size, tasks.support.images)


def descend(
    network: TaskNetwork,
    start: Parameters,
    support: Examples,
    sample: Examples,
    adaptation: Adaptation,
    rate: float,
    steps: int,
) -> tuple[Parameters, Float[Tensor, " task"]]:
    """Adapt to the support set as the learner does, then go on by gradient descent on the sample.

    Args:
        network: the network.
        start: where the learner begins, shared or with a leading task axis.
        support: what it adapts to.
        sample: images (task, sample, …); normalised together, as a batch.
        adaptation: the learner's; what it leaves fixed stays fixed.
        rate: of the descent.
        steps: of the descent.

    Returns:
        The parameters where it ends, and the mean loss on the sample there, in nats.
    """
    params: Parameters = adapt_as(network, start, support, adaptation).params
    for done in range(0, steps, _LEG):
        # norms and gates stay as the learner's last step left them
        plain = {"rule": Adaptation.rule, "step_norms": False, "modulation": "", "prox_lambda": 0.0}
        leg = dataclasses.replace(adaptation, inner_lr=rate, steps=min(_LEG, steps - done), **plain)
        params = adapt_as(network, params, sample, leg).params
    with torch.no_grad():
        return params, task_losses(forward_tasks(network, params, sample.images), sample.labels)


def squared_distances(network: TaskNetwork, a: Parameters, b: Parameters, tasks: int) -> Float[Tensor, " task"]:
    """Return ‖a − b‖² for each task, over all parameters, in float64; either may be shared or have a task axis."""
    total = torch.zeros(tasks, dtype=torch.float64)
    for name, value in network_part(a).items():
        ends = [_double(network, name, end, tasks) for end in (value, b[name])]
        total += (ends[0] - ends[1]).square().flatten(1).sum(dim=1)
    return total


def _double(network: TaskNetwork, name: str, value: Tensor, tasks: int) -> Tensor:
    own = value.detach().double().cpu()
    return own if has_task_axis(network, name, value) else own.expand(tasks, *own.shape)


def _chosen(
    imageset: ImageSet, classes: Int64[np.ndarray, " way"], support: Int64[np.ndarray, "way shot"], size: int
) -> Int64[np.ndarray, " sample"]:
    parts = []
    for class_id, own in zip(classes, support, strict=True):
        others = np.setdiff1d(imageset.images_of(int(class_id)), own)
        parts.append(np.concatenate([own, others[: size - len(own)]]))
    return np.concatenate(parts)


def _examples(imageset: ImageSet, ids: Int64[np.ndarray, "task sample"], size: int, like: Tensor) -> Examples:
    images = torch.from_numpy(imageset.images[ids]).to(like.device, like.dtype) / 255
    labels = torch.arange(ids.shape[1] // size, device=like.device).repeat_interleave(size)
    return Examples(images, labels.expand(len(ids), -1), torch.from_numpy(ids))
