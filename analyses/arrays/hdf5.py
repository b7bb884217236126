"""HDF5 files of anyone's arrays: every dataset a layer, by its path in the file."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from metaprobe.probe.store.checking import CANNOT_READ, open_hdf5
from metaprobe.probe.store.metadata import ROOT_KEY
from metaprobe.trainers.errors import UnreadableInput
from metaprobe.trainers.formats.npy import Found
from metaprobe.trainers.formats.safetensors_header import open_regular
from metaprobe.trainers.formats.text import visible

__all__ = ["MAGIC", "is_store", "read_hdf5"]

MAGIC = b"\x89HDF\r\n\x1a\n"
"""What HDF5 files begin with."""

_FILTERS = frozenset(
    {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
)  # those that come with h5py: others would load code
_GAIN = 1100  # no deflated byte becomes more
_MOST_GROUPS = 10_000


def is_store(path: Path | str) -> bool:
    """Tell whether a file is an activation store, whole or not; HDF5 that cannot be read counts as one."""
    try:
        with open_regular(path) as file:
            if not file.read(8).startswith(MAGIC):
                return False
        with open_hdf5(path) as opened:
            return ROOT_KEY in opened.attrs or "complete" in opened.attrs
    except (UnreadableInput, *CANNOT_READ):
        return os.path.exists(path)


@contextlib.contextmanager
def read_hdf5(file: BinaryIO, path: Path) -> Iterator[tuple[Found, ...]]:
    """Open the datasets of an HDF5 file, in all its groups.

    Raises:
        UnreadableInput: it is damaged, leads out of itself, or claims more than it holds.
    """
    shown, size = visible(str(path)), os.fstat(file.fileno()).st_size
    with open_hdf5(path) as opened:
        try:
            found = tuple(_found(dataset, name, shown, size) for name, dataset in _datasets(opened, shown))
        except CANNOT_READ as error:
            raise UnreadableInput(f"{shown}: damaged: {visible(str(error), 200)}.") from error
        yield found


def _datasets(file: h5py.File, shown: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the datasets by path, groups in the order of their names; each group is entered once."""
    waiting: list[tuple[str, Any]] = [("", file["/"])]
    entered: set[h5py.Group] = set()  # equal where they are one group
    while waiting:
        prefix, group = waiting.pop()
        if group in entered:
            continue
        entered.add(group)
        if len(entered) > _MOST_GROUPS:
            raise UnreadableInput(f"{shown}: has more than {_MOST_GROUPS:,} groups.")
        inside = []
        for name in group:
            where = f"{prefix}{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise UnreadableInput(f"{shown}: {visible(where, 80)} is a link to elsewhere; copy what it leads to.")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                yield where, item
            elif isinstance(item, h5py.Group):
                inside.append((f"{where}/", item))
        waiting += reversed(inside)


def _found(dataset: h5py.Dataset, name: str, shown: str, size: int) -> Found:
    where, plist = f"{shown}: {visible(name, 80)}", dataset.id.get_create_plist()
    if dataset.is_virtual or dataset.external:
        raise UnreadableInput(f"{where}: its values are in other files; copy them into this one.")
    shape = dataset.shape
    if shape is None or dataset.dtype.hasobject or dataset.dtype.names is not None:
        return Found(name, "text, references or records", "O", shape or (), lambda rows: iter(()))
    filters = {plist.get_filter(place)[0] for place in range(plist.get_nfilters())}
    if filters - _FILTERS:
        raise UnreadableInput(f"{where}: compressed by a plugin; store it with gzip or lzf, or as it is.")
    stored = dataset.id.get_storage_size()
    claimed = math.prod(shape) * dataset.dtype.itemsize
    gain = _GAIN if filters & {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_LZF} else 1
    if claimed > stored * gain or stored > size:
        told = f"claims {claimed:,} bytes and {stored:,} are stored"
        raise UnreadableInput(f"{where}: {told}; it was never wholly written, or its file is damaged.")
    return Found(name, dataset.dtype.name, dataset.dtype.kind, shape, partial(_blocks, dataset, where))


def _blocks(dataset: h5py.Dataset, where: str, rows: int) -> Iterator[np.ndarray]:
    for first in range(0, dataset.shape[0], rows):
        try:
            yield dataset[first : first + rows]
        except CANNOT_READ as error:
            raise UnreadableInput(f"{where}: damaged: {visible(str(error), 200)}.") from error
