"""The steps of a study: what there is to do, in which order, side by side; what failed does not sink the rest."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.interrupt import Interrupted
from trainers.tasks.imageset import ImageSet

__all__ = ["Effort", "LostEvidence", "Outcome", "Results", "Step", "Work", "check_jobs", "in_waves", "run_steps"]


class LostEvidence(UnreadableInput):
    """A result is there, and what it rests on is gone or has changed: no page may be made without it."""


Ending = Literal["done", "failed", "not run"]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much work a step is, for an estimate of its time.

    Attributes:
        tasks: tasks that learners adapt to, by what is done with each and the algorithm: ("train", "maml") → 16,000.
        seconds: what does not grow with tasks, on one core.
    """

    tasks: Mapping[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


class Work(Protocol):
    """What a step does. Handed to other processes: a frozen dataclass of paths, numbers and functions of modules."""

    def is_done(self, imageset: ImageSet) -> bool:
        """Return whether its result is there, made from the same inputs.

        Raises:
            LostEvidence: the result was there, and what it rests on is gone or has changed.
        """
        ...

    def do(self, imageset: ImageSet) -> None:
        """Do it and keep the result."""
        ...

    def effort(self) -> Effort:
        """Return how much it is."""
        ...


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a study.

    Attributes:
        name: what is done to what, "train maml-seed0"; its own in the study.
        work: what it does.
        needs: names of the steps whose results it reads.
        alone: whether nothing may run beside it, as when it measures time.
    """

    name: str
    work: Work
    needs: tuple[str, ...] = ()
    alone: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        ending: "done" (now or earlier), "failed", or "not run" for want of what it needs.
        reason: why not.
        trace: where an error came from that is not one of ours.
    """

    ending: Ending
    reason: str = ""
    trace: str = ""


@dataclasses.dataclass(frozen=True)
class Results:
    """The steps of a study and how they ended.

    Attributes:
        steps: in the order of their declaration.
        outcomes: by the names of the steps.
    """

    steps: tuple[Step, ...]
    outcomes: Mapping[str, Outcome]

    def works(self) -> Iterator[Work]:
        """Yield what the steps did that were done."""
        return (step.work for step in self.steps if self.outcomes[step.name].ending == "done")

    def missing(self) -> tuple[tuple[str, Outcome], ...]:
        """Return the steps that failed or were not run, by name."""
        return tuple((name, outcome) for name, outcome in self.outcomes.items() if outcome.ending != "done")


def in_waves(steps: Sequence[Step]) -> Iterator[tuple[Step, ...]]:
    """Yield the steps in groups, each of which needs earlier groups only; a step that is `alone` is a group.

    Raises:
        ValueError: a step needs one that there is not, or two have one name.
    """
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        raise ValueError(f"steps of a study: a name is used twice in {sorted(names)}")
    left, passed = list(steps), set[str]()
    while left:
        ready = [step for step in left if passed.issuperset(step.needs)]
        if not ready:
            raise ValueError(f"steps of a study: {left[0].name!r} needs {left[0].needs}, which never all come before")
        together = [step for step in ready if not step.alone] or ready[:1]
        yield tuple(together)
        passed.update(step.name for step in together)
        left = [step for step in left if step.name not in passed]


def check_jobs(jobs: int) -> None:
    """Refuse a number of processes that cannot be.

    Raises:
        MetaprobeError: it is below 1.
    """
    if jobs < 1:
        raise MetaprobeError(f"--jobs must be at least 1; got {jobs}")


def run_steps(steps: Sequence[Step], imageset: ImageSet, jobs: int = 1) -> Results:
    """Do all steps that are not done, and return how each ended.

    A step that fails takes those with it that need it, and no other.

    Args:
        steps: of one study.
        imageset: its data.
        jobs: processes side by side, each with one thread; with 1 everything is done here, on all cores. The numbers
            are the same.

    Raises:
        MetaprobeError: fewer than one job.
        LostEvidence: a result is there, and what it rests on is not.
        Interrupted: Ctrl-C or SIGTERM.
    """
    check_jobs(jobs)
    ended: dict[str, Outcome] = {}
    for wave in in_waves(steps):
        ready = []
        for step in wave:
            lacking = [name for name in step.needs if ended[name].ending != "done"]
            if lacking:
                ended[step.name] = Outcome("not run", f"needs “{lacking[0]}”, which {_told(ended[lacking[0]])}")
            elif outcome := _known(step, imageset):
                ended[step.name] = outcome
            else:
                ready.append(step)
        for step, outcome in _done(ready, imageset, jobs):
            ended[step.name] = outcome
    return Results(tuple(steps), {step.name: ended[step.name] for step in steps})


def _known(step: Step, imageset: ImageSet) -> Outcome | None:
    """Return how a step ended that need not or cannot be done; a file of one run that is damaged fails that step."""
    try:
        return Outcome("done") if step.work.is_done(imageset) else None
    except LostEvidence:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))


def _told(outcome: Outcome) -> str:
    return "failed" if outcome.ending == "failed" else "was not run"


def _done(steps: Sequence[Step], imageset: ImageSet, jobs: int) -> Iterable[tuple[Step, Outcome]]:
    if jobs == 1 or len(steps) == 1:
        return ((step, _attempt(step.work.do, imageset)) for step in steps)
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    try:
        with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
            outcomes: Any = Parallel()(delayed(_in_a_job)(step.work.do, imageset, os.getpid()) for step in steps)
    except TerminatedWorkerError as error:  # out of memory, say: what the others of the wave kept counts
        died = Outcome(
            "failed", f"a process that did this or another step beside it died: {str(error).splitlines()[0]}"
        )
        outcomes = [_known(step, imageset) or died for step in steps]
    return zip(steps, outcomes, strict=True)


def _in_a_job(do: Callable[[ImageSet], None], imageset: ImageSet, parent: int) -> Outcome:
    """Do a step in a process of its own: one thread, the allocator set as the command line sets it.

    A process whose parent was killed would go on writing beside one that the next call starts: it ends with it.
    """
    import torch

    from trainers.allocator import keep_freed_memory

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(1)
    with contextlib.redirect_stderr(_NoTerminal()):  # bars of several processes would overwrite one another
        return _attempt(do, imageset)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _NoTerminal(io.TextIOBase):
    """Standard error, as if it were a file: progress then is a line a minute."""

    def write(self, text: str) -> int:
        return sys.__stderr__.write(text) if sys.__stderr__ else len(text)

    def flush(self) -> None:
        if sys.__stderr__:
            sys.__stderr__.flush()

    def isatty(self) -> bool:
        return False


def _attempt(do: Callable[[ImageSet], None], imageset: ImageSet) -> Outcome:
    try:
        do(imageset)
    except Interrupted:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))
    except Exception as error:  # whatever it is, it is told on the page and on the terminal, and the rest goes on
        return Outcome("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome("done")
