"""What a study has to do, and about how long that takes: nothing is done."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import torch

from probe.show import Grid
from reports.studies.running import Declared
from reports.studies.steps import Step
from reports.studies.works import Training
from trainers.algorithms import algorithm_named
from trainers.beginning import begin_network, network_config_for
from trainers.config import TrainConfig
from trainers.device import device_named
from trainers.evaluate import evaluate
from trainers.parallel import one_thread
from trainers.tasks.episodes import EpisodeSampler
from trainers.tasks.imageset import ImageSet

__all__ = ["planned"]

_ALIKE = {"maml_head": "anil", "tsa_maml": "maml"}
"""Algorithms that begin with another run's checkpoint, and the ones that are timed in their place."""

_TEST_QUERIES = 15  # images of a class, as tests have
_TESTED = 4  # tasks


def planned(ready: Declared, jobs: int) -> tuple[Grid, Grid]:
    """Return the plan of a study: each step, whether it is done, and an estimate of its seconds; then their sum.

    What it takes to learn from a task and to adapt to one is timed now, on one chunk of tasks for each algorithm; the
    rest is a rough figure. Steps are shared by as many processes, or one step by as many threads, as there are.

    Args:
        ready: the study.
        jobs: processes side by side.
    """
    done: set[str] = set()
    for step in ready.steps:
        if done.issuperset(step.needs) and step.work.is_done(ready.imageset):
            done.add(step.name)
    left = [step for step in ready.steps if step.name not in done]
    seconds = _seconds(left, ready, 1 if jobs > 1 else torch.get_num_threads())
    rows = tuple(
        (step.name, "done" if step.name in done else "to do", None if step.name in done else round(seconds[step.name]))
        for step in ready.steps
    )
    whole = sum(seconds.values()) / max(1, min(jobs, len(left)))
    facts = (("steps to do", len(left)), ("steps done", len(done)), ("minutes, about", round(whole / 60, 1)))
    total = tuple((name, value) for name, value in facts)
    return Grid("plan", ("step", "state", "seconds"), rows), Grid("in all", ("what", "value"), total)


def _seconds(steps: list[Step], ready: Declared, threads: int) -> dict[str, float]:
    """Return an estimate for each step, of its own."""
    configs = {step.work.config.algorithm: step.work.config for step in ready.steps if isinstance(step.work, Training)}
    paces: dict[tuple[str, str], float] = {}
    found = {}
    for step in steps:
        effort = step.work.effort()
        total = effort.seconds
        for (kind, algorithm), tasks in effort.tasks.items():
            like = _ALIKE.get(algorithm, algorithm)
            if (kind, like) not in paces:
                config = dataclasses.replace(configs[algorithm], algorithm=like, base=None, clusters=None)
                config = dataclasses.replace(config, cluster_tasks=None)
                paces[kind, like] = (_trained if kind == "train" else _tested)(config, ready.imageset)
            total += tasks * paces[kind, like] / threads
        found[step.name] = total
    return found


def _trained(config: TrainConfig, imageset: ImageSet) -> float:
    """Return the seconds that one task of an outer step takes one core."""
    algorithm, device = algorithm_named(config.algorithm), device_named(config.device)
    network, _ = begin_network(config, algorithm, network_config_for(config, imageset))
    network = network.to(device)
    params = dict(network.named_parameters()) | dict(algorithm.beside(config, imageset, network))
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    tasks = algorithm.batches(config, imageset, device).batch(range(config.chunk or 1))
    adaptation = algorithm.adaptation(config, network.layer_names)
    transductive = config.norm == "transductive"
    return _timed(
        lambda: algorithm.meta_gradient(network, leaves, tasks, adaptation, transductive, False), config.chunk or 1
    )


def _tested(config: TrainConfig, imageset: ImageSet) -> float:
    """Return the seconds that adapting to one task and classifying its queries takes one core."""
    algorithm, device = algorithm_named(config.algorithm), device_named(config.device)
    network, _ = begin_network(config, algorithm, network_config_for(config, imageset))
    network = network.to(device)
    sampler = EpisodeSampler(imageset, "test", config.n_way, config.n_shot, _TEST_QUERIES, 0, device)
    adaptation = algorithm.adaptation(config, network.layer_names)
    params = dict(network.named_parameters())
    return _timed(lambda: evaluate(network, params, sampler, adaptation, tasks=_TESTED, chunk=_TESTED), _TESTED)


def _timed(work: Callable[[], object], tasks: int) -> float:
    """Return the seconds a task of a second call; the first one warms up."""
    with one_thread():
        work()
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / tasks
