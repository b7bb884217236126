"""How many steps a study can have past one machine: `python -m tests.scaling --steps 100 1000 10000`.

First what a step costs where there is one of a thing: steps that do nothing go through the engine of studies, a client
and a real scheduler of dask.distributed, all in this process (which is the worst case: `dask scheduler` is one of its
own), to workers of other processes. CPU time is told, so that it does not matter what else the machine does.

Then a simulation in virtual time: steps with the times and needs of a study that was measured, given out one after
another at that cost to more workers than there are here.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import os
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from typing import cast

from metaprobe.reports.study.engine import Step, run_steps
from metaprobe.trainers.execution.schedulers import DaskWorkers
from metaprobe.trainers.execution.sent import Source
from metaprobe.trainers.execution.workers import Workers
from metaprobe.trainers.tasks import ImageSet

TRAININGS = (21.7, 6.1, 3.8, 4.3, 0.1, 4.2, 0.8, 0.8, 0.8, 0.8)
MEASUREMENTS = (
    *(0.1, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 1.1, 1.1, 4.9, 1.2, 1.2, 1.2, 1.2, 1.2, 0.2, 0.2, 0.2, 0.2),
    *(0.0, 0.0, 0.0, 0.0, 2.6, 0.3, 0.3, 0.7, 0.7, 3.7, 3.4, 0.5, 0.5, 0.5, 0.6, 1.0, 0.9, 9.1, 9.1, 4.7, 4.7),
)
"""Seconds of a core of the steps of a small raghu2020 of one seed, 30 outer steps: 53 steps, 102 seconds."""


@dataclasses.dataclass(frozen=True)
class Sleep:
    """A step that sleeps, and leaves an empty file."""

    path: str
    seconds: float = 0.0

    def is_done(self, data: object) -> bool:
        return os.path.exists(self.path)

    def do(self, data: object) -> None:
        time.sleep(self.seconds)
        open(self.path, "x").close()


@dataclasses.dataclass(frozen=True)
class Bare:
    """What a worker needs for steps that need nothing."""

    def begin(self) -> None:
        pass


def measured(workers: int, counts: list[int], seconds: float) -> Iterator[tuple[int, float, float]]:
    """Yield of numbers of steps the CPU seconds of this process a step, and the wall-clock seconds of all."""
    source, data = cast(Source, Bare()), cast(ImageSet, None)
    with tempfile.TemporaryDirectory() as folder, _Kept(DaskWorkers(f"local:{workers}", source)) as kept:
        for count in (10 * workers, *counts):  # the first for what is imported
            steps = [Step(str(number), Sleep(f"{folder}/{count}-{number}", seconds)) for number in range(count)]
            cpu, wall = time.process_time(), time.perf_counter()
            assert not run_steps(steps, data, elsewhere=cast(Workers, kept)).missing()
            yield count, (time.process_time() - cpu) / count, time.perf_counter() - wall


class _Kept:
    """Workers that outlive a call of `run_steps`."""

    def __init__(self, workers: DaskWorkers) -> None:
        self._workers, self._depth = workers, 0

    def __enter__(self) -> _Kept:
        self._depth += 1
        return self

    def __exit__(self, *error: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._workers.__exit__(*error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._workers, name)


def makespan(seeds: int, workers: int, cost: float, longer: float) -> tuple[int, float, float]:
    """Return steps, seconds of work and seconds until all is done of a study of so many seeds, in virtual time.

    Args:
        seeds: each with the trainings and measurements above, which wait for the longest training.
        workers: how many.
        cost: seconds that whoever gives the steps out takes for each.
        longer: times as long as above.
    """
    ready = deque((longer * TRAININGS[0], len(MEASUREMENTS)) for _ in range(seeds))
    ready += [(longer * one, 0) for _ in range(seeds) for one in TRAININGS[1:]]
    steps, work = seeds * (len(TRAININGS) + len(MEASUREMENTS)), seeds * longer * sum(TRAININGS + MEASUREMENTS)
    running: list[tuple[float, int]] = []  # end, and how many steps wait for it
    now = last = 0.0
    while ready or running:
        if ready and len(running) < workers:
            seconds, waiting = ready.popleft()
            now += cost
            heapq.heappush(running, (now + seconds, waiting))
            continue
        end, waiting = heapq.heappop(running)
        now, last = max(now, end), max(last, end)
        ready += [(longer * one, 0) for one in MEASUREMENTS] if waiting else []
    return steps, work, last


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.scaling", description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 1000, 10_000], help="how many that do nothing")
    parser.add_argument("--workers", type=int, default=2, help="processes for them")
    parser.add_argument("--seconds", type=float, default=0.0, help="that each of them sleeps instead")
    parser.add_argument("--cost", type=float, help="seconds a step, not measured but as told")
    asked = parser.parse_args()
    cost = asked.cost
    if cost is None:
        print(
            f"{os.cpu_count()} cores, {asked.workers} workers\n\n| steps | ms of CPU a step | seconds |\n|---|---|---|"
        )
        for count, cost, wall in measured(asked.workers, asked.steps, asked.seconds):
            print(f"| {count:,} | {1000 * cost:.2f} | {wall:.1f} |", flush=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"\nworkers, their imports included: {used.ru_utime + used.ru_stime:.0f} seconds of CPU")
    print(f"\nat {1000 * cost:.1f} ms a step\n\n| workers | minutes, steps of 2 s | gain | hours, of 200 s | gain |")
    print("|---|---|---|---|---|")
    for workers in (1, 4, 16, 64, 256, 1024, 4096):
        (_, work, short), (_, more, long) = (makespan(189, workers, cost, longer) for longer in (1.0, 100.0))
        print(f"| {workers:,} | {short / 60:.1f} | {work / short:.0f} × | {long / 3600:.1f} | {more / long:.0f} × |")


if __name__ == "__main__":
    main()
