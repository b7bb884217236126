"""What travels to a process of another machine that does a step, and how its end is waited for."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import threadpool_limits

from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.execution.workers import Outcome, Work, Workers, attempt, make_ready
from metaprobe.trainers.tasks import load_for
from metaprobe.trainers.tasks.sources import data_root_or_default
from metaprobe.trainers.user_code import USER_CODE

if TYPE_CHECKING:
    from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["Polled", "Sent", "Source"]

_PAUSE, _EACH = 0.05, 1e-4  # seconds between two looks at what has ended, and more for each that is looked at
_loaded = lru_cache(maxsize=1)(load_for)
_ONE = threading.Lock()


@dataclass(frozen=True)
class Source:
    """What a process of any machine needs to do steps as they are done here: the data by where they lie."""

    config: TrainConfig  # that names the data
    root: Path | None  # folder of the data sets
    versions: tuple[str, ...]  # of metaprobe, torch and the data
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
        if (found := _versions(data)) != self.versions:
            told = f"{host} has other versions than here of metaprobe, torch or the data ({' '.join(found)})"
            raise MetaprobeError(f"{told}; expected {' '.join(self.versions)}")
        return data


def _versions(data: ImageSet) -> tuple[str, ...]:
    return version("metaprobe"), version("torch"), data.fingerprint[:12]


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
        return attempt(self._do)

    def checkpoint(self) -> Any:
        """Return what is submitted when the job's time is over: a training goes on where it was saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


class Polled(Workers):
    """What is asked again and again whether steps have ended.

    Args:
        source: for whoever does them.
        most: steps at once.
    """

    def __init__(self, source: Source, most: int = sys.maxsize) -> None:
        super().__init__(most)
        self._source = source

    def begin(self, step: Any, work: Work) -> None:
        """Hand a step over."""
        self.running[self._submit(Sent(work, self._source))] = step

    def ended(self) -> Iterator[tuple[Any, Outcome]]:
        """Wait until steps end, and yield them."""
        while not (found := [one for one in self.running if one.done()]):
            self._check()
            time.sleep(_PAUSE + _EACH * len(self.running))
        for one in found:
            yield self.running.pop(one), self._outcome(one)

    def _check(self) -> None:
        """Raise a `MetaprobeError` where no step can end any more."""

    @abstractmethod
    def _submit(self, sent: Sent) -> Any: ...

    @abstractmethod
    def _outcome(self, one: Any) -> Outcome: ...
