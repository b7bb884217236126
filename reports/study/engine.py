"""The steps of a study: each begins once its needs are done, side by side; what failed does not sink the rest."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Any, Literal, Protocol

from trainers.disk import told_when_full
from trainers.errors import MetaprobeError, UnreadableInput
from trainers.interrupt import Interrupted
from trainers.user_code import USER_CODE

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

    from trainers.tasks.imageset import ImageSet

__all__ = ["LostEvidence", "Outcome", "Results", "Step", "Work", "check_jobs", "run_steps", "states"]


_MOST_JOBS = 1024


class LostEvidence(UnreadableInput):
    """A result is there, and what it rests on is gone or has changed: no page may be made without it."""


class Work(Protocol):
    """What a step does. Handed to other processes: a frozen dataclass of paths, numbers and functions of modules."""

    def is_done(self, data: Any) -> bool:
        """Return whether its result is there, from the same inputs; `LostEvidence` where what it rests on is not."""
        ...

    def do(self, data: Any) -> None:
        """Do it and keep the result."""


@dataclass(frozen=True)
class Step:
    """One step of a study."""

    name: str
    work: Work  # what it does
    needs: tuple[str, ...] = ()  # names of the steps that must be done before
    alone: bool = False  # whether nothing may run beside it


@dataclass(frozen=True)
class Outcome:
    """How a step ended: "kept" from an earlier call, or "not run" for want of what it needs; why; a trace of a bug."""

    ending: Literal["done", "kept", "failed", "not run"]
    reason: str = ""
    trace: str = ""

    @property
    def good(self) -> bool:
        """Whether its result is there."""
        return self.ending in ("done", "kept")


@dataclass(frozen=True)
class Results:
    """The steps of a study, and how they ended by their names, in the order of their declaration."""

    steps: tuple[Step, ...]
    outcomes: Mapping[str, Outcome]

    def works(self) -> Iterator[Work]:
        """Yield what the steps did whose results are there."""
        return (step.work for step in self.steps if self.outcomes[step.name].good)

    def missing(self) -> tuple[tuple[str, Outcome], ...]:
        """Return the steps that failed or were not run, by name."""
        return tuple((name, outcome) for name, outcome in self.outcomes.items() if not outcome.good)


def check_jobs(jobs: int) -> None:
    """Refuse fewer than one process, and more than any machine has cores, as a `MetaprobeError`."""
    if not 1 <= jobs <= _MOST_JOBS:
        limit = "" if jobs < 1 else f" and at most {_MOST_JOBS}"
        raise MetaprobeError(f"--jobs must be at least 1{limit}; got {jobs}")


def run_steps(steps: Sequence[Step], data: ImageSet, jobs: int = 1) -> Results:
    """Do all steps that are not done, and return how each ended; one that fails takes those with it that need it.

    Of `jobs` processes side by side each has one thread. With 1, or where only one step can be done at the time, it is
    done here, on all cores. The numbers are the same.

    Raises:
        ValueError: steps have one name, need one that there is not, or need each other in a circle.
        LostEvidence: a result is there, and what it rests on is not.
        Interrupted: Ctrl-C or SIGTERM.
    """
    check_jobs(jobs)
    order, place = _order(steps), {step.name: number for number, step in enumerate(steps)}
    ended: dict[str, Outcome] = {}
    ready: list[Step] = []

    def end(step: Step, outcome: Outcome) -> None:
        ended[step.name] = outcome
        order.done(step.name)

    with _Workers(data, jobs) as workers:
        while order.is_active():
            if names := order.get_ready():
                for step in (steps[place[name]] for name in names):
                    outcome = _known(step, ended, data)
                    end(step, outcome) if outcome else ready.append(step)
                continue
            ready.sort(key=lambda step: (step.alone, place[step.name]))
            beside = [step for step in ready if not step.alone]
            if not workers.running and (jobs == 1 or len(beside) < 2):
                step = ready.pop(0)
                end(step, _attempt(step.work, data))
                continue
            for step in beside[: jobs - len(workers.running)]:
                ready.remove(step)
                workers.begin(step)
            for step, outcome in workers.ended():
                end(step, outcome or _known(step, ended, data, "done") or _DIED)
    return Results(tuple(steps), {step.name: ended[step.name] for step in steps})


_DIED = Outcome("failed", "a process that did this or another step beside it died, for want of memory perhaps")


def states(steps: Sequence[Step], data: ImageSet) -> dict[str, str]:
    """Return whether each step is "kept", "to do", or "failed" where what is there is damaged; nothing is done."""
    ended: dict[str, Outcome] = {}
    by_name = {step.name: step for step in steps}
    for name in TopologicalSorter({step.name: step.needs for step in steps}).static_order():
        ended[name] = _known(by_name[name], ended, data) or Outcome("not run")
    return {name: {"not run": "to do"}.get(ended[name].ending, ended[name].ending) for name in by_name}


def _order(steps: Sequence[Step]) -> TopologicalSorter[str]:
    names = [step.name for step in steps]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"steps of a study: a name is used twice: {', '.join(twice)}")
    for step in steps:
        if lacking := set(step.needs).difference(names):
            raise ValueError(f"steps of a study: {step.name!r} needs {min(lacking)!r}, which is no step")
    order = TopologicalSorter({step.name: step.needs for step in steps})
    order.prepare()
    return order


def _known(
    step: Step, ended: Mapping[str, Outcome], data: ImageSet, there: Literal["done", "kept"] = "kept"
) -> Outcome | None:
    """Return how a step ends that need not (`there`) or cannot be done; a damaged file of one run fails that step."""
    for name in step.needs:
        if not ended[name].good:
            told = "failed" if ended[name].ending == "failed" else "was not run"
            return Outcome("not run", f"needs “{name}”, which {told}")
    try:
        return Outcome(there) if step.work.is_done(data) else None
    except LostEvidence:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))


def _attempt(work: Work, data: ImageSet) -> Outcome:
    """Do a step's work and return how it ended; only a stop that was asked for goes on as an error."""
    try:
        with told_when_full("its result"):
            work.do(data)
    except Interrupted:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))
    except Exception as error:  # whatever it is, it is told on the page and on the terminal, and the rest goes on
        return Outcome("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome("done")


class _Workers:
    """Processes that do steps, begun when the first step is handed to them; each has the data once."""

    def __init__(self, data: ImageSet, jobs: int) -> None:
        self._data, self._jobs = data, jobs
        self._pool: ProcessPoolExecutor | None = None
        self.running: dict[Future[Outcome], Step] = {}

    def begin(self, step: Step) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        if self._pool is None:
            threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")}
            given = (self._data, os.getpid(), USER_CODE.get())
            self._pool = ProcessPoolExecutor(self._jobs, initializer=_begin_job, initargs=given, env=threads)
        self.running[self._pool.submit(_in_a_job, step.work)] = step

    def ended(self) -> Iterator[tuple[Step, Outcome | None]]:
        """Wait until steps end, and yield them with how they did; None of all that ran where a process died."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        found, _ = wait(self.running, return_when=FIRST_COMPLETED)
        broken = any(isinstance(future.exception(), BrokenProcessPool) for future in found)
        if broken:
            found, self._pool = set(self.running), None
        for future in found:
            yield self.running.pop(future), None if broken else future.result()

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=error[0] is not None)


_job_data: Any = None  # of a process that does steps: what `_begin_job` was given


def _begin_job(data: ImageSet, parent: int, code: str | None) -> None:
    """Make a process ready: one thread, the allocator as the command line sets it, progress as a line a minute."""
    import torch

    from trainers.allocator import keep_freed_memory

    global _job_data
    _job_data = data
    USER_CODE.set(code)  # of the thread that does the steps, the only one of this process that does any
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(1)
    sys.stderr.isatty = lambda: False  # bars of several processes would overwrite one another


def _in_a_job(work: Work) -> Outcome:
    return _attempt(work, _job_data)


def _end_with(parent: int) -> None:  # else it would go on writing beside a process that the next call starts
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
