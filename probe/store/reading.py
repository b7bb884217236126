"""Reading a store: checked against the schema before anything of its size is allocated. No torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from jaxtyping import Float, Int

from metaprobe.probe.moments import JointMoments, pool
from metaprobe.probe.store.checking import CANNOT_READ, checked_contents, open_hdf5
from metaprobe.probe.store.metadata import LayerInfo, StoreMetadata
from metaprobe.probe.store.raw import zstd_filter
from metaprobe.probe.store.schema import activation_group, moment_group, sketch_group
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput, unknown_name
from metaprobe.trainers.files import sha256_of
from metaprobe.trainers.formats.text import visible

__all__ = ["Sketch", "Store", "open_store"]


@dataclass(frozen=True, eq=False)
class Sketch:
    """Some rows of a layer's activations, the same ones in every phase and in every store of the same tasks.

    Attributes:
        rows: (row, feature), in the type in which they were stored.
        tasks: place of each row's task, 0 … n_tasks−1.
        samples: of its query sample in the task. positions: in the layer's output, counted row by row.
        ids: of the image in its ImageSet. labels: its way in the task.
    """

    rows: Float[np.ndarray, "row feature"]
    tasks: Int[np.ndarray, " row"]
    samples: Int[np.ndarray, " row"]
    positions: Int[np.ndarray, " row"]
    ids: Int[np.ndarray, " row"]
    labels: Int[np.ndarray, " row"]


def open_store(path: Path | str) -> Store:
    """Open an activation store and check its whole structure.

    Raises:
        UnreadableInput: one line: the file is missing, not HDF5, damaged, incomplete, links out of itself, or does not
            hold what its metadata say.
    """
    return Store(path)


class Store:
    """An open activation store; close it, or use it in a `with` block.

    Attributes:
        path: the file.
        metadata: what was captured, from what, and how.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._name = visible(str(path))
        self._file = open_hdf5(path)
        try:
            with self._reading():
                contents = checked_contents(self._file, self._name, self.path.stat().st_size)
                self.metadata: StoreMetadata = contents[0]
                self._checksums = contents[1]
        except BaseException:
            self.close()
            raise
        self._datasets: dict[str, h5py.Dataset] = {}
        self._layers = {layer.name: layer for layer in self.metadata.layers}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in the order of their outputs."""
        return tuple(self._layers)

    @property
    def steps(self) -> tuple[int, ...]:
        """Inner steps with moments against step 0; the last is the phase "post"."""
        return self.metadata.steps

    @property
    def tasks(self) -> int:
        """How many tasks there are; their places are 0 … tasks−1."""
        return self.metadata.n_tasks

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the parameters before adaptation."""
        return self.metadata.fingerprint

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the store's file, the `source` of the numbers computed from it."""
        return sha256_of(self.path)

    @cached_property
    def task_indices(self) -> tuple[int, ...]:
        """Index of each task in its sampler."""
        return tuple(int(index) for index in self._values("tasks/task"))

    def layer(self, name: str) -> LayerInfo:
        """Return what is known of a layer.

        Raises:
            MetaprobeError: there is no such layer.
        """
        if name not in self._layers:
            raise unknown_name("layer", name, self._layers)
        return self._layers[name]

    def moments(self, layer: str, step: int, task: int) -> JointMoments:
        """Return the joint moments of a layer before (x) and after `step` inner steps (y) on the task in one place.

        Raises:
            MetaprobeError: no such layer, step or task.
            UnreadableInput: the numbers are damaged.
        """
        features, place = self.layer(layer).features, self._step_place(step)
        if not 0 <= task < self.tasks:
            raise MetaprobeError(f"{self._name}: task {task} does not exist; there are {self.tasks}, from 0")
        group, at = moment_group(layer), (task, place)
        with self._reading():
            return JointMoments(
                n=int(self._values(f"{group}/n", at)),
                split=features,
                mean=self._values(f"{group}/mean", at),
                scatter=self._values(f"{group}/scatter", at),
                cubic=self._values(f"{group}/cubic", at),
                quartic=self._values(f"{group}/quartic", at),
                largest=self._values(f"{group}/largest", at),
                eps=(self.layer(layer).eps, self.layer(layer).eps),
            )

    def pooled(self, layer: str, step: int) -> JointMoments:
        """Return the joint moments of a layer over all tasks (errors as `moments`)."""
        return pool(self.moments(layer, step, task) for task in range(self.tasks))

    def sketch(self, layer: str, step: int) -> Sketch:
        """Return a layer's sketch at a step, 0 being before adaptation (errors as `moments`)."""
        self.layer(layer)
        group, phase = sketch_group(layer), self._phase(step)
        names = ("task", "sample", "position", "id", "label")
        return Sketch(self._values(f"{group}/{phase}"), *(self._values(f"{group}/{name}") for name in names))

    def activations(self, layer: str, step: int, task: int) -> Float[np.ndarray, "sample ..."]:
        """Return one task's whole activations of a layer at a step, as the layer gave them.

        Raises:
            MetaprobeError: as `moments`; the store was captured without raw activations.
        """
        if self.metadata.raw is None:
            raise MetaprobeError(f"{self._name}: holds no whole activations; capture again with raw=True (--raw)")
        self.layer(layer)
        if self.metadata.raw.zstd:
            zstd_filter()  # HDF5 reads it once this is imported
        return self._values(f"{activation_group(self._phase(step))}/{moment_group(layer).partition('/')[2]}", task)

    def _step_place(self, step: int) -> int:
        if step not in self.steps:
            known = ", ".join(map(str, self.steps))
            raise MetaprobeError(f"{self._name}: no moments at inner step {step}; captured: {known}")
        return self.steps.index(step)

    def _phase(self, step: int) -> str:
        return "pre" if step == 0 else self.metadata.phases[1 + self._step_place(step)]

    def _values(self, path: str, at: int | tuple[int, ...] | None = None) -> np.ndarray:
        with self._reading():
            dataset = self._datasets.get(path)
            if dataset is None:
                dataset = self._file[path]
                assert isinstance(dataset, h5py.Dataset)
                self._datasets[path] = dataset  # h5py takes longer to find one than to read a task's part of it
            values = dataset[... if at is None else at]
            if self._checksums is not None:
                part = () if at is None else (at,) if isinstance(at, int) else at
                self._checksums.verify(path, values, part)
            return values

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except CANNOT_READ as error:
            raise UnreadableInput(f"{self._name}: damaged: {visible(str(error), 200)}.") from error
