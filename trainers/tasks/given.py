"""Tasks that are given as arrays or tensors: of feature vectors, token ids or images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.episodes import Examples, Tasks

__all__ = ["PARTS", "tasks_of_arrays"]

PARTS = ("support_x", "support_y", "query_x", "query_y")
"""What tasks are made of."""
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
