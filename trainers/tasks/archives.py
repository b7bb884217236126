"""Extract archives of unknown origin: nothing outside the target folder, only plain files, no endless content."""

from __future__ import annotations

import lzma
import os
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from trainers.errors import MetaprobeError, UnreadableInput

__all__ = ["ARCHIVE_SUFFIXES", "MAX_BYTES", "MAX_MEMBERS", "extract"]

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 64 << 30  # more than any few-shot image set
MAX_MEMBERS = 5_000_000
_CHUNK = 1 << 20
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(ValueError, NotImplementedError, RuntimeError),  # from zipfile: odd headers, unknown methods, passwords
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # as declared
    is_folder: bool
    problem: str  # what it is, where that is neither a plain file nor a folder
    source: zipfile.ZipInfo | tarfile.TarInfo


def extract(
    archive: Path, target: Path, inside: str = "", max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> None:
    """Extract a zip or tar archive into a new folder, whole or not at all.

    Every member is a plain file or a folder, below the target; absolute names, `..`, backslashes, drive letters, links
    of any kind, devices, pipes and names that come twice are refused, and so is more content than `max_bytes`, both
    as declared and as it comes out. Files get the ordinary mode; owners and times are not kept.

    Args:
        archive: the file; what it holds decides whether it is read as zip or tar.
        target: the folder to make; it must not exist yet.
        inside: a folder inside the archive whose content becomes the target; "" for everything.
        max_bytes: the most that all files together may take.
        max_members: the most members.

    Raises:
        UnreadableInput: for an archive that is missing, damaged or hostile; the message names it and the member.
        MetaprobeError: where the target exists, or cannot be written.
    """
    if target.exists():
        raise MetaprobeError(f"cannot extract {archive} to {target}: it exists already.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", ignore_cleanup_errors=True)
    except OSError as error:
        raise MetaprobeError(f"cannot extract {archive} into {target.parent} ({error}).") from error
    with holder:
        content = Path(holder.name) / "content"
        content.mkdir()
        _extract_members(archive, content, max_bytes, max_members)
        wanted = content / inside
        if not wanted.is_dir():
            raise UnreadableInput(f"archive {archive} holds no folder {inside!r}.")
        os.rename(wanted, target)


def _extract_members(archive: Path, folder: Path, max_bytes: int, max_members: int) -> None:
    left = max_bytes
    try:
        with _opened(archive) as opened:
            for count, member in enumerate(_members(opened), 1):
                if member.problem:
                    raise _refused(archive, member, member.problem)
                if count > max_members:
                    raise UnreadableInput(f"archive {archive} has more than {max_members:,} members.")
                if member.size > left:
                    raise _too_large(archive, max_bytes)
                path = _below(folder, archive, member)
                if member.is_folder:
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with _content(opened, member) as source, open(path, "xb") as out:
                    left = _copy(source, out, left)
                if left < 0:
                    raise _too_large(archive, max_bytes)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnreadableInput(f"archive {archive} names {error.filename} twice, or as both file and folder.") from error
    except _DAMAGE as error:
        raise UnreadableInput(f"archive {archive} cannot be extracted ({type(error).__name__}: {error}).") from error


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    return zipfile.ZipFile(archive) if zipfile.is_zipfile(archive) else tarfile.open(archive, "r:*")


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(opened, zipfile.ZipFile):
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was made on Windows
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            yield _Member(info.filename, info.file_size, info.is_dir(), "" if plain else "a link or device", info)
        return
    for info in opened:
        plain = info.isfile() or info.isdir()
        yield _Member(info.name, info.size, info.isdir(), "" if plain else "a link, device or pipe", info)


@contextmanager
def _content(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> Iterator[IO[bytes]]:
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member.source, zipfile.ZipInfo)
        source = opened.open(member.source)
    else:
        assert isinstance(member.source, tarfile.TarInfo)
        source = opened.extractfile(member.source)
        assert source is not None  # only links and devices have no content, and those were refused
    with source:
        yield source


def _below(folder: Path, archive: Path, member: _Member) -> Path:
    name = PurePosixPath(member.name)
    if name.is_absolute() or "\\" in member.name or ":" in member.name.split("/")[0] or "\0" in member.name:
        raise _refused(archive, member, "not a plain relative name")
    if ".." in name.parts:
        raise _refused(archive, member, "a way out of the folder")
    if name == PurePosixPath() and not member.is_folder:
        raise _refused(archive, member, "without a name")
    return folder / name


def _copy(source: IO[bytes], out: IO[bytes], left: int) -> int:
    """Copy until the end or one chunk past what is left; return what is left then, negative for too much."""
    while left >= 0 and (chunk := source.read(_CHUNK)):
        left -= len(chunk)
        if left >= 0:
            out.write(chunk)
    return left


def _refused(archive: Path, member: _Member, problem: str) -> UnreadableInput:
    return UnreadableInput(f"archive {archive}: member {member.name!r} is {problem}; nothing was extracted.")


def _too_large(archive: Path, max_bytes: int) -> UnreadableInput:
    return UnreadableInput(f"archive {archive} holds more than {max_bytes:,} bytes; nothing was extracted.")
