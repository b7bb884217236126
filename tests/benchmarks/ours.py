"""How this project does the work of a benchmark: the calls that `train` and `evaluate` make."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from metaprobe.trainers.algorithms import algorithm_named
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.engine import Engine, Trials, choose_engine
from metaprobe.trainers.evaluate import evaluate
from metaprobe.trainers.executor import Executor
from metaprobe.trainers.parallel import TaskWorkers
from metaprobe.trainers.ranks import Ranks
from metaprobe.trainers.rule_parameters import begin_rule
from metaprobe.trainers.tasks.episodes import Tasks
from tests.benchmarks.work import RULES, Work


class Given:
    """A sampler whose tasks are given."""

    def __init__(self, tasks: Tasks) -> None:
        self.tasks, self.n_way = tasks, tasks.class_ids.shape[1]
        self.n_query = tasks.query.images.shape[1] // self.n_way

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return a run of neighbouring tasks."""
        chosen = list(indices)
        return self.tasks[chosen[0] : chosen[-1] + 1]


class Ours:
    """The work, done as a run of this project does it.

    Args:
        work: the work.
        engine: "unrolled:4", scheme and chunk (default: chosen as at the start of a run).
        threads: workers.
    """

    def __init__(self, work: Work, engine: str, threads: int) -> None:
        self.work = work
        self.network, self.tasks = work.problem()
        torch.set_num_threads(threads)  # TaskWorkers makes as many workers
        self.workers = TaskWorkers(self.network).__enter__()
        scheme, _, chunk = engine.partition(":")
        options = {"gradient": scheme, "chunk": int(chunk or 1)} if scheme else {}
        sizes = {"inner_lr": work.inner_lr, "inner_steps": work.steps, "device": work.device}
        kind, rule = ("maml", work.kind) if work.kind in RULES else (work.kind, None)
        self.config = TrainConfig(kind, "random", update_rule=rule, **sizes, **options)
        self.params = dict(self.network.named_parameters())
        if work.trains:
            self.adaptation = algorithm_named(kind).adaptation(self.config, self.network.layer_names)
            learned = begin_rule(self.network, self.adaptation, self.config)
            self.params |= {name: value.requires_grad_() for name, value in learned.items()}
        self.engine: Engine | None = None
        self.told: str | None = None

    def choose(self) -> None:
        """Choose the engine, as the first iteration of a run does."""
        if not self.work.trains:
            return
        algorithm = algorithm_named(self.config.algorithm)
        self.executor = Executor(algorithm, self.adaptation, True, self.workers)
        trials = Trials(
            compute=lambda engine: float(self.executor.gradient(self.params, self.tasks, engine).loss),
            held=lambda scheme: self.executor.held(self.params, self.tasks, scheme),
            tasks=len(self.tasks),
            workers=self.workers.count,
            ranks=Ranks(0, 1, torch.device(self.work.device)),
        )
        self.engine, _ = choose_engine(self.config, trials)
        self.told = str(self.engine)

    def __call__(self) -> list[Tensor]:
        """Do the work once; return the meta-gradient, summed over the tasks, or each task's query loss."""
        if not self.work.trains:
            return list(torch.from_numpy(self._test()))
        if self.engine is None:
            self.choose()
        assert self.engine
        return list(self.executor.gradient(self.params, self.tasks, self.engine).gradients.values())

    def close(self) -> None:
        """End the workers."""
        self.workers.__exit__(None, None, None)

    def _test(self):
        names = self.network.layer_names
        layers = {"full": names, "frozen": names[-1:], "nil": ()}[self.work.kind]
        adaptation = Adaptation(layers, self.work.inner_lr, self.work.steps)
        head = "nil" if self.work.kind == "nil" else "own"
        how = {"tasks": len(self.tasks), "head": head, "workers": self.workers}
        return evaluate(self.network, self.params, Given(self.tasks), adaptation, **how).loss  # pyright: ignore
