"""Mutators of bytes, and of files as such: what disks, transfers and hands do to them."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.fuzz.mutation import Inapplicable, remove


def _run(content: bytearray, rng: random.Random, size: int) -> slice:
    """Return a run of at most `size` bytes; a third of them in the first kilobyte, where formats keep what matters."""
    if not content:
        raise Inapplicable
    start = rng.randrange(min(len(content), 1024) if rng.random() < 0.33 else len(content))
    return slice(start, min(len(content), start + size))


def _change(path: Path, change) -> str:
    content = bytearray(path.read_bytes())
    told = change(content)
    path.write_bytes(content)
    return told


def flip(path: Path, rng: random.Random, size: int) -> str:
    def change(content: bytearray) -> str:
        for _ in range(min(size, 16)):
            where, bit = _run(content, rng, 1).start, rng.randrange(8)
            content[where] ^= 1 << bit
        return f"{min(size, 16)} bits flipped, the last bit {bit} of byte {where}"

    return _change(path, change)


def _replacing(told: str, fill):
    def mutate(path: Path, rng: random.Random, size: int) -> str:
        def change(content: bytearray) -> str:
            run = _run(content, rng, size)
            content[run] = fill(content[run], rng)
            return f"{told} at {run.start}, {run.stop - run.start} bytes"

        return _change(path, change)

    return mutate


def truncate(path: Path, rng: random.Random, size: int) -> str:
    def change(content: bytearray) -> str:
        end = _run(content, rng, 1).start if rng.random() < 0.5 else max(0, len(content) - size)
        del content[end:]
        return f"truncated to {end} bytes"

    return _change(path, change)


def append(path: Path, rng: random.Random, size: int) -> str:
    def change(content: bytearray) -> str:
        content.extend(rng.randbytes(size) if rng.random() < 0.5 else bytes(size))
        return f"{size} bytes appended"

    return _change(path, change)


def swap(path: Path, rng: random.Random, size: int) -> str:
    def change(content: bytearray) -> str:
        a, b = _run(content, rng, size), _run(content, rng, size)
        length = min(a.stop - a.start, b.stop - b.start, abs(a.start - b.start))
        a, b = slice(a.start, a.start + length), slice(b.start, b.start + length)
        content[a], content[b] = content[b], content[a]
        return f"{length} bytes at {a.start} and {b.start} swapped"

    return _change(path, change)


def _inserted(run: bytearray, rng: random.Random) -> bytes:
    return rng.randbytes(len(run)) + run


BYTES = {
    "flip": flip,
    "flip again": flip,  # twice as often as the others: what disks do
    "change": _replacing("random bytes", lambda run, rng: rng.randbytes(len(run))),
    "delete": _replacing("deleted", lambda run, rng: b""),
    "insert": _replacing("random bytes inserted", _inserted),
    "repeat": _replacing("repeated", lambda run, rng: bytes(run) * 2),
    "zeros": _replacing("zeros", lambda run, rng: bytes(len(run))),
    "ones": _replacing("0xff", lambda run, rng: b"\xff" * len(run)),
    "truncate": truncate,
    "append": append,
    "swap": swap,
}


def gone(path: Path, rng: random.Random, size: int) -> str:
    remove(path)
    return "removed"


def renamed(path: Path, rng: random.Random, size: int) -> str:
    name = rng.choice((f"{path.name}.bak", f".{path.name}", "\u202egpj.exe", f"{path.name[:-1]}", "a\nb" + path.suffix))
    path.rename(path.with_name(name))
    return f"renamed to {name!r}"


def emptied(path: Path, rng: random.Random, size: int) -> str:
    path.write_bytes(b"")
    return "emptied"


def folder(path: Path, rng: random.Random, size: int) -> str:
    remove(path)
    path.mkdir()
    return "replaced by a folder"


def pipe(path: Path, rng: random.Random, size: int) -> str:
    remove(path)
    os.mkfifo(path)
    return "replaced by a pipe"


def link(path: Path, rng: random.Random, size: int) -> str:
    target = rng.choice(("/dev/zero", "/dev/full", path.name, "/nowhere/at/all", "/proc/self/mem"))
    remove(path)
    path.symlink_to(target)
    return f"replaced by a link to {target}"


def sparse(path: Path, rng: random.Random, size: int) -> str:
    os.truncate(path, 5 << 30)
    return "made 5 GB long, sparse"


def unreadable(path: Path, rng: random.Random, size: int) -> str:
    path.chmod(0)
    return "may not be read"


def exchanged(path: Path, rng: random.Random, size: int) -> str:
    others = sorted(p for p in path.parent.iterdir() if p.is_file() and p.suffix == path.suffix and p != path)
    if not others or not path.is_file():
        raise Inapplicable
    other = rng.choice(others)
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return f"exchanged with {other.name}"


FILES = {
    "gone": gone, "renamed": renamed, "emptied": emptied, "folder": folder, "pipe": pipe, "link": link,
    "sparse": sparse, "unreadable": unreadable,
}  # fmt: skip
EXCHANGES = {"exchanged": exchanged}
