"""Tasks of a .npz file: of feature vectors, token ids or images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.npy import Found, read_npz
from metaprobe.trainers.formats.safetensors_header import open_regular
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.task_kinds import Loss
from metaprobe.trainers.tasks.data import TaskSet
from metaprobe.trainers.tasks.episodes import Examples, Tasks
from metaprobe.trainers.tasks.given import PARTS, tasks_of_arrays
from metaprobe.trainers.tasks.imageset import SPLITS
from metaprobe.trainers.tasks.sources import DataRequest

__all__ = ["TaskFile", "load_task_file"]


class TaskFile(TaskSet):
    """Tasks of a .npz file: `support_x`, `support_y`, `query_x`, `query_y`, as `tasks_of_arrays` takes them.

    An array `split` of the words train, val and test, one a task, says where each belongs; without it all are test
    tasks. Test and validation tasks come in the order of the file, training tasks in a new order each time around.

    Args:
        path: the file. What it claims is checked against its size and this machine's memory before it is read.

    Raises:
        UnreadableInput: it is damaged, lacks an array, or its arrays do not fit together.
    """

    def __init__(self, path: Path | str) -> None:
        self.path, shown = Path(path), visible(str(path))
        self.name = f"tasks:{path}"
        arrays = _read(self.path, shown)
        split = arrays.pop("split", None)
        try:
            self.tasks = tasks_of_arrays(*(arrays[name] for name in PARTS), group=self.name)
        except MetaprobeError as error:
            raise UnreadableInput(f"{shown}: {error}") from error
        self._splits = np.full(len(self.tasks), "test") if split is None else split
        if self._splits.shape != (len(self.tasks),) or not set(self._splits.tolist()) <= set(SPLITS):
            raise UnreadableInput(f"{shown}: split must hold one of {', '.join(SPLITS)} for each task, as text")
        support, query = self.tasks.support, self.tasks.query
        self.loss: Loss = "mse" if support.labels.is_floating_point() else "cross-entropy"
        self.input_shape = tuple(support.images.shape[2:])
        self.tokens = not support.images.is_floating_point()
        ways = support.labels.shape[-1] if self.loss == "mse" else self.tasks.class_ids.shape[1]
        shots = (support.labels.shape[1], query.labels.shape[1])
        if self.loss == "cross-entropy":
            sets = (("support", support), ("query", query))
            shots = tuple(_each(part.labels, ways, name, shown) for name, part in sets)
        elif support.labels.ndim > 3:
            raise UnreadableInput(f"{shown}: support_y has more than the axes (task, sample, output)")
        self.settings: Mapping[str, Any] = {"n_way": ways, "n_shot": shots[0], "n_query": shots[1]}
        self.fixed = ("n_way", "n_shot", "n_query")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the tasks and their splits."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256("\n".join(self._splits.tolist()).encode())
        for part in (self.tasks.support, self.tasks.query):
            for tensor in (part.images, part.labels):
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def sampler(
        self, split: str, n_way: int, n_shot: int, n_query: int, seed: int, device: torch.device | str = "cpu"
    ) -> _Given:
        """Return the tasks of a split; the seed orders those of training.

        Raises:
            MetaprobeError: it has none, or they are of other sizes.
        """
        asked = {"n_way": n_way, "n_shot": n_shot, "n_query": n_query}
        for name, value in asked.items():
            if value != self.settings[name]:
                raise MetaprobeError(f"the tasks of {self.name} have {name} {self.settings[name]}; got {value}")
        places = np.flatnonzero(self._splits == split)
        if not len(places):
            told = "add an array `split` with train, val or test for each task" if split != "test" else "mark some so"
            raise MetaprobeError(f"{self.name} has no {split} tasks; {told}")
        return _Given(self, split, places, seed, device)


class _Given:
    def __init__(self, file: TaskFile, split: str, places: np.ndarray, seed: int, device: torch.device | str) -> None:
        self.n_way, self.n_shot, self.n_query = (file.settings[name] for name in ("n_way", "n_shot", "n_query"))
        self._file, self._split, self._places, self._seed, self._device = file, split, places, seed, device

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the tasks with these indices.

        Raises:
            MetaprobeError: the split has fewer test or validation tasks.
        """
        chosen = tuple(indices)
        rows = torch.tensor([self._row(index) for index in chosen])
        tasks = self._file.tasks

        def examples(part: Examples) -> Examples:
            return Examples(part.images[rows].to(self._device), part.labels[rows].to(self._device), part.ids[rows])

        groups = tuple(tasks.groups[row] for row in rows.tolist())
        return Tasks(examples(tasks.support), examples(tasks.query), tasks.class_ids[rows], chosen, groups)

    def _row(self, index: int) -> int:
        count = len(self._places)
        if self._split == "train":
            around, place = divmod(index, count)
            generator = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(around,)))
            return int(self._places[generator.permutation(count)[place]])
        if index >= count:
            option = "--val-tasks" if self._split == "val" else "--tasks"
            told = f"{self._file.name} has {count:,} {self._split} tasks, and more were asked for"
            raise MetaprobeError(f"{told}; give {option} {count} or fewer")
        return int(self._places[index])


def load_task_file(request: DataRequest) -> TaskFile:
    """Return the tasks of the file that a request names (errors as `TaskFile`)."""
    return TaskFile(Path(request.argument).expanduser())


def _each(labels: Tensor, ways: int, name: str, shown: str) -> int:
    """Return how many samples of a class every task has."""
    counts = torch.stack([(labels == way).sum(dim=1) for way in range(ways)])
    if int(counts.min()) != int(counts.max()):
        told = f"{name}_y has from {int(counts.min())} to {int(counts.max())} samples of a class in a task"
        raise UnreadableInput(f"{shown}: {told}; every class of every task, 0 … {ways - 1}, needs equally many")
    return int(counts.max())


def _read(path: Path, shown: str) -> dict[str, np.ndarray]:
    with open_regular(path) as file:
        if not file.read(4).startswith(b"PK"):
            raise UnreadableInput(f"{shown}: expected a .npz file with the arrays {', '.join(PARTS)}.")
        with read_npz(file, path) as found:
            there = {one.name: one for one in found}
            if lacking := [name for name in PARTS if name not in there]:
                told = ", ".join(visible(name, 60) for name in there)
                raise UnreadableInput(f"{shown}: lacks the array {lacking[0]}; it holds {told}.")
            if unknown := sorted(set(there) - {*PARTS, "split"}):
                told = f"holds an array {visible(unknown[0], 60)!r}, which tasks do not have"
                raise UnreadableInput(f"{shown}: {told}; {', '.join(PARTS)} and split are read.")
            need, room = sum(one.nbytes for one in found), psutil.virtual_memory().total // 4
            if need > room:
                told = f"its arrays take {need / 1e9:,.1f} GB, more than a quarter of this machine's memory"
                raise UnreadableInput(f"{shown}: {told}; split it into several files.")
            return {name: _whole(one, shown) for name, one in there.items()}


def _whole(found: Found, shown: str) -> np.ndarray:
    wanted = "U" if found.name == "split" else "fiu"
    if found.kind not in wanted or not found.shape:
        what = "text" if found.name == "split" else "numbers"
        raise UnreadableInput(f"{shown}: {found.name} is {found.dtype} {found.shape}, expected {what}.")
    blocks = list(found.blocks(max(1, found.shape[0])))
    array = np.concatenate(blocks) if blocks else np.empty(found.shape)
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    return array if array.dtype.kind == "U" or array.dtype == np.uint8 else array.astype(np.int64)
