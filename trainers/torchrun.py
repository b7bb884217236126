"""What the environment tells a process about its ranks: torchrun's variables, and one of our launcher. No torch."""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["LEASH", "LOST_STATUS", "Place", "end_with_launcher", "launched", "place_here"]

LEASH = "METAPROBE_LEASH"
"""Environment variable: the number of a file descriptor, open for reading, that ends when the launcher does."""

LOST_STATUS = 4
"""Exit status of a launched rank that failed only because another did; its launcher turns it into 1."""


class Place(NamedTuple):
    """Which of a run's processes this is: its number of how many, and the same on this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0
    neighbours: int = 1


def place_here() -> Place:
    """Read torchrun's variables; without RANK and WORLD_SIZE a run is one process.

    Raises:
        MetaprobeError: one of them is missing or no number in its range.
    """
    if not {"RANK", "WORLD_SIZE"} & os.environ.keys():
        return Place()
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return Place()
    neighbours = _number("LOCAL_WORLD_SIZE", 1, size)
    place = Place(_number("RANK", 0, size - 1), size, _number("LOCAL_RANK", 0, neighbours - 1), neighbours)
    _number("MASTER_PORT", 1, 65535)
    if not os.environ.get("MASTER_ADDR"):
        raise _wrong("MASTER_ADDR", "the address of rank 0's machine")
    return place


def launched() -> bool:
    """Tell whether `trainers.launcher.launch` started this process as a rank."""
    return LEASH in os.environ


def end_with_launcher() -> None:
    """Let this rank, if it was launched, end when its launcher is killed.

    An orphan would go on writing into the folder in which the same command, started again, writes too.
    """
    if launched():
        threading.Thread(target=_wait_for_the_end, args=(int(os.environ[LEASH]),), daemon=True).start()


def _wait_for_the_end(leash: int) -> None:
    os.read(leash, 1)  # nothing is ever written: this returns when the other end is closed
    os._exit(1)


def _number(name: str, lowest: int, highest: int = 2**31 - 1) -> int:
    text = os.environ.get(name, "")
    if text.isdecimal() and len(text) <= 10 and lowest <= int(text) <= highest:
        return int(text)
    raise _wrong(name, f"a number from {lowest} to {highest}")


def _wrong(name: str, expected: str) -> MetaprobeError:
    got = repr(os.environ[name]) if name in os.environ else "nothing"
    return MetaprobeError(
        f"the environment variable {name}, which torchrun sets, must be {expected}; got {got}. "
        "Without RANK and WORLD_SIZE a run is one process"
    )
