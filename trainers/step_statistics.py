"""Running statistics of norms for each number of inner steps (Antoniou et al. 2019, Section 4, BNRS).

A pass in training is normalised by its own batch's mean and variance, as ever: what runs behind can have no gradient.
A test is normalised by running averages of those. The paper says "running batch statistics for batch normalization",
collected "per-step" in N sets for N steps, and no more; its code keeps N sets, which step i and the queries after it
share, and its forward pass reads none of them. Here there are S + 1, of each norm `update_rule.NORM.mean` and
`.variance` (S + 1, channel): set k belongs to the weights after k steps, so that none mixes two networks. Set k < S
is of the support passes of step k, set S of the query passes after the last step; of queries after earlier steps,
which the multi-step loss alone passes and a test never does, none is kept.

After an outer step each set goes a tenth of the way (`MOMENTUM`, as the code's, which takes it after every task) to
the mean over the meta-batch's tasks of what normalised that pass: the task's mean, and the unbiased estimate of its
variance, as torch keeps them. Sets start from 0 and 1, do not adapt, and no optimiser steps them. At a test step k is
taken with set k, queries after k steps see set k, and beyond S the last one. What comes before the first layer that
adapts does not change with the steps, and keeps set 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from metaprobe.trainers.algorithms.base import MetaGradient
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import STATISTICS, UPDATE_RULE
from metaprobe.trainers.networks import Parameters, layer_of
from metaprobe.trainers.networks.running import given_norms, recorded, statistics_part
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.update_rules import Slot

__all__ = ["MOMENTUM", "collected", "follow", "set_of_step", "statistic_slots", "without_statistics"]

MOMENTUM = 0.1

Scheme = Callable[[nn.Module, Parameters, Tasks, Adaptation, bool], MetaGradient]


def statistic_slots(network: nn.Module, steps: int) -> dict[str, Slot]:
    """Return the sets of a learner's norms, by full name.

    Args:
        network: that adapts; it may be without values.
        steps: S, that it is trained with.

    Raises:
        MetaprobeError: the network has no norms that can be given statistics.
    """
    norms = given_norms(network)
    if not norms:
        told = "--step-statistics running are of batch norms, and the network has none"
        raise MetaprobeError(f"{told}; leave them out, or choose another network")
    shapes = {place: (steps + 1, norm.channels) for place, norm in norms.items()}
    starts = dict(zip(STATISTICS, ("zeros", "ones"), strict=True))
    return {_full(place, name): Slot(shapes[place], starts[name]) for place in norms for name in STATISTICS}


def set_of_step(sets: Mapping[str, Tensor], step: int, still: Collection[str] = ()) -> dict[str, Tensor]:
    """Return the sets that weights after so many steps are passed with, each (1, channel); the first of still layers.

    Args:
        sets: by full name (set, channel).
        step: how many steps.
        still: layers before the first that adapts.
    """
    found = {}
    for name, value in sets.items():
        place = 0 if layer_of(name.removeprefix(UPDATE_RULE)) in still else min(step, len(value) - 1)
        found[name] = value[place : place + 1]
    return found


def without_statistics(params: Parameters) -> dict[str, Tensor]:
    """Return parameters whose passes are normalised by their own batches."""
    sets = statistics_part(params)
    return {name: value for name, value in params.items() if name not in sets}


def collected(
    scheme: Scheme, network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool
) -> MetaGradient:
    """Return a meta-gradient by the batches' own statistics, with the sums over tasks of those, by their sets' names.

    Args:
        scheme: makes it; its first passes are the support sets' before each step, then the queries' after the last.
        network: as the scheme takes it, as are the next four.
        params: θ, with the sets.
        tasks: the chunk.
        adaptation: of a learner with running statistics.
        transductive: how the query set is normalised.
    """
    own = dataclasses.replace(adaptation, step_statistics="batch")
    with recorded(network) as passes:
        found = scheme(network, without_statistics(params), tasks, own, transductive)
    sums = {}
    for place, norm in given_norms(network).items():
        first = passes[place][: adaptation.steps + 1]
        for at, name in enumerate(STATISTICS):
            sums[_full(place, name)] = torch.stack([seen[at].unflatten(0, (len(tasks), -1)).sum(0) for seen in first])
            assert sums[_full(place, name)].shape == (adaptation.steps + 1, norm.channels)
    return dataclasses.replace(found, statistics=sums)


def follow(params: Parameters, means: Mapping[str, Tensor]) -> None:
    """Let the sets follow the means over a meta-batch's tasks, in place: s ← s + 0.1 (m − s)."""
    with torch.no_grad():
        for name, mean in means.items():
            params[name].lerp_(mean.to(params[name].dtype), MOMENTUM)


def _full(place: str, name: str) -> str:
    return f"{UPDATE_RULE}{place}.{name}"
