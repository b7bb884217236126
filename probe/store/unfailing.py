"""A file for HDF5 to write to that never tells it of a failure."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["UnfailingFile"]


class UnfailingFile:
    """A file object whose writes always succeed; the first error is kept in `error` for whoever checks it.

    When a write of the HDF5 library fails (a full disk, a quota), it can no longer close what it has open: it prints a
    traceback for every object and crashes the process in the end. So after the first error what should be written is
    kept in memory instead, until the writer has noticed and closed the file, which is then thrown away.

    Args:
        path: the file, which exists and is emptied.
    """

    def __init__(self, path: Path) -> None:
        self.error: OSError | None = None
        self._descriptor = os.open(path, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC)
        self._position = 0
        self._end = 0
        self._kept: list[tuple[int, bytes]] = []

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, as of `io.RawIOBase`."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer from the position on; return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._end - self._position))
        content = bytearray(os.pread(self._descriptor, wanted, self._position).ljust(wanted, b"\0"))
        for start, kept in self._kept:
            low, high = max(start, self._position), min(start + len(kept), self._position + wanted)
            if low < high:
                content[low - self._position : high - self._position] = kept[low - start : high - start]
        view[:wanted] = content
        self._position += wanted
        return wanted

    def read(self, count: int) -> bytes:
        """Return up to `count` bytes from the position on."""
        content = bytearray(count)
        return bytes(content[: self.readinto(memoryview(content))])

    def write(self, buffer: memoryview) -> int:
        """Write all of a buffer at the position."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and self.error is None:
            try:
                done += os.pwrite(self._descriptor, view[done:], self._position + done)
            except OSError as error:
                self.error = error
        if done < len(view):
            self._kept.append((self._position + done, bytes(view[done:])))
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size; without one, that of the position."""
        self._end = self._position if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError as error:
                self.error = error
        return self._end

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def sync(self) -> None:
        """Wait until all of it is on the disk."""
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self.error = self.error or error

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
