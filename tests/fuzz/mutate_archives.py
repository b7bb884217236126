"""Mutators of archives and images through their fields, with the checksums of those fields made to fit."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import warnings
import zipfile
import zlib
from pathlib import Path

from PIL import Image

from tests.fuzz.mutation import Inapplicable

_NAMES = (
    "../out.png", "/tmp/out.png", "a/../../out.png", "c:\\out.png", "", ".", "/", "a" * 5000, "\u202egnp.x",
    "\x1b[2J.png", "class00/0.png/x.png", "train.txt", "CLASS00/0.png", "\udcff.png", "a/" * 2000 + "x.png",
    "new\nline/0.png",
)  # fmt: skip


def zip_member(path: Path, rng: random.Random, size: int) -> str:
    """Add a member with an odd name, mode, method or size, or one that is there already."""
    name, kind = rng.choice(_NAMES), rng.choice(("plain", "link", "device", "twice", "bomb", "folder"))
    try:
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")  # names that are there twice
            if kind == "twice":
                name = rng.choice(archive.namelist())
            info = zipfile.ZipInfo(name + "/" * (kind == "folder"))
            info.external_attr = {"link": 0o120777, "device": 0o020666}.get(kind, 0o100644) << 16
            method = zipfile.ZIP_DEFLATED if kind == "bomb" else zipfile.ZIP_STORED
            archive.writestr(info, bytes(30 << 20) if kind == "bomb" else b"\x89PNG", method)
    except (zipfile.BadZipFile, ValueError, OSError, UnicodeError, IndexError, struct.error, EOFError) as error:
        raise Inapplicable from error
    return f"member {name[:40]!r}, {kind}"


def zip_field(path: Path, rng: random.Random, size: int) -> str:
    """Change a field of an entry of the central folder, or of the end of it."""
    content = bytearray(path.read_bytes())
    entries = [
        i for i in range(len(content) - 4) if content[i : i + 4] in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")
    ]
    if not entries:
        raise Inapplicable
    place = rng.choice(entries) + rng.choice((4, 6, 8, 10, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 38, 42))
    value = rng.choice((0, 1, 8, 12, 99, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, rng.getrandbits(32)))
    width = rng.choice((2, 4))
    content[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
    path.write_bytes(content)
    return f"{width} bytes at {place} = {value:#x}"


def _tar(path: Path) -> tuple[bytearray, bool]:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return bytearray(content), False
    try:
        return bytearray(gzip.decompress(content)), True
    except (OSError, EOFError, zlib.error) as error:
        raise Inapplicable from error


def _write(path: Path, content: bytes, packed: bool) -> None:
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)


def tar_member(path: Path, rng: random.Random, size: int) -> str:
    """Put a member with an odd name or kind first, or last after the end."""
    content, packed = _tar(path)
    name = rng.choice(_NAMES).encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    # (L would be the name of the next member: a sound archive of other files)
    kind = rng.choice((b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"x", b"S", b"Z", b"D"))
    if kind == b"x":  # a name that needs a record of its own would be that of the next member, too
        name = "x"
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, rng.choice(("../../etc/passwd", "class00/0.png", ""))
    data = b"\x89PNG" if kind in (b"0", b"7", b"x") else b""
    info.size = len(data)
    stream = io.BytesIO()
    form = rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    head = info.tobuf(form, errors="surrogateescape")
    stream.write(head + data + bytes(-len(data) % 512))
    _write(path, stream.getvalue() + content if rng.random() < 0.7 else content + stream.getvalue(), packed)
    return f"member {name[:40]!r} of type {kind!r}"


def tar_field(path: Path, rng: random.Random, size: int) -> str:
    """Change a field of a header, whose own checksum is made to fit."""
    content, packed = _tar(path)
    heads = [i for i in range(0, len(content) - 511, 512) if content[i + 257 : i + 262] == b"ustar"]
    if not heads:
        raise Inapplicable
    head = rng.choice(heads)
    name, start, width, values = rng.choice((
        ("size", 124, 12, (b"77777777777\0", b"0\0", b"\x80" + b"\x7f" * 11, b"-0000000001\0", b"abc", b"\xff" * 12)),
        ("type", 156, 1, (b"1", b"2", b"3", b"4", b"5", b"6", b"S")),
        ("mode", 100, 8, (b"\xff" * 8, b"7777777\0", b"99999999")),
        ("name", 0, 100, (b"\xff\xfe.png", b"../x.png", b"", b"/abs.png", b"class00/1.png")),
        ("mtime", 136, 12, (b"\xff" * 12, b"77777777777\0", b"nonsense")),
        ("prefix", 345, 155, (b"..", b"/", b"\xff")),
    ))  # fmt: skip
    value = rng.choice(values)
    content[head + start : head + start + width] = value.ljust(width, b"\0")
    content[head + 148 : head + 156] = b" " * 8
    content[head + 148 : head + 156] = b"%06o\0 " % sum(content[head : head + 512])
    _write(path, content, packed)
    return f"{name} of the header at {head} = {value!r}"


def png_field(path: Path, rng: random.Random, size: int) -> str:
    """Change the head of a PNG, or add a chunk to it, with a checksum that fits."""
    content = bytearray(path.read_bytes())
    if content[:4] != b"\x89PNG" or len(content) < 33:
        raise Inapplicable
    if rng.random() < 0.6:
        place, width = rng.choice(((16, 4), (20, 4), (24, 1), (25, 1), (26, 1), (27, 1), (28, 1)))
        value = rng.choice((0, 1, 2, 3, 6, 16, 255, 65536, 1_000_000, 2**31 - 1, 2**32 - 1)) % (1 << 8 * width)
        content[place : place + width] = value.to_bytes(width, "big")
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        told = f"byte {place} = {value}"
    else:
        name = rng.choice((b"iCCP", b"zTXt", b"tEXt", b"eXIf", b"acTL", b"PLTE", b"gAMA", b"IHDR", b"IEND", b"XXXX"))
        data = rng.choice((b"", b"\xff" * 7, b"a\0\0" + zlib.compress(bytes(40 << 20)), rng.randbytes(64)))
        content[33:33] = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        told = f"chunk {name!r} of {len(data)} bytes"
    path.write_bytes(content)
    return told


def wide(path: Path, rng: random.Random, size: int) -> str:
    """Put an image of an odd form in the place of one: what it is is true, and small as a file."""
    shape = rng.choice(((1_000_000, 1), (1, 1_000_000), (49_000_000, 1), (7000, 7000), (1, 1), (3, 40_000), (8, 9)))
    mode = rng.choice(("L", "1", "P", "RGBA", "LA", "I;16"))
    Image.new(mode, shape).save(path, "PNG", compress_level=9 if shape[0] * shape[1] < 2_000_000 else 1)
    return f"an image of {shape[0]} × {shape[1]}, mode {mode}"


ZIP = {"member": zip_member, "field": zip_field, "field again": zip_field}
TAR = {"member": tar_member, "field": tar_field, "field again": tar_field}
PNG = {"field": png_field, "field again": png_field, "field once more": png_field, "wide": wide}
