"""Archives are extracted whole, below their folder, or not at all."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.tasks.archives import extract


def _zip(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members:
            bundle.writestr(name, content)
    return path


def _tar(path: Path, *members: tuple[str, bytes, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as bundle:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, len(content) if kind == tarfile.REGTYPE else 0
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content.decode()
            bundle.addfile(info, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    return path


def _zip_link(path: Path) -> Path:
    info = zipfile.ZipInfo("a/link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return _zip(path, (info, b"/etc/passwd"))


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_extracts_files_and_folders_with_ordinary_modes(tmp_path: Path, kind: str) -> None:
    if kind == "zip":
        archive = _zip(tmp_path / "a.zip", ("top/", b""), ("top/one/x.txt", b"x" * 3_000_000), ("top/y.txt", b"y"))
    else:
        members = (("top", tarfile.DIRTYPE, b""), ("./top/one/x.txt", tarfile.REGTYPE, b"x" * 3_000_000))
        archive = _tar(tmp_path / "a.tgz", *members, ("top/y.txt", tarfile.REGTYPE, b"y"))
    extract(archive, tmp_path / "out" / "all")
    assert (tmp_path / "out/all/top/one/x.txt").read_bytes() == b"x" * 3_000_000
    extract(archive, tmp_path / "top", inside="top")
    assert (tmp_path / "top/y.txt").read_bytes() == b"y"
    assert not (tmp_path / "top/y.txt").stat().st_mode & 0o111


_HOSTILE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zip parent": (lambda p: _zip(p, ("ok", b""), ("../out.txt", b"!")), r"'\.\./out\.txt' is a way out"),
    "zip inner parent": (lambda p: _zip(p, ("a/../../out.txt", b"!")), "a way out of the folder"),
    "zip absolute": (lambda p: _zip(p, ("/tmp/out.txt", b"!")), "not a plain relative name"),
    "zip backslash": (lambda p: _zip(p, ("..\\out.txt", b"!")), "not a plain relative name"),
    "zip drive": (lambda p: _zip(p, ("C:/out.txt", b"!")), "not a plain relative name"),
    "zip link": (_zip_link, "'a/link' is a link or device"),
    "zip file and folder": (lambda p: _zip(p, ("a", b"1"), ("a/b", b"2")), "both file and folder"),
    "zip folder and file": (lambda p: _zip(p, ("a/b", b"1"), ("a", b"2")), "twice, or as both"),
    "tar parent": (lambda p: _tar(p, ("../out.txt", tarfile.REGTYPE, b"!")), "a way out of the folder"),
    "tar absolute": (lambda p: _tar(p, ("/tmp/out.txt", tarfile.REGTYPE, b"!")), "not a plain relative name"),
    "tar twice": (lambda p: _tar(p, *[("a", tarfile.REGTYPE, b"!")] * 2), "twice"),
    "tar symlink": (lambda p: _tar(p, ("a", tarfile.SYMTYPE, b"..")), "a link, device or pipe"),
    "tar hard link": (lambda p: _tar(p, ("a", tarfile.LNKTYPE, b"/etc/passwd")), "a link, device or pipe"),
    "tar device": (lambda p: _tar(p, ("a", tarfile.CHRTYPE, b"")), "a link, device or pipe"),
    "tar pipe": (lambda p: _tar(p, ("a", tarfile.FIFOTYPE, b"")), "a link, device or pipe"),
}


@pytest.mark.parametrize("case", _HOSTILE)
def test_hostile_member_is_refused_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    make, match = _HOSTILE[case]
    (tmp_path / "in").mkdir()
    archive = make(tmp_path / "in" / "archive")
    with pytest.raises(UnreadableInput, match=match):
        extract(archive, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "out.txt").exists()


def test_more_than_the_bound_is_refused(tmp_path: Path) -> None:
    bomb = _zip(tmp_path / "bomb.zip", *[(f"{i}", bytes(1000)) for i in range(5)])
    extract(bomb, tmp_path / "fits", max_bytes=5000, max_members=5)
    with pytest.raises(UnreadableInput, match="holds more than 4,999 bytes"):
        extract(bomb, tmp_path / "large", max_bytes=4999)
    with pytest.raises(UnreadableInput, match="more than 4 members"):
        extract(bomb, tmp_path / "many", max_members=4)


def test_content_past_its_declared_size_does_not_come_out(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "liar.zip", ("a", bytes(1_000_000)))
    content = archive.read_bytes()
    declared = (1_000_000).to_bytes(4, "little")
    assert content.count(declared) == 2
    archive.write_bytes(content.replace(declared, (10).to_bytes(4, "little")))
    with pytest.raises(UnreadableInput, match="cannot be extracted"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x1f\x8b cut", b"text"])
def test_damaged_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.zip").write_bytes(content)
    with pytest.raises(UnreadableInput, match=r"bad\.zip cannot be extracted"):
        extract(tmp_path / "bad.zip", tmp_path / "out")


def test_truncated_tar_leaves_nothing(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tgz", ("x", tarfile.REGTYPE, bytes(range(256)) * 4000))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(UnreadableInput, match=r"a\.tgz cannot be extracted"):
        extract(archive, tmp_path / "out" / "set")
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_archive_missing_folder_and_existing_target(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"none\.zip cannot be extracted"):
        extract(tmp_path / "none.zip", tmp_path / "out")
    archive = _zip(tmp_path / "a.zip", ("a", b"1"))
    with pytest.raises(UnreadableInput, match="holds no folder 'data'"):
        extract(archive, tmp_path / "out", inside="data")
    with pytest.raises(MetaprobeError, match="exists already"):
        extract(archive, tmp_path)
