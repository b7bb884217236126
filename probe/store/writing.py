"""Writing a store: every dataset of the schema, filled task by task. No torch."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from jaxtyping import Int

from metaprobe.probe.moments import JointMoments
from metaprobe.probe.store.checksum import Checksums, digest_of
from metaprobe.probe.store.metadata import FORMAT_VERSION, ROOT_KEY, StoreMetadata, metadata_to_json
from metaprobe.probe.store.picking import picked_rows, rows_per_task
from metaprobe.probe.store.raw import RawWriter, zstd_filter
from metaprobe.probe.store.schema import (
    DatasetSpec,
    activation_group,
    expected_bytes,
    moment_group,
    schema,
    sketch_group,
)
from metaprobe.probe.store.unfailing import UnfailingFile
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.interrupt import StopRequest

__all__ = ["StoreWriter", "TaskArrays"]

LIBVER = ("v110", "v110")  # checksummed metadata; the same bytes from every later library; read by everyone since 2016
_CACHE = 1 << 20  # bytes of chunk cache a dataset; larger chunks go straight to the file
_ALIGNED = 1 << 20  # bytes; chunks from this size on start at a page

TaskArrays = Mapping[str, Int[np.ndarray, "task sample"]]
"""class_ids, query_ids, query_labels, support_ids and support_labels of a run of tasks."""


class StoreWriter:
    """Writes one store into a file; use it within `trainers.files.replacing`, so that a part is never seen.

    Tasks come in the order of their places. Memory does not grow with their number.

    Args:
        path: the file, which is overwritten.
        metadata: what will be captured.
        stop: holds back signals while HDF5 writes: it calls back into Python, swallows what is raised there, and a
            write is lost.

    Raises:
        MetaprobeError: the disk is too full, or compression was asked for and hdf5plugin is not installed.
    """

    def __init__(self, path: Path, metadata: StoreMetadata, stop: StopRequest | None = None) -> None:
        self._metadata, self._path, self._stop = metadata, path, stop or StopRequest()
        self._indices: list[int] = []
        self._grids = {layer.name: layer.grid for layer in metadata.layers}
        _refuse_without_room(path, metadata)
        specs = schema(metadata)
        self._checksums = Checksums(specs)
        self._raw: RawWriter | None = None
        with self._stop.held():
            self._disk = UnfailingFile(path)
            cache: dict[str, Any] = {"rdcc_nbytes": _CACHE, "alignment_threshold": _ALIGNED, "alignment_interval": 4096}
            self._file = h5py.File(self._disk, "w", libver=LIBVER, **cache)
        try:
            with self._writing():
                for spec in specs:
                    self._create(spec)
                self._file.attrs[ROOT_KEY] = np.bytes_(metadata_to_json(metadata).encode())
                self._file.attrs["format"] = FORMAT_VERSION
            if metadata.raw is not None:
                self._raw = RawWriter(self._file, self._disk, self._checksums, metadata.raw)
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        else:
            self._abandon()

    def tasks(self, first: int, indices: Sequence[int], arrays: TaskArrays) -> None:
        """Write the ids and labels of the tasks from place `first` on; comes before whatever else is theirs."""
        self._indices.extend(indices)
        with self._writing():
            for name, values in arrays.items():
                self._put(f"tasks/{name}", slice(first, first + len(values)), values)

    def moments(self, layer: str, place: int, step: int, moments: JointMoments) -> None:
        """Write the moments of one layer, task and step; `step` counts `metadata.steps` from 0."""
        group = moment_group(layer)
        with self._writing():
            for name in ("n", "mean", "scatter", "cubic", "quartic", "largest"):
                self._put(f"{group}/{name}", (place, step), getattr(moments, name), (place, step))

    def sketch(self, layer: str, phase: str, place: int, rows: np.ndarray) -> None:
        """Write those of one task's rows (row, feature) that its sketch keeps."""
        start, kept = self._kept(layer, place)
        with self._writing():
            self._put(f"{sketch_group(layer)}/{phase}", slice(start, start + len(kept)), rows[kept])

    def sketch_labels(self, layer: str, place: int, ids: np.ndarray, labels: np.ndarray) -> None:
        """Write beside one task's kept rows what they are: task, sample, position, image id and label.

        Args:
            layer: its name.
            place: of the task.
            ids: of the query images, (sample,).
            labels: of them, (sample,).
        """
        (start, kept), positions = self._kept(layer, place), math.prod(self._grids[layer])
        sample = kept // positions
        beside = {"task": np.full(len(kept), place), "sample": sample, "position": kept % positions}
        beside |= {"id": ids[sample], "label": labels[sample]}
        with self._writing():
            for name, values in beside.items():
                self._put(f"{sketch_group(layer)}/{name}", slice(start, start + len(kept)), values)

    def activations(self, layer: str, phase: str, first: int, block: np.ndarray) -> None:
        """Write whole activations (task, sample, …) of the tasks from place `first` on.

        Raises:
            MetaprobeError: a value does not fit float16.
        """
        if self._raw is None:
            raise ValueError("this store was opened without raw activations")
        path = f"{activation_group(phase)}/{moment_group(layer).partition('/')[2]}"
        with self._writing():
            self._raw.write(path, layer, first, block)

    def _kept(self, layer: str, place: int) -> tuple[int, np.ndarray]:
        meta, grid = self._metadata, self._grids[layer]
        available = meta.n_query * math.prod(grid)
        count = rows_per_task(place, meta.n_tasks, available, meta.sketch_rows)
        start = min(place * meta.sketch_rows // meta.n_tasks, place * available)
        return start, picked_rows(meta.sketch_seed, self._indices[place], meta.n_query, grid, count)

    def _create(self, spec: DatasetSpec) -> None:
        options = {"compression": zstd_filter(), "shuffle": True} if spec.compressed else {}
        dataset = self._file.create_dataset(
            spec.path,
            shape=spec.shape,
            dtype=spec.dtype,
            chunks=spec.chunk,
            fillvalue=0,  # given, so that the rest of a chunk at the edge is zeros and equal stores have equal bytes
            track_times=False,
            **options,
        )
        if spec.is_scale:
            if not spec.path.endswith("/task"):
                steps = spec.path.endswith("/step")
                values = np.array(self._metadata.steps) if steps else np.arange(spec.shape[0])
                dataset[...] = self._checksums.add(spec.path, values) if spec.is_checked else values
            dataset.make_scale(spec.path.rpartition("/")[2])
            return
        for axis, scale in enumerate(spec.dims):
            dataset.dims[axis].attach_scale(self._dataset(scale))

    def _put(self, path: str, where: Any, values: Any, part: tuple[int, ...] = ()) -> None:
        self._dataset(path)[where] = self._checksums.add(path, values, part)

    def _dataset(self, path: str) -> h5py.Dataset:
        found = self._file[path]
        assert isinstance(found, h5py.Dataset)
        return found

    def _finish(self) -> None:
        try:
            with self._writing():
                if self._raw is not None:
                    self._raw.close()
                for layer in self._metadata.layers:
                    self._put(f"{moment_group(layer.name)}/eps", ..., np.full(2, layer.eps))
                    self._put(f"{moment_group(layer.name)}/task", ..., np.array(self._indices))
                for group in ("tasks", "activations"):
                    if group in self._file:
                        self._put(f"{group}/task", ..., np.array(self._indices))
                self._dataset("checks/crc32")[...] = self._checksums.values
                told = metadata_to_json(self._metadata).encode()
                self._file.attrs["checksum"] = np.bytes_(digest_of(told, self._checksums.values).encode())
                self._file.flush()
            with self._writing():
                self._file.attrs["complete"] = 1
                self._file.close()
                self._disk.sync()
        finally:
            self._abandon()

    def _abandon(self) -> None:
        """Close the file whatever state it is in: an open one would keep its disk space after it is deleted."""
        with self._stop.held():
            if self._raw is not None:
                self._raw.close()
            self._file.close()
            self._disk.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        with self._stop.held():
            yield
        if (error := self._disk.error) is not None:
            raise MetaprobeError(
                f"the store cannot be written in {self._path.parent}: {error.strerror}; nothing of it is left there. "
                f"It needs about {_size(expected_bytes(self._metadata))}; make room, or capture fewer tasks, layers or "
                "steps"
            ) from error


def _refuse_without_room(path: Path, metadata: StoreMetadata) -> None:
    needed, free = expected_bytes(metadata), shutil.disk_usage(path.parent).free
    if needed > free:
        largest = max(metadata.layers, key=lambda layer: math.prod(layer.shape))
        raise MetaprobeError(
            f"the store would take {_size(needed)} and {path.parent} has {_size(free)} free; capture fewer tasks, "
            f"layers or steps (layer {largest.name!r} has {largest.features} features of shape {largest.shape})"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
