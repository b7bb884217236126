"""How long an outer step of one learner takes against another's, by the number of inner steps."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing import timing
from metaprobe.analyses.testing.timing import Timed, drawn, timing_row
from metaprobe.trainers.beginning import network_config_for
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.parallel import TaskWorkers, one_thread
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["STAGES", "time_by_steps"]

Stage = Literal["first", "last"]
STAGES: tuple[Stage, ...] = ("first", "last")
"""Of training: what is annealed (`trainers.stages`) makes its first outer step another computation than its last."""


def time_by_steps(
    configs: Mapping[str, TrainConfig],
    imageset: ImageSet,
    steps: Sequence[int],
    *,
    rounds: int = 12,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Time the meta-gradient of two learners in turn, by inner steps and stage (Antoniou et al. 2019, Table 3).

    One thread; tasks of an outer step of the run, new ones each round and the same for both, who take turns in going
    first; a first round, not counted, warms up. Each computes as its run would (`trainers.engine.choose_engine`). Of
    the last step of the optimiser, which both take, nothing is timed.

    Args:
        configs: two runs by learner; ratios are to the first.
        imageset: the data.
        steps: numbers of inner steps.
        rounds: timed rounds; of fewer than 6 a median has no 95 % interval.
        advance: called with 1 after each round of each stage and number of steps.

    Returns:
        By `view`, the stage, and `inner_steps`: rows "iteration_seconds" of each learner and "iteration_ratio" of the
        second, its time over the first's in the same round: medians over rounds, with their 95 % intervals.

    Raises:
        MetaprobeError: not two learners, no rounds, or a config does not fit the data.
    """
    if len(configs) != 2 or rounds < 1:
        raise MetaprobeError(f"timing takes two learners and at least one round; got {len(configs)} and {rounds}")
    rows = []
    with exact_float32(), one_thread():
        for count in steps:
            own = {name: dataclasses.replace(config, inner_steps=count) for name, config in configs.items()}
            for stage in STAGES:
                rows += _timed(own, stage, imageset, rounds, advance)
    return Table.of(rows)


def _timed(
    configs: Mapping[str, TrainConfig],
    stage: Stage,
    imageset: ImageSet,
    rounds: int,
    advance: Callable[[int], None] | None,
) -> Iterator[Row]:
    config = next(iter(configs.values()))
    device = device_named(config.device)
    draw, found = drawn("ordinary", config, imageset, device), {name: list[float]() for name in configs}
    with contextlib.ExitStack() as stack:
        learners = {name: _learner(one, stage, imageset, stack) for name, one in configs.items()}
        for learner in learners.values():
            learner.choose("ordinary", draw(0))
        for number in range(rounds + 1):
            tasks, order = draw(number), list(learners) if number % 2 else list(reversed(learners))
            for name in order:
                taken = timing.seconds_of(functools.partial(learners[name].training, "ordinary", tasks), device)
                found[name] += [taken] * (number > 0)  # the first warms up
            if advance and number:
                advance(1)
    base, *_ = found.values()
    for name, seconds in found.items():
        how = f"timed here: one thread, {config.device}, {learners[name].engine['ordinary']}"
        own = configs[name]
        row = Row(learner=name, algorithm=own.algorithm, update_rule=own.update_rule, seed=config.seed, view=stage,
                  measure="", value=None, inner_steps=config.inner_steps, source=how)  # fmt: skip
        yield timing_row(row, "iteration_seconds", seconds)
        if seconds is not base:
            yield timing_row(row, "iteration_ratio", [one / other for one, other in zip(seconds, base, strict=True)])


def _learner(config: TrainConfig, stage: Stage, imageset: ImageSet, stack: contextlib.ExitStack) -> Timed:
    network = build_network(network_config_for(config, imageset), config.seed).to(device_named(config.device))
    iteration = 0 if stage == "first" else config.iterations - 1
    return Timed(config, stack.enter_context(TaskWorkers(network)), iteration)
