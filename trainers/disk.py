"""A full disk, told as what it is and what to do."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["DiskFull", "told_when_full"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room, none left of a user's share, or a file of a process


class DiskFull(MetaprobeError):
    """There was no room to write; what was written before is whole."""


@contextlib.contextmanager
def told_when_full(what: str) -> Iterator[None]:
    """Say what was being written when the disk was full, that nothing saved is lost, and how to go on.

    Args:
        what: with its place, as "the run runs/maml".

    Raises:
        DiskFull: a write in the block found no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        told = f"{what} could not be saved: {error.strerror}. What was saved before is whole"
        raise DiskFull(f"{told}: make room, and the same command goes on from there") from error
