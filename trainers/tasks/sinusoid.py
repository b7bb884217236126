"""Regression of sine waves, the first experiment of MAML."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.task_kinds import Loss
from metaprobe.trainers.tasks.data import TaskSet
from metaprobe.trainers.tasks.imageset import SPLITS
from metaprobe.trainers.tasks.sources import DataRequest

if TYPE_CHECKING:
    import torch

    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["Sinusoid", "load_sinusoid"]

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUTS = (-5.0, 5.0)


class Sinusoid(TaskSet):
    """y = A sin(x − φ): A from U[0.1, 5], φ from U[0, π] a task, x from U[−5, 5] (Finn et al. 2017, section 5.1).

    The splits are of tasks: no two have a task in common but by chance. Settings are the paper's, K = 10.
    """

    name = "sinusoid"
    loss: Loss = "mse"
    input_shape = (1,)
    settings: Mapping[str, Any] = {
        "n_way": 1, "n_shot": 10, "n_query": 10, "inner_lr": 0.01, "inner_steps": 1, "meta_batch": 25
    }  # fmt: skip
    fixed = ("n_way",)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the task distribution."""
        return hashlib.sha256(f"sinusoid 1 {AMPLITUDE} {PHASE} {INPUTS}".encode()).hexdigest()

    def sampler(
        self, split: str, n_way: int, n_shot: int, n_query: int, seed: int, device: torch.device | str = "cpu"
    ) -> _Waves:
        """Return the tasks of a split.

        Raises:
            MetaprobeError: `n_way`, the numbers to be told, is not 1.
        """
        if n_way != 1:
            raise MetaprobeError(f"a sinusoid has one number to tell, so n_way is 1; got {n_way}")
        return _Waves(SPLITS.index(split), n_shot, n_query, seed, device)


class _Waves:
    n_way = 1

    def __init__(self, split: int, n_shot: int, n_query: int, seed: int, device: torch.device | str) -> None:
        self.n_shot, self.n_query, self._identity, self._device = n_shot, n_query, (seed, split), device

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the tasks with these indices."""
        from metaprobe.trainers.tasks.given import tasks_of_arrays

        chosen, samples = tuple(indices), self.n_shot + self.n_query
        x, y = (np.empty((len(chosen), samples, 1)) for _ in range(2))
        seed, split = self._identity
        for place, index in enumerate(chosen):
            generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split, index)))
            amplitude, phase = generator.uniform(*AMPLITUDE), generator.uniform(*PHASE)
            x[place, :, 0] = generator.uniform(*INPUTS, size=samples)
            y[place] = amplitude * np.sin(x[place] - phase)
        parts = [part.astype(np.float32) for part in (x[:, : self.n_shot], y[:, : self.n_shot])]
        parts += [part.astype(np.float32) for part in (x[:, self.n_shot :], y[:, self.n_shot :])]
        return tasks_of_arrays(*parts, indices=chosen, group="sinusoid", device=self._device)


def load_sinusoid(request: DataRequest) -> Sinusoid:
    """Return the sinusoid tasks."""
    return Sinusoid()
