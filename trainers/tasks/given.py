"""Tasks that are given as arrays, in memory or in a .npz file: of feature vectors, token ids or images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from trainers.errors import MetaprobeError, UnreadableInput
from trainers.formats.npy import Found, read_npz
from trainers.formats.safetensors_header import open_regular
from trainers.formats.text import visible
from trainers.task_kinds import Loss
from trainers.tasks.episodes import Examples, Tasks
from trainers.tasks.imageset import SPLITS
from trainers.tasks.sources import DataRequest

__all__ = ["TaskFile", "load_task_file", "tasks_of_arrays"]

PARTS = ("support_x", "support_y", "query_x", "query_y")
_LARGEST = 2**24  # classes of a task, and tokens, that a label may name


def tasks_of_arrays(
    support_x: Any,
    support_y: Any,
    query_x: Any,
    query_y: Any,
    *,
    indices: Sequence[int] | None = None,
    group: str = "given",
    device: torch.device | str = "cpu",
) -> Tasks:
    """Return tasks from arrays or tensors, each with a leading task axis.

    Args:
        support_x: (task, sample, …), what the network takes: floating numbers, token ids, or bytes of pixels, which
            become numbers from 0 to 1.
        support_y: whole numbers (task, sample), classes from 0 on; or floating (task, sample, output), or (task,
            sample) for one output, to be regressed.
        query_x: as `support_x`, of other samples.
        query_y: of the same.
        indices: names of the tasks (default: 0, 1 …).
        group: what the tasks are called in tables.
        device: where they are wanted.

    Raises:
        MetaprobeError: the arrays do not belong together, or hold NaN or infinite entries.
    """
    given = dict(zip(PARTS, (support_x, support_y, query_x, query_y), strict=True))
    parts = {name: _tensor(name, value, device) for name, value in given.items()}
    tasks = len(parts["support_x"])
    for name, other, axes in (("support_y", "support_x", 2), ("query_y", "query_x", 2), ("query_x", "support_x", 1)):
        if parts[name].shape[:axes] != parts[other].shape[:axes]:
            told = f"{name} has shape {tuple(parts[name].shape)} and {other} {tuple(parts[other].shape)}"
            raise MetaprobeError(f"{told}; their first {axes} axes must agree: task{', sample' * (axes == 2)}")
    x, y = [(parts[f"support_{part}"], parts[f"query_{part}"]) for part in "xy"]
    for name, (one, other) in (("x", x), ("y", y)):
        if one.shape[2:] != other.shape[2:] or one.dtype != other.dtype:
            told = f"{one.dtype} {tuple(one.shape)} and {other.dtype} {tuple(other.shape)}"
            raise MetaprobeError(f"support_{name} and query_{name} are {told}; samples must be of one kind and shape")
    regression = y[0].is_floating_point()
    if not regression and y[0].ndim != 2:
        told = f"support_y holds whole numbers of shape {tuple(y[0].shape)}, expected classes (task, sample)"
        raise MetaprobeError(f"{told}; targets of a regression are floating")
    if not regression and int(min(part.min() for part in y)) < 0:
        raise MetaprobeError("support_y and query_y must count classes from 0 on; got a negative one")
    ways = 1 if regression else 1 + int(max(part.max() for part in y))
    if ways > _LARGEST:
        raise MetaprobeError(f"support_y and query_y name class {ways - 1:,}; classes are counted from 0 in each task")
    names = tuple(range(tasks)) if indices is None else tuple(indices)
    samples = x[0].shape[1] + x[1].shape[1]
    ids = torch.tensor(names).unsqueeze(1) * samples + torch.arange(samples)
    cut = x[0].shape[1]
    return Tasks(
        Examples(x[0], y[0], ids[:, :cut]),
        Examples(x[1], y[1], ids[:, cut:]),
        torch.arange(ways).expand(tasks, -1).contiguous(),
        names,
        (group,) * tasks,
    )


def _tensor(name: str, value: Any, device: torch.device | str) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    of_labels = name.endswith("_y")
    if tensor.is_complex() or tensor.dtype == torch.bool or tensor.ndim < (2 if of_labels else 3) or 0 in tensor.shape:
        expected = "(task, sample) or (task, sample, output)" if of_labels else "(task, sample, …)"
        raise MetaprobeError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}; expected numbers {expected}")
    if tensor.dtype == torch.uint8 and not of_labels and tensor.ndim == 5:
        tensor = tensor.float() / 255
    if not tensor.is_floating_point():
        return tensor.long().to(device)
    if not bool(tensor.isfinite().all()):
        task = int((~tensor.isfinite()).flatten(1).any(dim=1).nonzero()[0])
        raise MetaprobeError(f"{name} holds NaN or infinite entries, the first in task {task}")
    return (tensor.unsqueeze(-1) if of_labels and tensor.ndim == 2 else tensor).to(device)


class TaskFile:
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
            self.tasks = tasks_of_arrays(**arrays, group=self.name)
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

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the tasks and their splits."""
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
