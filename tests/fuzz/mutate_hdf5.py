"""Mutators of HDF5 files through the library: whole files that say something else than what was captured."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzz.mutate_text import edited_json
from tests.fuzz.mutation import Inapplicable


def _edited(change):
    def mutate(path: Path, rng: random.Random, size: int) -> str:
        try:
            with h5py.File(path, "r+") as file:
                return change(file, rng, size)
        except (OSError, RuntimeError, ValueError, LookupError, TypeError) as error:  # or nothing there to choose from
            raise Inapplicable from error

    return mutate


def _all(file: h5py.File, kind: type) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, thing: found.append(name) if isinstance(thing, kind) else None)
    return sorted(found)


def attribute(file: h5py.File, rng: random.Random, size: int) -> str:
    """Change the text or the mark at the root."""
    kind = rng.choice(("edited", "edited", "edited", "edited", "gone", "odd", "more", "of a dataset"))
    name = rng.choice(sorted(file.attrs))
    if kind == "edited":
        name = "metaprobe"
        text, told = edited_json(bytes(file.attrs[name]).decode(), rng)
        file.attrs[name] = np.bytes_(text.encode("utf-8", "surrogatepass"))
        return f"attribute {name}: {told}"
    if kind == "gone":
        del file.attrs[name]
    elif kind == "of a dataset":
        name = rng.choice(_all(file, h5py.Dataset))
        file[name].attrs[rng.choice(("NAME", "units", "scale_factor"))] = rng.choice((1, b"\xff", 1e300))
    else:
        odd = rng.choice((0, 2, -1, 1.5, "text", b"\xff\xfe", np.arange(5), h5py.Empty("f8"), np.bytes_(b"{}"), 2**40))
        name = name if kind == "odd" else "\udcff"
        file.attrs[name] = odd
    return f"attribute {name!r} {kind}"


def _fresh(file: h5py.File, name: str, shape: tuple[int, ...] | None = None, kind: Any = None) -> h5py.h5d.DatasetID:
    """Put a dataset of the same properties without values in place of one; its scales are lost."""
    old = file[name]
    plist, space = old.id.get_create_plist(), old.id.get_space()
    kind = old.id.get_type() if kind is None else kind
    if shape is not None:
        space = h5py.h5s.create_simple(shape)
    del file[name]
    return h5py.h5d.create(file.id, name.encode(), kind, space, plist)


def values(file: h5py.File, rng: random.Random, size: int) -> str:
    """Write other values through the library, which makes its own checksums fit."""
    name = rng.choice([name for name in _all(file, h5py.Dataset) if file[name].size])
    dataset = file[name]
    flat = dataset[...].reshape(-1)
    place = rng.randrange(len(flat))
    stop = min(len(flat), place + size)
    odd = rng.choice((0, 1, -1, 7)) if flat.dtype.kind == "i" else rng.choice((0.0, 1.0, -1.0, np.nan, np.inf, 1e-30))
    with np.errstate(invalid="ignore"):  # whatever -1 or NaN become in an unsigned integer
        cast = np.asarray(odd).astype(flat.dtype)
    flat[place:stop] = cast if rng.random() < 0.7 else np.roll(flat, 1)[place:stop]
    dataset[...] = flat.reshape(dataset.shape)
    return f"{name}: values {place} to {stop} = {odd}"


def lost(file: h5py.File, rng: random.Random, size: int) -> str:
    """Lose all chunks of a dataset: it reads as zeros."""
    name = rng.choice(_all(file, h5py.Dataset))
    _fresh(file, name)
    return f"{name}: its chunks are lost"


def chunk(file: h5py.File, rng: random.Random, size: int) -> str:
    """Overwrite one chunk as it is stored, below the filters, or put it in another's place."""
    name = rng.choice([name for name in _all(file, h5py.Dataset) if file[name].id.get_num_chunks()])
    dataset = file[name].id
    place = dataset.get_chunk_info(rng.randrange(dataset.get_num_chunks())).chunk_offset
    mask, content = dataset.read_direct_chunk(place)
    kind = rng.choice(("zeros", "ones", "flipped", "unfiltered", "short", "exchanged"))
    changed = bytearray(content)
    if kind == "zeros":
        changed = bytearray(len(content))
    elif kind == "ones":
        changed = bytearray(b"\xff" * len(content))
    elif kind == "flipped":
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    elif kind == "unfiltered":
        mask = 0xFFFFFFFF
    elif kind == "short":
        del changed[len(changed) // 2 :]
    else:
        other = dataset.get_chunk_info(rng.randrange(dataset.get_num_chunks())).chunk_offset
        changed = bytearray(dataset.read_direct_chunk(other)[1])
    dataset.write_direct_chunk(place, bytes(changed), mask)
    return f"{name}: chunk at {place} {kind}"


def shape(file: h5py.File, rng: random.Random, size: int) -> str:
    """Put a dataset of another shape or type in the place of one."""
    name = rng.choice(_all(file, h5py.Dataset))
    old = file[name].shape
    kind = rng.choice(("larger", "huge", "flat", "time", "text", "reference", "big-endian", "scalar"))
    if kind in ("larger", "huge", "flat"):
        wanted = {"larger": (old[0] + 1, *old[1:]), "huge": (2**40, *old[1:]), "flat": (int(np.prod(old)),)}[kind]
        if len(wanted) != len(old):
            raise Inapplicable
        _fresh(file, name, wanted)
    elif kind == "scalar":
        del file[name]
        file[name] = 1.0
    else:
        types = {
            "time": h5py.h5t.UNIX_D32LE, "text": h5py.h5t.C_S1, "big-endian": h5py.h5t.IEEE_F64BE,
            "reference": h5py.h5t.STD_REF_OBJ,
        }  # fmt: skip
        _fresh(file, name, kind=types[kind])
    return f"{name}: {kind}"


def linked(file: h5py.File, rng: random.Random, size: int) -> str:
    """Take out, double or divert a link."""
    name = rng.choice(_all(file, h5py.Dataset) + _all(file, h5py.Group))
    kind = rng.choice(("gone", "soft", "external", "hard", "group", "cycle", "more", "not UTF-8"))
    if kind == "more":
        file[f"{name} more"] = file[name]
        return f"{name}: {kind}"
    if kind == "not UTF-8":
        h5py.h5g.create(file.id, b"\xff\xfe")
        return "a group whose name is not UTF-8"
    other = rng.choice(_all(file, h5py.Dataset))
    thing = file[other]
    del file[name]
    if kind == "soft":
        file[name] = h5py.SoftLink(f"/{other}")
    elif kind == "external":
        file[name] = h5py.ExternalLink(Path(file.filename).name, f"/{other}")
    elif kind == "hard":
        file[name] = thing
    elif kind == "group":
        file.create_group(name)
    elif kind == "cycle":
        file[name] = file["/"]
    return f"{name}: {kind}, {other}"


HDF5 = {
    name: _edited(change)
    for name, change in {
        "attribute": attribute, "values": values, "lost": lost, "chunk": chunk, "shape": shape, "linked": linked,
    }.items()
}  # fmt: skip
