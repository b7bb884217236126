"""What is fuzzed: how each subject is written cleanly, which mutators fit it, what reads it, what it vouches for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fuzz import arrays, mutate_archives, mutate_bytes, mutate_hdf5, mutate_text, reading, writing
from tests.fuzz.mutation import Mutator, Targets

FAMILIES: dict[str, dict[str, Mutator]] = {
    "bytes": mutate_bytes.BYTES,
    "files": mutate_bytes.FILES,
    "exchanges": mutate_bytes.EXCHANGES,
    "safetensors": mutate_text.SAFETENSORS,
    "json": mutate_text.JSON,
    "json lines": mutate_text.JSON_LINES,
    "toml": mutate_text.TOML,
    "lines": mutate_text.LINES,
    "hdf5": mutate_hdf5.HDF5,
    "zip": mutate_archives.ZIP,
    "tar": mutate_archives.TAR,
    "png": mutate_archives.PNG,
}


def _never(reader: str, found: Any) -> bool:
    return False


@dataclass(frozen=True)
class Subject:
    """One kind of file or folder that the project reads.

    Attributes:
        write: writes it cleanly into a new folder, from what `writing.shared` made.
        targets: which files in it are mutated by which families.
        readers: what reads it, by name; they are called in the folder, in this order.
        another: whether numbers other than the clean ones are what a changed file says, of formats that have no
            checksum of their own; nothing of ours is so.
        weight: how often it is drawn.
    """

    write: Callable[[Path, Path], None]
    targets: Targets
    readers: dict[str, Callable[[], Any]]
    another: Callable[[str, Any], bool] = _never
    weight: int = 4


_ANY = ("bytes", "bytes", "files")
_OURS = (*_ANY, "safetensors", "safetensors")
_STORED = (*_ANY, "hdf5", "hdf5")
_TARRED = (*_ANY, "tar", "tar")
SUBJECTS: dict[str, Subject] = {
    "checkpoint": Subject(
        writing.checkpoint, (("mine.safetensors", _OURS),),
        reading.CHECKPOINT, another=reading.no_longer_ours, weight=6,
    ),
    "clusters": Subject(
        writing.clusters, (("mine.safetensors", _OURS),),
        reading.CHECKPOINT, another=reading.no_longer_ours,
    ),
    "ruled": Subject(
        writing.ruled, (("mine.safetensors", _OURS),),
        reading.CHECKPOINT, another=reading.no_longer_ours,
    ),
    "store": Subject(writing.store, (("store.h5", _STORED),), reading.STORE, weight=6),
    "raw store": Subject(writing.raw, (("store.h5", _STORED),), reading.STORE),
    "zstd store": Subject(writing.zstd, (("store.h5", _STORED),), reading.STORE),
    "similarity": Subject(writing.store, (("store.h5", ("bytes", "hdf5", "files")),), reading.SIMILARITY, weight=1),
    "state dict": Subject(writing.state_dict, (("foreign.pt", (*_ANY, "zip")),), reading.STATE_DICT),
    "safetensors": Subject(
        writing.safetensors, (("foreign.safetensors", (*_ANY, "safetensors")),), reading.SAFETENSORS,
        another=reading.as_the_library_reads,
    ),
    "zip": Subject(
        writing.zipped, (("set.zip", (*_ANY, "zip", "zip")),), reading.ZIP, another=reading.a_whole_zip,
    ),
    "tar": Subject(
        writing.tarred, (("set.tar", _TARRED),), reading.TAR, another=reading.a_whole_tar,
    ),
    "tar.gz": Subject(writing.packed, (("set.tar.gz", _TARRED),), reading.PACKED, another=reading.a_whole_tar),
    "images": Subject(
        writing.images, (("set/*/*", (*_ANY, "png", "png", "exchanges")), ("set/*.txt", ("bytes", "lines", "files"))),
        reading.IMAGES, another=reading.as_they_lie,
    ),
    "run": Subject(
        writing.halfway,
        (("run/*.*", ("bytes", "toml", "json lines", "files")),
         ("run/checkpoints/*", (*_ANY, "safetensors", "exchanges"))),
        reading.RUN, weight=2,
    ),
    "image cache": Subject(
        writing.cache, (("cache/imagesets/*", _OURS),), reading.CACHE,
    ),
    "measured": Subject(
        writing.measured,
        (("third/*/measured/*.json", ("bytes", "json", "files")), ("third/*/measured/*.csv", (*_ANY, "lines")),
         ("third/*/metrics.jsonl", ("bytes", "json lines", "files")), ("third/*/checkpoints/*", (*_ANY, "safetensors")),
         ("third/*/captures/*", (*_ANY, "hdf5"))),
        reading.MEASURED, weight=1,
    ),
    "activations": Subject(
        arrays.activations,
        (("a.npy", _ANY), ("b.npz", (*_ANY, "zip")), ("c.h5", _STORED)), arrays.ACTIVATIONS, another=arrays.any_numbers,
    ),
    "tasks": Subject(
        arrays.tasks, (("tasks.npz", (*_ANY, "zip")),), arrays.TASKS, another=arrays.any_numbers,
    ),
    "pickled": Subject(arrays.pickled, (("*.pkl", _ANY),), arrays.PICKLED, another=arrays.any_numbers),
    "parquet": Subject(
        arrays.parquet, (("set/*", _ANY),), arrays.PARQUET, another=arrays.any_numbers,
    ),
    "weights": Subject(arrays.weights, (("w.pt", (*_ANY, "zip")),), arrays.WEIGHTS, another=arrays.any_numbers),
}  # fmt: skip
"""Every subject, by name."""
