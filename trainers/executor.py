"""Meta-gradients of whole meta-batches, computed the way that an engine says."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

import torch

from metaprobe.trainers.algorithms import Algorithm, MetaGradient
from metaprobe.trainers.compiled import CompiledGradient
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.engine import Engine, Gradient, graph_bytes
from metaprobe.trainers.networks import Parameters, TaskNetwork
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Executor"]


@dataclass
class Executor:
    """One run's meta-gradient: chunks of tasks go to the workers, and their sums are added in the order of the tasks.

    Attributes:
        algorithm: of the run.
        adaptation: how its learners adapt, in the stage of training that takes most (`trainers.stages`).
        transductive: how query sets are normalised.
        workers: of the run's network.
    """

    algorithm: Algorithm
    adaptation: Adaptation
    transductive: bool
    workers: TaskWorkers[TaskNetwork]

    def __post_init__(self) -> None:
        self._programs: dict[tuple[Engine, Adaptation], CompiledGradient] = {}

    def gradient(
        self, params: Parameters, tasks: Tasks, engine: Engine, adaptation: Adaptation | None = None
    ) -> MetaGradient:
        """Return the meta-gradient by θ, leaves that require a gradient, summed over the tasks.

        Args:
            params: θ.
            tasks: of the outer step.
            engine: the way to compute.
            adaptation: as the outer step's stage has it (default: the executor's).
        """
        stage = adaptation or self.adaptation
        chunks = [tasks[start : start + engine.chunk] for start in range(0, len(tasks), engine.chunk)]
        if engine.compiled and (engine, stage) not in self._programs:
            self._programs[engine, stage] = CompiledGradient(self.algorithm, *self._options(engine, stage))
        of_chunk = functools.partial(self._of_chunk, engine, stage, params)
        return functools.reduce(MetaGradient.__add__, self.workers.map(of_chunk, chunks))

    def held(self, params: Parameters, tasks: Tasks, gradient: Gradient) -> int:
        """Return the most bytes that autograd keeps for the first of the tasks; a huge number if it does not fit."""
        one = Engine(1, gradient)

        def held(network: TaskNetwork, task: Tasks) -> int:
            return graph_bytes(lambda: self._of_chunk(one, self.adaptation, params, network, task))

        try:
            return next(self.workers.map(held, [tasks[:1]]))  # by a worker, which goes on with the memory it took
        except torch.OutOfMemoryError:
            return sys.maxsize

    def _of_chunk(
        self, engine: Engine, stage: Adaptation, params: Parameters, network: TaskNetwork, tasks: Tasks
    ) -> MetaGradient:
        if engine.compiled and len(tasks) == engine.chunk:  # a smaller rest is not worth a program of its own
            return self._programs[engine, stage](network, params, tasks)
        return self.algorithm.meta_gradient(network, params, tasks, *self._options(engine, stage))

    def _options(self, engine: Engine, stage: Adaptation) -> tuple[Adaptation, bool, bool]:
        return stage, self.transductive, engine.gradient == "sweep"
