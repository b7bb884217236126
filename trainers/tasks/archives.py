"""Extract archives of unknown origin: nothing outside the target folder, only plain files, no endless content."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.text import visible

__all__ = ["ARCHIVE_SUFFIXES", "MAX_BYTES", "MAX_MEMBERS", "extract"]

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MAX_BYTES = 64 << 30  # more than any few-shot image set
MAX_MEMBERS = 5_000_000
_MAX_DEPTH = 32  # folders in each other
_MAX_NAME = 4096  # characters, as of any path
_CHUNK = 1 << 20
_MAX_TOLD = 1 << 20  # bytes of a tar member that only tells of the next, its long name say: read in one piece
_MAX_TAIL = 16 << 20  # zeros after the end, which fill a tape's record: 10 kB as a rule
_ZIP_END = (1 << 16) + 98  # the longest comment, and the records of the end before it
_TELLS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_PADDING = 4096  # zeros after a compressed archive that are no part of it
_DECOMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}  # by how the file begins
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(ValueError, NotImplementedError, RuntimeError),  # from zipfile: odd headers, unknown methods, passwords
    *(ArithmeticError, LookupError, struct.error, MemoryError),  # numbers and names in headers that nobody writes
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # as declared
    is_folder: bool
    problem: str  # what it is, where that is neither a plain file nor a folder
    open: Callable[[], IO[bytes]]


def extract(
    archive: Path, target: Path, inside: str = "", max_bytes: int = MAX_BYTES, max_members: int = MAX_MEMBERS
) -> None:
    """Extract a zip or tar archive into a new folder, whole or not at all.

    Every member is a plain file or a folder, below the target; absolute names, `..`, backslashes, drive letters, links
    of any kind, devices, pipes and names that come twice are refused, and so is more content than `max_bytes`, both
    as declared and as it comes out. A zip's members are checked by their CRCs, a tar by its headers and its end, and
    what it is compressed with by that format's own checksum; a plain tar has none of its content. Files get the
    ordinary mode; owners and times are not kept.

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
        with contextlib.closing(_members(archive)) as members:
            for count, member in enumerate(members, 1):
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
                with member.open() as source, open(path, "xb") as out:
                    left = _copy(source, out, left)
                if left < 0:
                    raise _too_large(archive, max_bytes)
    except (FileExistsError, NotADirectoryError) as error:
        raise UnreadableInput(f"archive {archive} names {error.filename} twice, or as both file and folder.") from error
    except _DAMAGE as error:
        raise UnreadableInput(f"archive {archive} cannot be extracted ({type(error).__name__}: {error}).") from error


def _members(archive: Path) -> Generator[_Member, None, None]:
    with open(archive, "rb") as file:
        start = file.read(6)
        file.seek(0)
        if start.startswith(b"PK"):
            yield from _zip_members(file)
            return
        opener = next((opener for magic, opener in _DECOMPRESSED.items() if start.startswith(magic)), None)
        if opener and not _tail(file, _PADDING).strip(b"\0"):  # of which there may be gigabytes, to be read to the end
            raise tarfile.ReadError("it ends in zeros; it was not copied whole")
        with opener(file) if opener else file as content:
            yield from _tar_members(content)


def _tail(file: IO[bytes], size: int) -> bytes:
    """Return the last bytes of a file, which is then at its start again."""
    file.seek(-min(size, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read()
    file.seek(0)
    return tail


def _zip_members(file: IO[bytes]) -> Generator[_Member, None, None]:
    with zipfile.ZipFile(file) as opened:
        if len(opened.infolist()) != (said := _said_count(file)):
            raise zipfile.BadZipFile(f"it lists {len(opened.infolist()):,} members, and says that it has {said:,}")
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where it was made on Windows
            problem = "" if kind in (0, stat.S_IFREG, stat.S_IFDIR) else "a link or device"
            is_folder = info.filename.endswith("/")  # ZipInfo.is_dir raises where there is no name
            yield _Member(info.filename, info.file_size, is_folder, problem, lambda info=info: opened.open(info))


def _said_count(file: IO[bytes]) -> int:
    """Return how many members the end of a zip says there are, at which `zipfile` does not look.

    A damaged length in the list of members hides those after it.
    """
    tail = _tail(file, _ZIP_END)
    end, large_end = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    count = int.from_bytes(tail[end + 10 : end + 12], "little")
    if count == 0xFFFF and large_end >= 0:
        return int.from_bytes(tail[large_end + 32 : large_end + 40], "little")
    return count


def _tar_members(content: IO[bytes]) -> Generator[_Member, None, None]:
    with tarfile.open(fileobj=content, mode="r:", tarinfo=_StrictHeader) as opened:
        while (info := opened.next()) is not None:
            opened.members.clear()  # pyright: ignore[reportAttributeAccessIssue] -- else all are kept, for no use
            problem = "" if info.isfile() or info.isdir() else "a link, device or pipe"
            if info.issparse():
                problem = "a sparse file"
            yield _Member(info.name, info.size, info.isdir(), problem, lambda info=info: _content(opened, info))
        tail = content.read(_MAX_TAIL + 1)  # to the very end, where compressed files have their checksums
        if len(tail) > _MAX_TAIL or tail.strip(b"\0"):
            raise tarfile.ReadError("it goes on after the mark of its end; a part of it may be damaged")


def _content(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = opened.extractfile(info)
    assert content is not None  # only links and devices have none, and those were refused
    return content


class _StrictHeader(tarfile.TarInfo):
    """A header of a tar archive; `tarfile` takes whatever is none for the end, which would lose what follows."""

    __slots__ = ()

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        if len(buf) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it ends without the mark of its end; it is cut short")
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise tarfile.ReadError(f"a header of it is damaged: {error}") from error
            raise  # a block of zeros, the mark of the end
        if header.type == tarfile.GNUTYPE_SPARSE:  # before the list of its holes is read, which may be of any length
            raise tarfile.ReadError("it holds a sparse file")
        if header.size < 0 or (header.type in _TELLS and header.size > _MAX_TOLD):
            raise tarfile.ReadError(f"a header of it claims {header.size:,} bytes")
        return header


def _below(folder: Path, archive: Path, member: _Member) -> Path:
    name = PurePosixPath(member.name)
    if name.is_absolute() or "\\" in member.name or ":" in member.name.split("/")[0] or "\0" in member.name:
        raise _refused(archive, member, "not a plain relative name")
    if ".." in name.parts:
        raise _refused(archive, member, "a way out of the folder")
    if name == PurePosixPath() and not member.is_folder:
        raise _refused(archive, member, "without a name")
    if len(name.parts) > _MAX_DEPTH or len(member.name) > _MAX_NAME:
        raise _refused(archive, member, f"more than {_MAX_DEPTH} folders deep, or its name is too long")
    return folder / name


def _copy(source: IO[bytes], out: IO[bytes], left: int) -> int:
    """Copy until the end or one chunk past what is left; return what is left then, negative for too much."""
    while left >= 0 and (chunk := source.read(_CHUNK)):
        left -= len(chunk)
        if left >= 0:
            out.write(chunk)
    return left


def _refused(archive: Path, member: _Member, problem: str) -> UnreadableInput:
    return UnreadableInput(
        f"archive {archive}: member {visible(member.name, 100)!r} is {problem}; nothing was extracted."
    )


def _too_large(archive: Path, max_bytes: int) -> UnreadableInput:
    return UnreadableInput(f"archive {archive} holds more than {max_bytes:,} bytes; nothing was extracted.")
