"""Whole activations, streamed to disk in whole chunks at about the speed of the disk."""

from __future__ import annotations

import threading

import h5py
import numpy as np

from metaprobe.probe.store.checksum import Checksums
from metaprobe.probe.store.metadata import RawOptions
from metaprobe.probe.store.unfailing import UnfailingFile
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["RawWriter", "zstd_filter"]

_SYNC_EVERY = 32 << 20  # bytes
_HALF_MAX = float(np.finfo(np.float16).max)


class RawWriter:
    """Appends tasks to the raw datasets of an open store; holds at most one chunk of each.

    Uncompressed chunks go to the file as they are: HDF5's own pipeline copies each once more. The kernel starts to
    write only when much is dirty, so a thread asks for what came so far to go to disk: computing and writing overlap,
    and dirty memory stays small.

    Args:
        file: an open store, with the datasets made.
        disk: what it is written to.
        checksums: take note of what is written.
        options: how values are stored.
    """

    def __init__(self, file: h5py.File, disk: UnfailingFile, checksums: Checksums, options: RawOptions) -> None:
        self._checksums = checksums
        self._file, self._half, self._compressed = file, options.dtype == "float16", options.zstd
        self._waiting: dict[str, tuple[int, list[np.ndarray]]] = {}
        self._flusher = _Flusher(disk)

    def write(self, path: str, layer: str, first: int, block: np.ndarray) -> None:
        """Append the activations (task, sample, …) of the tasks from place `first` on.

        Raises:
            MetaprobeError: a finite value is too large for float16.
        """
        values = np.ascontiguousarray(self._halved(layer, block) if self._half else block)
        for task, own in enumerate(values, first):
            self._checksums.add(path, own, (task,))
        dataset = self._file[path]
        assert isinstance(dataset, h5py.Dataset)
        span = dataset.chunks[0] if dataset.chunks else 1
        start, parts = self._waiting.pop(path, (first, []))
        parts.append(values)
        held = sum(len(part) for part in parts)
        whole = held if start + held == dataset.shape[0] else held // span * span
        if whole:
            joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
            self._put(dataset, start, joined[:whole])
            start, parts = start + whole, [joined[whole:].copy()]
        if held > whole:
            self._waiting[path] = (start, parts)

    def _put(self, dataset: h5py.Dataset, start: int, values: np.ndarray) -> None:
        """Write tasks that fill chunks, or end the dataset."""
        if self._compressed:
            dataset[start : start + len(values)] = values
            self._flusher.wrote(values.nbytes)
            return
        chunk = dataset.chunks
        assert chunk is not None
        padded = np.zeros(chunk, dataset.dtype)  # at the edge
        for task in range(0, len(values), chunk[0]):
            for sample in range(0, values.shape[1], chunk[1]):
                part = values[task : task + chunk[0], sample : sample + chunk[1]]
                if part.shape != chunk:
                    padded[...] = 0
                    padded[: part.shape[0], : part.shape[1]] = part
                    part = padded
                offset = (start + task, sample, *(0 for _ in chunk[2:]))
                dataset.id.write_direct_chunk(offset, np.ascontiguousarray(part, dataset.dtype))
                self._flusher.wrote(padded.nbytes)

    def close(self) -> None:
        """Stop; by then every chunk has been handed to HDF5 if all tasks came."""
        self._flusher.close()

    def _halved(self, layer: str, block: np.ndarray) -> np.ndarray:
        largest = float(np.abs(block).max(initial=0.0))
        if largest > _HALF_MAX:
            raise MetaprobeError(
                f"layer {layer!r} reaches {largest:.6g}, float16 ends at {_HALF_MAX:.6g}; store raw activations as "
                "computed, or leave the layer out"
            )
        return block.astype(np.float16)


def zstd_filter() -> h5py.filters.FilterRefBase:
    """Return the filter that compresses with zstd; importing it is what lets HDF5 read what is compressed.

    Raises:
        MetaprobeError: hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError as error:
        told = "raw activations compressed with zstd need the hdf5plugin package"
        raise MetaprobeError(f"{told}: pip install 'metaprobe[zstd]'") from error
    return hdf5plugin.Zstd()


class _Flusher:
    """A thread that sends a file's dirty pages to the disk every so many bytes."""

    def __init__(self, disk: UnfailingFile) -> None:
        self._disk, self._due, self._closing, self._bytes = disk, threading.Event(), False, 0
        self._thread = threading.Thread(target=self._run, name="metaprobe-flush", daemon=True)
        self._thread.start()

    def wrote(self, count: int) -> None:
        self._bytes += count
        if self._bytes >= _SYNC_EVERY:
            self._bytes = 0
            self._due.set()

    def close(self) -> None:
        self._closing = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closing:
                return
            self._disk.sync()
