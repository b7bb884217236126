"""Whole-or-nothing writes and hashes: a reader meets a complete file or none."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trainers.errors import MetaprobeError

__all__ = ["cache_folder", "refuse_special", "replacing", "sha256_of", "write_bytes", "write_text"]

_CHUNK = 1 << 20


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends without an error.

    The file is synced before and its folder after the rename, so a crash leaves the old file or the new one, never
    a part. On an error the temporary file is removed and `path` is untouched.

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
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes private files; a result is an ordinary one
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


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
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
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
