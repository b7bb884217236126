"""How long the steps of a study take: a few outer steps and tasks of each kind, timed here and scaled up."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from metaprobe.analyses.measurements import KINDS, Subject
from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.reports.study.cache import Measuring, Training
from metaprobe.reports.study.engine import Step
from metaprobe.reports.study.plan import Planned, runs_of, steps_of
from metaprobe.reports.study.study import Measurement
from metaprobe.trainers.algorithms import algorithm_named
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.interrupt import Interrupted
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.progress import SilentProgress
from metaprobe.trainers.run import RunFolder

__all__ = ["estimated"]

_TASKS = TestPlan.chunk  # which are adapted at once: half of them need not be faster
_STEPS = 1, 4  # outer steps of two trainings, whose difference is what one takes
_SLOW = 1.0  # seconds from which on a rehearsal is not made again with more tasks
_LEAST_FIT = 40  # tasks that clusters are found in


def estimated(
    planned: Planned, names: Iterable[str], progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, float | str]:
    """Return about how many seconds of one core steps take, by name, or why that is not known.

    A step is rehearsed in a folder of its own that is gone afterwards: of each learner two trainings of one and four
    outer steps, of each measurement a few tasks, on what these trained. Learners that begin with others and captures
    that are needed are rehearsed, too. `progress` is told after each step how many
    are timed, and how many there are.
    """
    wanted = set(names)
    steps = [step for step in planned.steps if step.name in wanted]
    found: dict[str, float | str] = {}
    with tempfile.TemporaryDirectory(prefix="metaprobe-") as folder:
        with _unheard():
            rehearsal = _Rehearsal(planned, Path(folder))
        for step in steps:
            with _unheard():
                found[step.name] = rehearsal.of(step)
            progress(len(found), len(steps))
    return found


def _unheard() -> contextlib.AbstractContextManager[object]:
    """Keep what a rehearsal says of its own progress and warnings from standard error."""
    return contextlib.redirect_stderr(io.StringIO())


class _Rehearsal:
    """A study of one seed in a folder of its own, each of whose steps is made small, and done once, when asked for."""

    def __init__(self, planned: Planned, folder: Path) -> None:
        self._data, self._folder = planned.images, folder
        options = dataclasses.replace(planned.options, seeds=1)
        runs = runs_of(planned.study, options, folder, planned.images)
        self._steps = {step.name: step for step in steps_of(planned.study, options, runs)}
        self._known: dict[str, float | str] = {}
        self._stored: dict[Path, int] = {}  # tasks of a store
        _seconds(lambda: train(_small(runs[0].config, 1), self._data, folder / "first"))  # torch imports more at first

    def of(self, step: Step) -> float | str:
        """Return what a step takes, or why that is not known."""
        small = self._steps[re.sub(r"-seed\d+\b", "-seed0", step.name)]
        key = small.name
        if isinstance(small.work, Measuring):  # whatever it is measured on, but for how that was captured
            before = [one.measurement for name in small.needs if isinstance(one := self._steps[name].work, Measuring)]
            key = repr((small.work.measurement, before))
        if key not in self._known:
            try:
                self._known[key] = self._rehearsed(small)
            except Interrupted:
                raise
            except MetaprobeError as error:
                self._known[key] = str(error)
        known, several = self._known[key], 1.0
        if isinstance(step.work, Measuring) and isinstance(small.work, Measuring):
            several = len(step.work.inputs) / len(small.work.inputs)  # checkpoints of several seeds
        return known if isinstance(known, str) else known * several

    def _rehearsed(self, step: Step) -> float:
        for name in step.needs:
            self.of(self._steps[name])
        if isinstance(step.work, Training):
            return self._training(step.work)
        assert isinstance(step.work, Measuring)
        before = [self._steps[name].work for name in step.needs]
        return self._measuring(step.work, [work for work in before if isinstance(work, Measuring)])

    def _training(self, work: Training) -> float:
        config, folder = work.config, work.folder
        few, more = (_small(config, count) for count in _STEPS)
        short = _seconds(lambda: train(few, self._data, self._folder / "short" / folder.name))
        long = _seconds(lambda: train(more, self._data, folder))
        last, plan = load_checkpoint(RunFolder(folder).checkpoint("last")), TestPlan(_TASKS, n_query=config.val_query)
        head = algorithm_named(config.algorithm).head
        test = _seconds(lambda: accuracy_of(last, self._data, plan, head=head)) / _TASKS
        one = max(0.0, long - short - test * few.val_tasks) / (_STEPS[1] - _STEPS[0])  # which validates once more
        begin = max(0.0, short - one - test * few.val_tasks)  # and the search for clusters
        begin *= (config.cluster_tasks or 1) / (few.cluster_tasks or 1) if config.clusters else 1
        steps = config.iterations * one * config.meta_batch / few.meta_batch
        return begin + steps + math.ceil(config.iterations / config.val_every) * config.val_tasks * test

    def _measuring(self, work: Measuring, captures: Sequence[Measuring]) -> float:
        asked = work.measurement
        if captures:  # whose stores it reads: some work is done once, some a task, some a task and permutation
            tasks, permutations = captures[0].measurement.amount, asked.options["permutations"]
            first, ordered, second = (self._reading(work, captures, *few) for few in ((2, 5), (2, 10), (4, 5)))
            more = max(0.0, ordered - first) / (2 * 5) * tasks * (permutations - 5)
            return max(first, first + max(0.0, second - first) / 2 * (tasks - 2) + more)
        if "rounds" in asked.options:  # of outer steps, with as many tasks as the run has
            first, second = self._once(work, 1), self._once(work, 3)
            config = next(one.work.config for one in self._steps.values() if isinstance(one.work, Training))
            batch = config.meta_batch / _small(config, 1).meta_batch
            return batch * (first + max(0.0, second - first) / 2 * (asked.options["rounds"] - 1))
        if not asked.amount or "how" in asked.options:  # of what was noted down, or needs no tasks
            return self._once(work, asked.amount)
        least = next(n for n in range(1, asked.amount + 1) if _allowed(asked, self._data, n))
        found, before = self._once(work, least), 0.0
        for count in (_TASKS, 2 * _TASKS):
            if found > _SLOW or not least < count <= asked.amount:
                break
            least, before, found = count, found, self._once(work, count)
        each = (found - before) / _TASKS if before and least > _TASKS else found / least
        return found + max(0.0, each) * (asked.amount - least)

    def _reading(self, work: Measuring, captures: Sequence[Measuring], tasks: int, permutations: int) -> float:
        for one in captures:
            if self._stored.get(one.file) != tasks:
                self._once(one, tasks)
        return self._once(work, 0, permutations=permutations)

    def _once(self, work: Measuring, count: int, **how: int) -> float:
        asked = work.measurement
        options: dict[str, Any] = {**asked.options, **how}
        if "rounds" in options:
            options["rounds"] = count
        if "fit_tasks" in options:  # beside so many tasks
            options["fit_tasks"] = max(_LEAST_FIT, options["fit_tasks"] * count // asked.amount)
        if work.captures:
            self._stored[work.file] = count
        subject = Subject(work.inputs, self._data, count, SilentProgress(work.label, 0))
        return _seconds(lambda: KINDS[asked.kind].function(subject, **options))


def _small(config: TrainConfig, iterations: int) -> TrainConfig:
    """Return a run of few outer steps, of few tasks each, at its heaviest stage; of several, with two validations."""
    few: dict[str, Any] = {"meta_batch": min(config.meta_batch, config.chunk or 4)}
    few |= {"val_tasks": min(config.val_tasks, _TASKS), "val_every": max(1, iterations // 2), "iterations": iterations}
    if config.clusters and config.cluster_tasks:
        few["cluster_tasks"] = min(config.cluster_tasks, max(_LEAST_FIT, 2 * config.clusters))
    return dataclasses.replace(config, multi_step_loss=0, first_order_until=0, **few)


def _allowed(asked: Measurement, data: Any, count: int) -> bool:
    with contextlib.suppress(MetaprobeError):
        KINDS[asked.kind].check(data, count)
        return True
    return False


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
