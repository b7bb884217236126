"""Where steps are done side by side: what takes their work, and tells how each ended."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from metaprobe.trainers.disk import told_when_full
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.interrupt import Interrupted
from metaprobe.trainers.user_code import USER_CODE

if TYPE_CHECKING:
    from joblib.externals.loky import ProcessPoolExecutor

    from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Outcome", "Processes", "Work", "Workers", "attempt", "check_jobs", "make_ready"]

_MOST_JOBS = 1024


class Work(Protocol):
    """What a step does. Handed to other processes: a frozen dataclass of paths, numbers and functions of modules."""

    def is_done(self, data: Any) -> bool:
        """Return whether its result is there, from the same inputs; `LostEvidence` where what it rests on is not."""
        ...

    def do(self, data: Any) -> None:
        """Do it and keep the result."""


@dataclass(frozen=True)
class Outcome:
    """How a step ended: "kept" from an earlier call, or "not run" for want of what it needs; why; a trace; where."""

    ending: Literal["done", "kept", "failed", "not run"]
    reason: str = ""
    trace: str = ""  # of a bug
    host: str = ""  # of a step that was done elsewhere
    seconds: float = 0.0  # that it took there

    @property
    def good(self) -> bool:
        """Whether its result is there."""
        return self.ending in ("done", "kept")


def check_jobs(jobs: int, name: str = "--jobs") -> None:
    """Refuse fewer than one process, and more than any machine has cores, as a `MetaprobeError` of what `name` says."""
    if not 1 <= jobs <= _MOST_JOBS:
        limit = "" if jobs < 1 else f" and at most {_MOST_JOBS}"
        raise MetaprobeError(f"{name} must be at least 1{limit}; got {jobs}")


def attempt(do: Callable[[], None]) -> Outcome:
    """Do a step's work and return how it ended; only a stop that was asked for goes on as an error."""
    try:
        with told_when_full("its result"):
            do()
    except Interrupted:
        raise
    except MetaprobeError as error:
        return Outcome("failed", str(error))
    except Exception as error:  # whatever it is, it is told on the page and on the terminal, and the rest goes on
        return Outcome("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
    return Outcome("done")


class Workers(ABC):
    """What does steps side by side, here or elsewhere; use it in a `with` block.

    Args:
        most: steps at once.

    Attributes:
        here: whether a step with nothing beside it is done in the process that asks for it instead, on all cores.
        running: the steps in work, by what tells of their ends.
    """

    here = False

    def __init__(self, most: int) -> None:
        self.most = most
        self.running: dict[Any, Any] = {}

    @abstractmethod
    def begin(self, name: str, work: Work, known: Callable[[], Outcome | None]) -> None:
        """Begin the work of a step.

        Args:
            name: by which `ended` will tell of it.
            work: what it does.
            known: tells how it ended by what is seen of its result here, or None where that is nothing.
        """

    @abstractmethod
    def ended(self) -> Iterator[tuple[str, Outcome]]:
        """Wait until steps end, and yield their names with how they did."""

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *error: object) -> None:
        """Give back what was taken; after an error, stop what runs."""


class Processes(Workers):
    """Processes on this machine, begun when the first step is handed to them; each has the data once."""

    here = True

    def __init__(self, data: ImageSet, jobs: int = 1) -> None:
        check_jobs(jobs)
        super().__init__(jobs)
        self._data = data
        self._pool: ProcessPoolExecutor | None = None

    def begin(self, name: str, work: Work, known: Callable[[], Outcome | None]) -> None:
        """Begin a step in one of them."""
        from joblib.externals.loky import ProcessPoolExecutor

        if self._pool is None:
            threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")}
            given = (self._data, os.getpid(), USER_CODE.get())
            self._pool = ProcessPoolExecutor(self.most, initializer=_begin_job, initargs=given, env=threads)
        self.running[self._pool.submit(_in_a_job, work)] = name, known

    def ended(self) -> Iterator[tuple[str, Outcome]]:
        """Wait until steps end, and yield them: where a process died all that ran, by what is there of results."""
        from joblib.externals.loky.process_executor import BrokenProcessPool

        found, _ = wait(self.running, return_when=FIRST_COMPLETED)
        broken = any(isinstance(future.exception(), BrokenProcessPool) for future in found)
        if broken:
            found, self._pool = set(self.running), None
        for future in found:
            name, known = self.running.pop(future)
            yield name, (known() or _DIED) if broken else future.result()

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=error[0] is not None)


_DIED = Outcome("failed", "a process that did this or another step beside it died, for want of memory perhaps")
_job_data: Any = None  # of a process that does steps: what `_begin_job` was given


def _begin_job(data: ImageSet, parent: int, code: str | None) -> None:
    global _job_data
    _job_data = data
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    make_ready(code)


def make_ready(code: str | None) -> None:
    """Make a process ready to do steps: one thread, the allocator as the command line sets it, a line a minute.

    Args:
        code: of the user's, that builds networks (`trainers.user_code`); for the thread that calls this.
    """
    import torch

    from metaprobe.trainers.allocator import keep_freed_memory

    USER_CODE.set(code)
    keep_freed_memory()
    torch.set_num_threads(1)
    sys.stderr.isatty = lambda: False  # bars of several processes would overwrite one another


def _in_a_job(work: Work) -> Outcome:
    from metaprobe.trainers.allocator import give_back_freed_memory

    try:
        return attempt(lambda: work.do(_job_data))
    finally:
        # loky takes what the allocator keeps for a leak: it would end the process, warn, and begin another
        give_back_freed_memory()


def _end_with(parent: int) -> None:  # else it would go on writing beside a process that the next call starts
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
