"""Ctrl-C as a request to stop between two steps, never in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["Interrupted", "StopRequest", "stop_on_interrupt", "termination_is_interrupt"]


class Interrupted(MetaprobeError):
    """A stop was asked for; the message says what is saved (exit status 130)."""

    exit_code = 130


class StopRequest:
    """Whether a stop was asked for, and whether by a second signal it was asked for at once."""

    asked = False
    _holding, _at_once = False, False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold a second signal back until the block ends, which may not be interrupted in its middle."""
        outer, self._holding = self._holding, True
        try:
            yield
        finally:
            self._holding = outer
            if self._at_once and not outer:
                raise KeyboardInterrupt

    def signalled(self) -> None:
        """Take note of a signal: the first asks for a stop between two steps, a second one interrupts."""
        if self.asked:
            self._at_once = True
            if not self._holding:
                raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def stop_on_interrupt() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a `StopRequest` for the length of the block; a second one interrupts at once.

    Outside the main thread, where Python allows no handlers, signals keep their meaning.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        request.signalled()

    with _handled(handle, signal.SIGINT, signal.SIGTERM):
        yield request


def termination_is_interrupt() -> contextlib.AbstractContextManager[None]:
    """Let SIGTERM raise KeyboardInterrupt, as SIGINT does, for the length of the block: what is begun is cleaned up."""
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    return _handled(signal.default_int_handler, signal.SIGTERM)


@contextlib.contextmanager
def _handled(handle: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Iterator[None]:
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
