"""Archives are extracted whole, below their folder, or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.tasks.archives import extract


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


def _crude(path: Path, kind: bytes, size: bytes, content: bytes = b"") -> Path:
    """A tar of one header whose size field holds these bytes, whatever they say, and its mark of the end."""
    header = bytearray(tarfile.TarInfo("a").tobuf())
    header[124 : 124 + len(size)], header[156:157] = size, kind
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(header + content + bytes(1024))
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
    "zip without a name": (lambda p: _zip(p, ("a", b"1"), (zipfile.ZipInfo(""), b"2")), "'' is without a name"),
    "zip deep": (lambda p: _zip(p, ("a/" * 900 + "b", b"1")), "more than 32 folders deep"),
    "zip long name": (lambda p: _zip(p, ("a" * 60_000, b"1")), "its name is too long"),
    "tar deep": (lambda p: _tar(p, ("a/" * 900 + "b", tarfile.REGTYPE, b"1")), "more than 32 folders deep"),
    "tar sparse": (lambda p: _crude(p, tarfile.GNUTYPE_SPARSE, b"00000000000\0"), "a sparse file"),
    "tar negative": (lambda p: _crude(p, tarfile.REGTYPE, b"\xff" * 12), "claims -1 bytes"),
    "tar endless": (lambda p: _crude(p, tarfile.REGTYPE, b"\x80" + b"\x7f" * 11), "holds more than"),
    "tar long header": (lambda p: _crude(p, tarfile.GNUTYPE_LONGNAME, b"77777777777\0"), "claims 8,589,934,591 bytes"),
    "tar header on and on": (
        lambda p: _crude(p, tarfile.XHDTYPE, b"00000001000\0", b"9" * 512 + b"16 size=-99999\n".ljust(512)),
        "cannot be extracted",
    ),
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


_FILES = {f"c{n}/x{n}.txt": bytes([n]) * 700 for n in range(1, 4)}  # each a header and two blocks in a tar


def _plain_tar(files: dict[str, bytes] = _FILES) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as bundle:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            bundle.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _extracted(archive: Path) -> dict[str, bytes]:
    target = archive.with_name("out") / f"{len(list(archive.parent.rglob('*')))}"
    extract(archive, target)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_a_tar_is_whole_only_with_the_mark_of_its_end(tmp_path: Path) -> None:
    content, archive = _plain_tar(), tmp_path / "a.tar"
    end = 3 * (512 + 1024)
    for length in (end + 512, end + 700, end + 1024, len(content)):
        archive.write_bytes(content[:length])
        assert _extracted(archive) == _FILES
    for length in (*range(0, end, 256), end, end + 511):  # also just after a member, where the next would begin
        archive.write_bytes(content[:length])
        with pytest.raises(UnreadableInput, match=r"a\.tar cannot be extracted"):
            extract(archive, tmp_path / "cut")


def test_a_tar_whose_headers_are_damaged_loses_nothing_in_silence(tmp_path: Path) -> None:
    content, archive = _plain_tar(), tmp_path / "a.tar"
    second = 512 + 1024
    for damage in (b"\xff" * 512, bytes(512), b"\0" * 20 + content[second + 20 : second + 512]):
        archive.write_bytes(content[:second] + damage + content[second + 512 :])
        with pytest.raises(UnreadableInput, match=r"a header of it is damaged|goes on after the mark"):
            extract(archive, tmp_path / "out")
    archive.write_bytes(content + _plain_tar({"c9/x.txt": b"9"}))  # GNU tar too would extract the first alone
    with pytest.raises(UnreadableInput, match="goes on after the mark of its end"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_read_to_its_checksum(tmp_path: Path, kind: str) -> None:
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[kind]
    packed, archive = pack(_plain_tar()), tmp_path / f"a.tar.{kind}"
    refused = 0
    places = range(0, len(packed), 3)
    for place in places:
        archive.write_bytes(packed[:place] + bytes([packed[place] ^ 8]) + packed[place + 1 :])
        try:
            assert _extracted(archive) == _FILES
        except UnreadableInput:
            refused += 1
    assert refused >= len(places) - 4  # gzip's own header holds a time, and other things that do not matter
    for length in range(0, len(packed), 19):
        archive.write_bytes(packed[:length])
        with pytest.raises(UnreadableInput, match="cannot be extracted"):
            extract(archive, tmp_path / "cut")


def test_a_zip_whose_list_is_damaged_loses_nothing_in_silence(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", *_FILES.items())
    content = archive.read_bytes()
    listing, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    assert len(zipfile.ZipFile(archive).infolist()) == 3
    # A comment of the first one that swallows the others; then a list that takes no room.
    for place, change in ((listing + 32, end - listing), (end + 12, 0)):
        archive.write_bytes(content[:place] + change.to_bytes(2, "little") + content[place + 2 :])
        assert len(zipfile.ZipFile(archive).infolist()) < 3
        with pytest.raises(UnreadableInput, match=r"it lists \d members, and says that it has 3"):
            extract(archive, tmp_path / "out")


def test_a_zip_with_a_comment_and_its_count_in_a_record_of_its_own_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of 65,535 members the end of a zip says only that another record says how many."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    archive = _zip(tmp_path / "a.zip", *_FILES.items())
    with zipfile.ZipFile(archive, "a") as bundle:
        bundle.comment = b"PK" * 30_000
    content = archive.read_bytes()
    end = content.rindex(b"PK\5\6")
    assert b"PK\6\6" in content
    archive.write_bytes(content[: end + 8] + b"\xff" * 4 + content[end + 12 :])
    assert _extracted(archive) == _FILES


def test_a_zip_inside_a_tar_does_not_make_it_a_zip(tmp_path: Path) -> None:
    inner = _zip(tmp_path / "inner.zip", ("inner.txt", b"!")).read_bytes()
    (tmp_path / "a.tar").write_bytes(_plain_tar(_FILES | {"z/inner.zip": inner}))
    assert _extracted(tmp_path / "a.tar") == _FILES | {"z/inner.zip": inner}


def test_missing_archive_missing_folder_and_existing_target(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"none\.zip cannot be extracted"):
        extract(tmp_path / "none.zip", tmp_path / "out")
    archive = _zip(tmp_path / "a.zip", ("a", b"1"))
    with pytest.raises(UnreadableInput, match="holds no folder 'data'"):
        extract(archive, tmp_path / "out", inside="data")
    with pytest.raises(MetaprobeError, match="exists already"):
        extract(archive, tmp_path)
