"""How long training and test-time adaptation take: MAML, FOMAML and ANIL in turn, on the same network and tasks."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.plan import TestPlan
from metaprobe.trainers.adapt import adapt_as, query_logits
from metaprobe.trainers.algorithms import MetaGradient, algorithm_named
from metaprobe.trainers.beginning import network_config_for
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.device import device_named, exact_float32
from metaprobe.trainers.engine import Engine, Trials, choose_engine
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.networks import TaskNetwork, build_network, convolve_in
from metaprobe.trainers.parallel import TaskWorkers, one_thread
from metaprobe.trainers.ranks import Ranks
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.stages import stage_of
from metaprobe.trainers.tasks.episodes import EpisodeSampler, Examples, Tasks
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = [
    "CONDITIONS",
    "TIMED",
    "Timed",
    "drawn",
    "median_interval",
    "seconds_of",
    "time_learners",
    "timing_row",
    "turn",
]

TIMED = ("maml", "fomaml", "anil")
"""Who is timed; ratios are to the first."""

View = Literal["paper", "ordinary"]
CONDITIONS: tuple[View, ...] = ("paper", "ordinary")
"""The paper's (1 task, a target set of 1 image), and those of an outer step of the run."""


def drawn(view: View, config: TrainConfig, imageset: ImageSet, device: torch.device) -> Callable[[int], Tasks]:
    """Return what draws the tasks of a round: other ones each time, the same ones for all learners.

    "ordinary" is an outer step of the run. "paper" is Raghu et al. (2020, Appendix C.5): "a task batch size of 1, and a
    target set size of 1", which is one query image in all, not one a class; here it is of the first class. Which it is
    does not matter to the time.
    """
    tasks, n_query = (1, 1) if view == "paper" else (config.meta_batch, config.n_query)
    sampler = EpisodeSampler(imageset, "train", config.n_way, config.n_shot, n_query, config.seed, device)

    def draw(number: int) -> Tasks:
        batch = sampler.batch(range(number * tasks, (number + 1) * tasks))
        query = batch.query
        if view == "ordinary":
            return batch
        return dataclasses.replace(batch, query=Examples(query.images[:, :1], query.labels[:, :1], query.ids[:, :1]))

    return draw


class Timed:
    """One algorithm as a run computes it, on a network that others share.

    Args:
        config: a run of this algorithm.
        workers: of the network, one.
        iteration: outer steps taken before, where some of training is annealed (`trainers.stages`).

    Attributes:
        engine: by condition, chosen as a run chooses its own.
    """

    def __init__(self, config: TrainConfig, workers: TaskWorkers[TaskNetwork], iteration: int = 0) -> None:
        self._config, self._workers = config, workers
        self._network = workers.network
        algorithm, self._transductive = algorithm_named(config.algorithm), config.norm == "transductive"
        self._adaptation = algorithm.adaptation(config, self._network.layer_names)
        rule = begin_rule(self._network, self._adaptation, config)
        self._params = dict(self._network.named_parameters()) | {n: value.requires_grad_() for n, value in rule.items()}
        stage = stage_of(config, self._adaptation, iteration)
        self._executor = Executor(algorithm, stage, self._transductive, workers)
        self.engine: dict[View, Engine] = {}

    def choose(self, view: View, tasks: Tasks) -> None:
        """Choose the engine for a condition, as at the beginning of a run (`trainers.engine.choose_engine`)."""
        device = next(iter(self._params.values())).device
        trials = Trials(
            compute=lambda engine: float(self._executor.gradient(self._params, tasks, engine).loss),
            held=lambda scheme: self._executor.held(self._params, tasks, scheme),
            tasks=len(tasks),
            workers=self._workers.count,
            ranks=Ranks(0, 1, device),
        )
        self.engine[view], _ = choose_engine(self._config, trials)

    def training(self, view: View, tasks: Tasks) -> MetaGradient:
        """Return the meta-gradient of an outer step: forward and backward through the inner loop."""
        return self._executor.gradient(self._params, tasks, self.engine[view])

    def inference(self, view: View, tasks: Tasks) -> list[Tensor]:
        """Return the logits of the query images after adaptation, in chunks as tests are made of."""
        logits = []
        for part in (tasks[first : first + TestPlan.chunk] for first in range(0, len(tasks), TestPlan.chunk)):
            adapted = adapt_as(self._network, self._params, part.support, self._adaptation).params
            with torch.no_grad():
                logits.append(
                    query_logits(self._network, adapted, part.support, part.query, transductive=self._transductive)
                )
        return logits


def turn(number: int) -> tuple[str, ...]:
    """Return who comes when in a round: all orders of the learners in turn, so that none gains by its place."""
    orders = list(itertools.permutations(TIMED))
    return orders[number % len(orders)]


def time_learners(
    config: TrainConfig,
    imageset: ImageSet,
    *,
    rounds: int = 24,
    views: Sequence[View] = CONDITIONS,
    advance: Callable[[int], None] | None = None,
) -> Table:
    """Time training and inference of MAML, FOMAML and ANIL (Raghu et al. 2020, Appendix C.5 and Table 6).

    Training is one meta-gradient, forward and backward through the inner loop, with the engine that a run of that
    algorithm chooses; inference is adapting to the support set and the logits of the query set. One thread; images lie
    in memory; each round has new tasks, the same ones for all, who take turns in another order each round; a first
    round, not counted, warms up. FOMAML tests as MAML does, so its inference ratio shows what noise alone gives.

    Args:
        config: of a run: its way, shot, inner loop, network, precision and device; its algorithm does not matter.
        imageset: the data.
        rounds: timed rounds; of fewer than 6 a median has no 95 % interval.
        views: conditions, of `CONDITIONS`.
        advance: called with 1 after each round.

    Returns:
        By `view`, rows "training_seconds" and "inference_seconds" of each learner, the median over rounds of one
        computation's wall-clock time, and "training_speedup" and "inference_speedup", the median over rounds of MAML's
        time over the learner's in the same round; each with the 95 % interval of its median (`median_interval`) and `n`
        rounds. `source` says how it was computed.

    Raises:
        MetaprobeError: no rounds, or the config does not fit the data.
    """
    if rounds < 1:
        raise MetaprobeError(f"timing needs at least one round; got {rounds}")
    device = device_named(config.device)
    network = build_network(network_config_for(config, imageset), config.seed).to(device)
    convolve_in(torch.bfloat16 if config.precision == "bf16" else None, network)
    rows = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(exact_float32(but_tf32=config.precision == "tf32"))
        stack.enter_context(one_thread())
        workers = stack.enter_context(TaskWorkers(network))
        plain = dataclasses.replace(config, step_statistics=None)  # which are for tests, and not of all three
        learners = {name: Timed(dataclasses.replace(plain, algorithm=name), workers) for name in TIMED}
        for view in views:
            draw = drawn(view, config, imageset, device)
            seconds = _rounds(learners, view, draw, rounds, device, advance)
            rows += _rows(config, view, seconds, learners)
    return Table.of(rows)


_Seconds = dict[tuple[str, str], list[float]]  # by what ("training") and learner, a number a round


def _rounds(
    learners: dict[str, Timed],
    view: View,
    draw: Callable[[int], Tasks],
    rounds: int,
    device: torch.device,
    advance: Callable[[int], None] | None,
) -> _Seconds:
    found: _Seconds = defaultdict(list)
    for learner in learners.values():
        learner.choose(view, draw(0))
    for number in range(rounds + 1):
        tasks = draw(number)
        for name in turn(number):
            learner = learners[name]
            for what, work in (("training", learner.training), ("inference", learner.inference)):
                taken = seconds_of(functools.partial(work, view, tasks), device)
                if number:  # the first warms up
                    found[what, name].append(taken)
        if advance and number:
            advance(1)
    return found


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock time that work on a device takes."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rows(config: TrainConfig, view: View, seconds: _Seconds, learners: dict[str, Timed]) -> list[Row]:
    rows = []
    for what in ("training", "inference"):
        base = seconds[what, TIMED[0]]
        for name in TIMED:
            how = learners[name].engine[view] if what == "training" else f"chunks of up to {TestPlan.chunk} tasks"
            identity = Row(
                algorithm=name, update_rule=config.update_rule, seed=config.seed, inner_steps=config.inner_steps,
                view=view, measure="", value=None,
                source=f"timed here: one thread, {config.device}, {how}",
            )  # fmt: skip
            taken = seconds[what, name]
            rows.append(timing_row(identity, f"{what}_seconds", taken))
            if name != TIMED[0]:
                ratios = [first / own for first, own in zip(base, taken, strict=True)]
                rows.append(timing_row(identity, f"{what}_speedup", ratios))
    return rows


def timing_row(identity: Row, measure: str, values: Sequence[float]) -> Row:
    """Return the row of the median over rounds, with its 95 % interval (`median_interval`)."""
    low, high = median_interval(values) or (None, None)
    value = statistics.median(values)
    return dataclasses.replace(identity, measure=measure, value=value, low=low, high=high, n=len(values))


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of a median: the k-th smallest and k-th largest value, k from the binomial.

    The median lies between x₍ₖ₎ and x₍ₙ₊₁₋ₖ₎ with probability 1 − 2 P(B < k), B ~ Binomial(n, ½), whatever the
    distribution (Hahn and Meeker 1991, §5.2); k is the largest for which that is at least 95 %. Timings have tails that
    a standard error would follow.

    Returns:
        None for fewer than 6 values, of which no pair has 95 %.
    """
    ordered = sorted(values)
    below = int(stats.binom.ppf(0.025, len(ordered), 0.5))  # the least b with P(B ≤ b) ≥ 2.5 %, so P(B < b) < 2.5 %
    return (ordered[below - 1], ordered[-below]) if below else None
