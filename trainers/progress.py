"""Progress of long work: a bar on a terminal, one line a minute elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metaprobe.trainers.formats.text import visible

__all__ = ["ProgressLine", "SilentProgress", "duration", "telling"]

_SECONDS_BETWEEN_LINES = 60.0


class ProgressLine:
    """Reports steps done out of a total on standard error, with a rate and a note.

    Args:
        label: what is being done.
        total: steps in all; 0 where that is not known.
        done: steps done before (a resumed run).
        unit: what the rate counts ("tasks").
        per_step: units in a step.
    """

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "it", per_step: int = 1) -> None:
        label = visible(label)  # names of files and folders are in it
        self._label, self._total, self._done, self._unit, self._per_step = label, total, done, unit, per_step
        self._first, self._start = done, time.monotonic()
        self._last_line = self._start
        console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bar = Progress(*columns, console=console)
            self._task = self._bar.add_task(label, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Write a line of its own, above the bar; what was done until then is not part of the rate."""
        self._start = self._last_line = time.monotonic()
        if self._bar:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr, flush=True)

    def reach(self, done: int, total: int) -> None:
        """Say how many steps are done, and how many there are in all."""
        if self._bar and total != self._total:
            self._bar.update(self._task, total=total)
        self._total = total
        self.advance(steps=done - self._done)

    def advance(self, note: str = "", steps: int = 1) -> None:
        """Count steps as done and show the note beside the rate."""
        self._done += steps
        now = time.monotonic()
        rate = (self._done - self._first) * self._per_step / max(now - self._start, 1e-9)
        text = f"{rate:.3g} {self._unit}/s  {note}".rstrip()
        if self._bar:
            self._bar.update(self._task, completed=self._done, note=text)
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            told = f"{self._label}: {self._done}"
            if self._total:
                left = (self._total - self._done) * self._per_step / rate
                told, text = f"{told}/{self._total}", f"{text}  {duration(left)} left"
            print(f"{told}  {text}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it: "42 s", "7.5 min", "31.2 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def telling(what: str) -> Iterator[None]:
    """Say on standard error when something begins and how it ended, where no bar shows it; errors go on.

    Args:
        what: the name of a step of long work.
    """
    silent, start = sys.stderr.isatty(), time.monotonic()

    def tell(how: str) -> None:
        if not silent:
            print(f"{visible(what)}: {how}", file=sys.stderr, flush=True)

    tell("begins")
    ended = "stopped"
    try:
        yield
        ended = "done"
    except Exception:
        ended = "failed"
        raise
    finally:
        tell(f"{ended} after {duration(time.monotonic() - start)}")


class SilentProgress(ProgressLine):
    """Reports nothing: for all processes of a run but one."""

    def __enter__(self) -> Self:
        self._bar = None
        return self

    def say(self, text: str) -> None:
        """Say nothing."""

    def advance(self, note: str = "", steps: int = 1) -> None:
        """Show nothing."""
