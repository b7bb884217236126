"""What travels to a process of another machine that does a step, and how its end is waited for."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.execution.workers import Outcome, Work, Workers, attempt, make_ready
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.plugins import homes_of_plugins
from metaprobe.trainers.progress import duration
from metaprobe.trainers.tasks import load_for
from metaprobe.trainers.tasks.sources import data_root_or_default
from metaprobe.trainers.user_code import USER_CODE

if TYPE_CHECKING:
    from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Polled", "Sent", "Source"]

_PAUSE, _EACH = 0.05, 1e-4  # seconds between two looks at what has ended, and more for each that is looked at
_LOOK, _GRACE = 1.0, 75.0  # seconds between two looks for a result, and in all; NFS takes up to 60 to see a new file
_loaded = lru_cache(maxsize=1)(load_for)
_ONE = threading.Lock()


@dataclass(frozen=True)
class Source:
    """What a process of any machine needs to do steps as they are done here: the data by where they lie."""

    config: TrainConfig  # that names the data
    root: Path | None  # folder of the data sets
    versions: tuple[str, ...]  # of metaprobe, torch, plug-ins and the data
    folder: Path  # that relative paths are from
    code: str | None  # of the user's, that builds networks

    @classmethod
    def here(cls, config: TrainConfig, root: Path | None, data: ImageSet) -> Source:
        """Return what is needed to do steps as this process does them."""
        return cls(config, data_root_or_default(root), _versions(data), Path.cwd(), USER_CODE.get())

    def begin(self) -> ImageSet:
        """Make this process ready and return its data.

        Raises:
            MetaprobeError: it does not see the folder or the data, or has others, or another version of a program.
        """
        host = socket.gethostname()
        try:
            os.chdir(self.folder)
        except OSError as error:
            told = f"{host} cannot enter {self.folder}: {error.strerror}"
            raise MetaprobeError(f"{told}; all machines must see that folder under this path") from error
        make_ready(self.code)
        data = _loaded(self.config, data_root=self.root)
        if data.fingerprint[:12] != self.versions[-1]:  # kept from an earlier study, and changed since perhaps
            _loaded.cache_clear()
            data = _loaded(self.config, data_root=self.root)
        if (found := _versions(data)) != self.versions:
            told = f"{host} has other versions than here of metaprobe, torch, plug-ins or the data ({', '.join(found)})"
            raise MetaprobeError(
                f"{told}; expected {', '.join(self.versions)}: give it those, and begin its workers anew"
            )
        return data


def _versions(data: ImageSet) -> tuple[str, ...]:
    own = tuple(f"{name} {version(name)}" for name in ("metaprobe", "torch"))
    return *own, *homes_of_plugins(), data.fingerprint[:12]


@dataclass(frozen=True)
class Sent:
    """The work of a step as it travels; as a job of SLURM, submitit may begin it again."""

    work: Work
    source: Source

    def _do(self) -> None:
        with _ONE, threadpool_limits(1):  # steps of two threads of a process would share torch's settings
            self.work.do(self.source.begin())

    def __call__(self) -> Outcome:
        """Do the work where this arrived, and return how it ended."""
        start = time.monotonic()
        outcome = attempt(self._do)
        return replace(outcome, host=socket.gethostname(), seconds=time.monotonic() - start)

    def checkpoint(self) -> Any:
        """Return what is submitted when the job's time is over: a training goes on where it was saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@dataclass
class _Handed:
    """A step that was handed over."""

    name: str
    known: Callable[[], Outcome | None]  # tells how it ended by what is seen here
    outcome: Outcome | None = None  # as whoever did it tells
    look: float = 0.0  # when its result is looked for next
    last: float = 0.0  # when that is given up

    def end(self, outcome: Outcome) -> Outcome | None:
        """Return how it ended, once it did elsewhere; None while its result may yet be seen here."""
        now = time.monotonic()
        if self.outcome is None:
            self.outcome, self.last = outcome, now + _GRACE
        if outcome.ending != "done":
            return outcome
        if now < self.look:
            return None
        self.look = now + _LOOK
        try:
            seen = self.known()
        except MetaprobeError:  # a file that others rest on is not seen, of two that were written
            if now < self.last:
                return None
            raise
        if seen is not None and seen.good:
            return outcome
        if now < self.last:
            return None
        told = f"{outcome.host} says it is done, and it is not seen here"
        why = f" ({seen.reason})" if seen else ""
        return replace(
            outcome, ending="failed", reason=f"{told}: --out must be on a folder that all machines share{why}"
        )


class Polled(Workers):
    """What is asked again and again whether steps have ended, and believed once their results are seen here.

    Args:
        source: for whoever does them.
        most: steps at once.
    """

    def __init__(self, source: Source, most: int = sys.maxsize) -> None:
        super().__init__(most)
        self._source = source
        self._tells = True  # of steps as they begin and end; where workers write to the same terminal, they do

    def begin(self, name: str, work: Work, known: Callable[[], Outcome | None]) -> None:
        """Hand a step over."""
        self.running[self._submit(Sent(work, self._source))] = _Handed(name, known)
        self._tell(name, "handed over")

    def ended(self) -> Iterator[tuple[str, Outcome]]:
        """Wait until steps end, and yield them."""
        while not (found := [*self._found()]):
            self._check()
            time.sleep(_PAUSE + _EACH * len(self.running))
        yield from found

    def _found(self) -> Iterator[tuple[str, Outcome]]:
        for one in [one for one in self.running if one.done()]:
            handed: _Handed = self.running.pop(one)
            if outcome := handed.end(handed.outcome or self._outcome(one)):
                took = f" after {duration(outcome.seconds)} on {outcome.host}" if outcome.host else ""
                self._tell(handed.name, f"{outcome.ending}{took}")
                yield handed.name, outcome
            else:
                self.running[one] = handed

    def _tell(self, name: str, how: str) -> None:
        if self._tells:
            print(f"{visible(name)}: {how}", file=sys.stderr, flush=True)

    def _check(self) -> None:
        """Raise a `MetaprobeError` where no step can end any more."""

    @abstractmethod
    def _submit(self, sent: Sent) -> Any: ...

    @abstractmethod
    def _outcome(self, one: Any) -> Outcome: ...
