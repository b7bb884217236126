"""What is refused of an HDF5 file before it is believed. No torch."""

from __future__ import annotations

import itertools
import os
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from metaprobe.probe.store.checksum import Checksums, digest_of
from metaprobe.probe.store.metadata import FORMAT_VERSION, ROOT_KEY, StoreMetadata, metadata_from_json
from metaprobe.probe.store.schema import DatasetSpec, schema
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.safetensors_header import guess_kind, open_regular
from metaprobe.trainers.formats.text import visible

__all__ = ["CANNOT_READ", "checked_contents", "open_hdf5"]

CANNOT_READ = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py raises of a file that it makes no sense of: also of names that are no text, and of types without values."""

_MAGIC = b"\x89HDF\r\n\x1a\n"
_END = {0: slice(40, 48), 1: slice(44, 52), 2: slice(28, 36), 3: slice(28, 36)}
"""Where HDF5 files say how long they are, by the version of their first block."""
_METADATA_LIMIT = 16 << 20  # bytes
_ZSTD = {h5py.h5z.FILTER_SHUFFLE, 32015}  # the last is zstd's registered number


def open_hdf5(path: Path | str) -> h5py.File:
    """Open an HDF5 file for reading.

    Raises:
        UnreadableInput: there is none, or HDF5 cannot make sense of it.
    """
    shown = visible(str(path))
    with open_regular(path) as file:
        try:
            start, size = file.read(4096), os.fstat(file.fileno()).st_size
        except OSError as error:
            raise UnreadableInput(f"{shown}: cannot be read: {error.strerror}.") from error
    if not start.startswith(_MAGIC):
        kind = guess_kind(start) if start else "an empty file"
        raise UnreadableInput(f"{shown}: not an activation store (HDF5){f' but {kind}' if kind else ''}.")
    end = _end(start)
    if end not in (None, size):  # HDF5 itself would not mind what follows its end
        raise UnreadableInput(f"{shown}: damaged or cut short: it says that it ends at byte {end:,}, and has {size:,}.")
    try:
        return h5py.File(path, "r", locking="best-effort")
    except CANNOT_READ as error:
        raise UnreadableInput(f"{shown}: damaged or cut short: {visible(str(error), 200)}.") from error


def _end(start: bytes) -> int | None:
    """Return where a file says that it ends; None of a version, or a width of addresses, that are not known."""
    version = start[8] if len(start) > 8 else -1
    width = start[13:14] if version < 2 else start[9:10]
    return int.from_bytes(start[_END[version]], "little") if version in _END and width == b"\x08" else None


def checked_contents(file: h5py.File, shown: str, file_size: int) -> tuple[StoreMetadata, Checksums | None]:
    """Return a store's metadata, after checking that the file holds exactly the datasets that they call for.

    Checked: whole (the `complete` mark); every link is a hard one, so nothing leads out of the file; no dataset is
    virtual or in another file; shapes, types, chunks and stored sizes are the schema's. So reading a dataset
    allocates no more than the file is large (times what zstd gained, for one task's activations). What it says, and the
    checksums of its values, are those that were written.

    Returns:
        The metadata; the checksums that values are to be read against, None of a store of format 1, which had none.

    Raises:
        UnreadableInput: one line with the first thing that is wrong.
    """
    if _attribute(file, "complete", shown) != 1:
        raise UnreadableInput(f"{shown}: incomplete; its capture did not end, run it again.")
    text = _attribute(file, ROOT_KEY, shown)
    if not isinstance(text, bytes):
        raise UnreadableInput(f"{shown}: an HDF5 file, but not an activation store of metaprobe.")
    metadata = metadata_from_json(text.decode("utf-8", "replace"), shown)
    specs = schema(metadata)
    if (claimed := sum(spec.stored_bytes for spec in specs if not spec.compressed)) > file_size:
        raise UnreadableInput(f"{shown}: claims {claimed} bytes of arrays; the file has {file_size}.")
    _check_members(file, specs, shown)
    for spec in specs:
        if problem := _problem(file, spec, sealed=metadata.format == 1):
            raise UnreadableInput(f"{shown}: {visible(spec.path, 100)} {problem}.")
    if metadata.format < FORMAT_VERSION:
        warnings.warn(
            f"{shown}: written in format {metadata.format}, which does not notice every damage; capture again for "
            f"format {FORMAT_VERSION}",
            stacklevel=4,
        )
        return metadata, None
    crc32: Any = file["checks/crc32"]
    checksums = Checksums(specs, crc32[...])
    if _attribute(file, "checksum", shown) != digest_of(text, checksums.values).encode():
        raise UnreadableInput(f"{shown}: damaged: what it says, or its checksums, were changed after it was written.")
    return metadata, checksums


def _attribute(file: h5py.File, name: str, shown: str) -> int | bytes | None:
    """Return a root attribute that is one whole number or one text of fixed, sensible length."""
    if name not in file.attrs:
        if name == "complete" and ROOT_KEY in file.attrs:
            raise UnreadableInput(f"{shown}: incomplete; its capture did not end, run it again.")
        raise UnreadableInput(f"{shown}: an HDF5 file, but not an activation store of metaprobe.")
    attribute: Any = h5py.h5a.open(file.id, name.encode())
    kind = attribute.dtype
    if attribute.shape != () or kind.kind not in "iS" or kind.itemsize > _METADATA_LIMIT:
        raise UnreadableInput(f"{shown}: attribute {name!r} is not one number or text.")
    value: Any = file.attrs[name]
    return bytes(value) if kind.kind == "S" else int(value)


def _check_members(file: h5py.File, specs: tuple[DatasetSpec, ...], shown: str) -> None:
    """Check that groups and datasets are those of the schema, no more and no fewer, all by hard links."""
    expected: dict[str, set[str]] = {}
    for spec in specs:
        parts = spec.path.split("/")
        for depth in range(len(parts)):
            expected.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    for place, names in expected.items():
        group = file if not place else file.get(place)
        if not isinstance(group, h5py.Group):
            raise UnreadableInput(f"{shown}: {visible(place, 100)} is not a group.")
        here = f" in {visible(place, 100)}" if place else ""
        found = set(itertools.islice(group, len(names) + 1))  # one too many tells as much as a million
        for name in sorted(found):
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnreadableInput(f"{shown}: {visible(name, 100)!r}{here} is a link that leads elsewhere; refused.")
        if wrong := found ^ names:
            what = "is missing" if min(wrong) in names else "does not belong in a store"
            raise UnreadableInput(f"{shown}: {visible(min(wrong), 100)!r}{here} {what}.")


def _problem(file: h5py.File, spec: DatasetSpec, sealed: bool) -> str:
    # `sealed`: with fletcher32, of 4 bytes a chunk, which cannot tell 0x0000 from 0xFFFF
    dataset = file.get(spec.path)
    if not isinstance(dataset, h5py.Dataset):
        return "is not a dataset"
    created = dataset.id.get_create_plist()
    if created.get_layout() != h5py.h5d.CHUNKED or created.get_external_count():
        return "is virtual, or its values lie in another file; refused"
    if dataset.dtype != np.dtype(spec.dtype) or dataset.shape != spec.shape or dataset.chunks != spec.chunk:
        return (
            f"is {dataset.dtype} {dataset.shape} in chunks of {dataset.chunks}, expected {spec.dtype} {spec.shape} in "
            f"chunks of {spec.chunk}"
        )
    filters = {created.get_filter(i)[0] for i in range(created.get_nfilters())}
    if filters != (_ZSTD if spec.compressed else set()) | ({h5py.h5z.FILTER_FLETCHER32} if sealed else set()):
        return f"is stored with the filters {sorted(filters)}"
    if spec.compressed:
        return "" if dataset.id.get_num_chunks() == spec.n_chunks else "lacks some of its values"
    stored = dataset.id.get_storage_size()
    expected = spec.stored_bytes + 4 * spec.n_chunks * sealed
    return "" if stored == expected else f"stores {stored} bytes, expected {expected}"
