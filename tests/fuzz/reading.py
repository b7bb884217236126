"""What reads each subject, in the folder of the mutant, and the formats' own oracles where they have no checksum."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load

from metaprobe.probe import open_store
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.formats.checkpoint_format import tensor_fingerprint
from metaprobe.trainers.run import RunFolder
from metaprobe.trainers.tasks import ImageSet, load_imageset
from metaprobe.trainers.tasks.images import SUFFIXES
from tests.fuzz.outcome import command, json_of
from tests.fuzz.writing import LAST, STUDY, TRAIN, working_in
from tests.tensor_files import DTYPES


def _loaded(path: str) -> dict[str, Any]:
    found = load_checkpoint(path)
    numbers = {f"weights {name}": value for name, value in found.tensors().items()}
    return numbers | {
        "config": found.config, "network": found.network_config, "adaptation": found.adaptation,
        "iteration": found.iteration, "metrics": dict(found.metrics), "provenance": dict(found.provenance),
    }  # fmt: skip


def _inspected(path: str, *options: str) -> dict[str, Any]:
    found = json_of("inspect", path, *options)
    return {name: value for name, value in found.items() if name not in ("file_size", "bytes")}


CHECKPOINT = {
    "load": lambda: _loaded("mine.safetensors"),
    "inspect": lambda: _inspected("mine.safetensors"),
    "inspect --stats": lambda: _inspected("mine.safetensors", "--stats"),
    "diff": lambda: {"told": command("diff", "clean.safetensors", "mine.safetensors")},
}


def _everything() -> dict[str, Any]:
    with open_store("store.h5") as store:
        numbers: dict[str, Any] = {"metadata": store.metadata, "tasks": store.task_indices}
        for layer in store.layers:
            for step in (0, *store.steps):
                sketch = store.sketch(layer, step)
                numbers |= {f"sketch {layer} {step} {name}": value for name, value in vars(sketch).items()}
                for task in range(store.tasks):
                    if step:
                        numbers[f"moments {layer} {step} {task}"] = store.moments(layer, step, task)
                    if store.metadata.raw is not None:
                        numbers[f"raw {layer} {step} {task}"] = store.activations(layer, step, task)
        return numbers


STORE = {"read": _everything}


def _compared() -> dict[str, Any]:
    rows = json_of("similarity", "store.h5", "--measures", "linear_cka")
    return {"rows": [{name: value for name, value in row.items() if name != "source"} for row in rows]}


SIMILARITY = {"similarity": _compared}

STATE_DICT = {
    "inspect": lambda: _inspected("foreign.pt"),
    "inspect --stats": lambda: _inspected("foreign.pt", "--stats"),
    "diff": lambda: {"told": command("diff", "foreign.pt", "foreign.pt")},
}
SAFETENSORS = {
    "inspect": lambda: _inspected("foreign.safetensors"),
    "inspect --stats": lambda: _inspected("foreign.safetensors", "--stats"),
    "diff": lambda: {"told": command("diff", "foreign.safetensors", "foreign.safetensors")},
}


def no_longer_ours(reader: str, numbers: Any) -> bool:
    """Return whether a checkpoint has lost all that says it is one, is told as a file of tensors, and as what it is."""
    content = Path("mine.safetensors").read_bytes() if Path("mine.safetensors").is_file() else b""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except ValueError:
        return False
    if set(header.get("__metadata__") or ()) - {"format"} or reader not in ("inspect", "inspect --stats", "diff"):
        return False
    told = "B holds none" in numbers["told"] if reader == "diff" else "checkpoint" not in numbers["kind"]
    return told and as_the_library_reads(reader, numbers, "mine.safetensors")


def as_the_library_reads(reader: str, numbers: Any, path: str = "foreign.safetensors") -> bool:
    """Return whether the fingerprint is that of the tensors as the format's own library reads them from the mutant."""
    tensors = load(Path(path).read_bytes())
    parts = (
        (name, DTYPES[v.dtype.name], v.shape, v.tobytes()) for name, v in tensors.items() if v.dtype.name in DTYPES
    )
    return reader != "inspect --stats" or numbers.get("fingerprint_of_tensors") == tensor_fingerprint(parts)


def _of(images: ImageSet) -> dict[str, Any]:
    numbers = {f"class {name}": images.images[images.images_of(i)] for i, name in enumerate(images.class_names)}
    return numbers | {"splits": images.splits, "groups": images.groups}


def _set(name: str) -> dict[str, Any]:
    with working_in(Path.cwd(), "cache"):
        return _of(load_imageset(f"class_folder:{name}"))


ZIP = {name: lambda: _set("set.zip") for name in ("load", "load again")}
TAR = {name: lambda: _set("set.tar") for name in ("load", "load again")}
PACKED = {name: lambda: _set("set.tar.gz") for name in ("load", "load again")}
IMAGES = {name: lambda: _set("set") for name in ("load", "load again")}


def _cached() -> dict[str, Any]:
    with working_in(Path.cwd(), "cache"):
        return _of(load_imageset(f"class_folder:{Path('pictures').resolve()}"))


CACHE = {name: _cached for name in ("load", "load again")}


def _agree(numbers: Mapping[str, Any], files: Mapping[str, bytes]) -> bool:
    """Return whether each class that was read has the images of its files, as Pillow alone decodes them."""
    classes: dict[str, list[np.ndarray]] = {}
    for name in sorted(files):
        path = PurePosixPath(name)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.parent.name:
            found = numbers.get(f"class {path.parent}")
            if found is not None:
                with Image.open(io.BytesIO(files[name])) as image:
                    pixels = np.asarray(image.convert("L" if found.shape[1] == 1 else "RGB"))
                classes.setdefault(str(path.parent), []).append(
                    pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
                )
    read = {name.removeprefix("class "): value for name, value in numbers.items() if name.startswith("class ")}
    return read.keys() == classes.keys() and all(np.array_equal(np.stack(classes[name]), read[name]) for name in read)


_LARGEST = 64 << 20  # bytes of a picture that is decoded: what is larger, no reader may have taken


def as_they_lie(reader: str, numbers: Any) -> bool:
    """Return whether what was read of class folders is what lies in them: they have no list of their files."""
    files = {}
    for path in sorted(Path("set").glob("*/*")):
        with contextlib.suppress(OSError):  # a link to what cannot be read is no image
            if path.is_file() and path.stat().st_size < _LARGEST:
                files[path.relative_to("set").as_posix()] = path.read_bytes()
    return _agree(numbers, files)


def a_whole_tar(reader: str, numbers: Any) -> bool:
    """Return whether the mutant is a whole tar of plain files, by its own rules, and what was read is what it holds."""
    path = next(Path().glob("set.tar*"))
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        return _agree(numbers, dict(_members(content)))
    except (OSError, EOFError, ValueError, zlib.error):
        return False


def a_whole_zip(reader: str, numbers: Any) -> bool:
    """Return whether the mutant is a whole zip, by its own rules, and what was read is what its folder lists.

    A member that is added to a damaged archive makes it whole again, without what the damage had hidden.
    """
    content = Path("set.zip").read_bytes()
    end = content.rfind(b"PK\x05\x06")
    if end < 0 or end + 22 != len(content):
        return False
    here, in_all, size, place = struct.unpack("<HHLL", content[end + 8 : end + 20])
    at, entries = place, 0
    while content[at : at + 4] == b"PK\x01\x02":
        at += 46 + sum(struct.unpack("<HHH", content[at + 28 : at + 34]))
        entries += 1
    if not at == place + size == end or not entries == here == in_all:
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _agree(numbers, {name: archive.read(name) for name in archive.namelist()})


def _members(content: bytes) -> Iterator[tuple[str, bytes]]:
    place = 0
    while any(content[place : place + 512]):
        head = content[place : place + 512]
        total = sum(head[:148]) + 8 * 32 + sum(head[156:])
        if int(head[148:156].strip(b" \0") or b"0", 8) != total or head[156:157] not in b"0\0":
            raise ValueError("no plain file")
        size = int(head[124:136].strip(b" \0") or b"0", 8)
        data = content[place + 512 : place + 512 + size]
        if len(data) < size:
            raise ValueError("cut short")
        prefix, name = (
            part.partition(b"\0")[0].decode("utf-8", "surrogateescape") for part in (head[345:500], head[:100])
        )
        yield f"{prefix}/{name}" if prefix else name, data
        place += 512 + -(-size // 512) * 512
    if len(content) < place + 1024 or any(content[place : len(content) // 512 * 512]):
        raise ValueError("no end, or something behind it")


def _trained() -> dict[str, Any]:
    with working_in(Path.cwd(), Path("pictures").resolve().parent / "cache"):
        command("train", "maml", *TRAIN, "--out", "run")
    iterations = [int(record["iteration"]) for record in RunFolder(Path("run")).read_metrics()]
    return _loaded(f"run/{LAST}") | {"iterations": iterations}


RUN = {"train": _trained}


def _studied() -> dict[str, Any]:
    with working_in(Path.cwd(), Path("pictures").resolve().parent / "cache"):
        command(*STUDY)
    tables = {path.name: path.read_bytes() for path in sorted(Path("third/tables").glob("*.csv"))}
    made = json.loads(Path("third/tables/made.json").read_text(encoding="utf-8"))
    return tables | {"missing": made["missing"]}


MEASURED = {"study": _studied}
