"""Whole-or-nothing writes and hashes: a reader meets a complete file or none."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import stat
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from metaprobe.trainers.errors import MetaprobeError

__all__ = [
    "TEMPORARY",
    "alone_in",
    "cache_folder",
    "refuse_special",
    "remove_abandoned",
    "replacing",
    "sha256_of",
    "write_bytes",
    "write_text",
]

TEMPORARY = re.compile(r"\.(?P<name>[^/\n]+)\.metaprobe-[a-z0-9_]{8}\.part")
"""What files are called that have not got their name yet."""

_CHUNK = 1 << 20
_SETTLED = 2_000_000_000  # nanoseconds: the coarsest clock of a file system in use (FAT) ticks that often
_digests: dict[tuple[int, ...], str] = {}  # by what the system says of a file: which it is, its size, its last changes


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends without an error.

    The file is synced before and its folder after the rename, so a crash leaves the old file or the new one, never
    a part. On an error the temporary file is removed and `path` is untouched. What a killed process left of an earlier
    attempt is removed too: a living one holds a lock on its file.

    Args:
        path: the file to write; its folder is made when it is missing.

    Yields:
        The path to write to.

    Raises:
        MetaprobeError: something is there that is no regular file.
    """
    refuse_special(path)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent.iterdir(), of=target.name)
    handle, temporary = _temporary(target)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; a result is an ordinary one
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def remove_abandoned(files: Iterable[Path], of: str | None = None) -> None:
    """Remove those of some files that killed processes left before they had their names.

    Args:
        files: whatever lies in a folder; what was not made here, or is being written, stays.
        of: only what was to become a file of this name.
    """
    for file in files:
        made = TEMPORARY.fullmatch(file.name)
        if made is None or (of is not None and made["name"] != of):
            continue
        try:
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:  # another process was faster, or it is not ours to open
            continue
        try:
            if _locked(handle):
                file.unlink(missing_ok=True)
        finally:
            os.close(handle)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, made when it is missing, for this process; the lock ends with the block, or with the process.

    Raises:
        MetaprobeError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise MetaprobeError(f"another process writes in {folder}; wait for it, or choose another --out") from error
    except OSError as error:
        warnings.warn(f"{folder} cannot be locked ({error.strerror}): let no other process write there", stacklevel=3)
    try:
        yield
    finally:
        os.close(handle)


def _temporary(target: Path) -> tuple[int, Path]:
    """Return a locked file, open, that is to become another."""
    while True:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.metaprobe-", suffix=".part")
        _locked(handle)
        if os.path.exists(name):
            return handle, Path(name)
        os.close(handle)  # another process saw it before it was locked, and took it for an abandoned one


def _locked(handle: int) -> bool:
    """Lock an open file until it is closed, which the death of a process does too; return whether that could be."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system knows no locks: then nothing is ever removed
        return False
    return True


def refuse_special(path: Path | str) -> None:
    """Refuse, as a `MetaprobeError`, to write where a folder, a device, a pipe or a socket is: it would be replaced.

    So it is with a link to one, and with a link into /proc, as /dev/stdout is even where a file stands behind it.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:  # nothing there, or nothing that can be: writing says what is wrong
        return
    kind = next((name for name, is_it in _SPECIAL.items() if is_it(mode)), "")
    if os.path.islink(path) and os.readlink(path).startswith("/proc/"):
        kind = kind or "a stream of this process"
    if kind:
        instead = "" if kind == "a folder" else ", or read standard output instead"
        raise MetaprobeError(f"{path} is {kind} and would be replaced by a file; name another to write{instead}")


_SPECIAL = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write bytes to a file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, content: str) -> None:
    """Write text to a file as UTF-8, whole or not at all."""
    write_bytes(path, content.encode())


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits.

    A file that this process has read, and that has not changed since by what the system says of it, is not read again:
    a study asks for that of its stores before every step. As clocks of file systems are coarse, a file is only known by
    them when its last change is `_SETTLED` ago.
    """
    with open(path, "rb") as file:
        about = os.fstat(file.fileno())
        state = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if state in _digests:
            return _digests[state]
        found = _digest(file)
    if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) >= _SETTLED:
        _digests[state] = found
    return found


def _digest(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return the folder for what can be made again: `METAPROBE_CACHE`, or `metaprobe` in the user's cache folder."""
    if chosen := os.environ.get("METAPROBE_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "metaprobe"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)  # the only portable way to read it is to set it
    os.umask(current)
    return current
