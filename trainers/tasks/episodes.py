"""N-way K-shot episodes: a pure function of (seed, split, index), so there is nothing to save and nothing to replay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trainers.errors import MetaprobeError
from trainers.tasks.imageset import ImageSet

__all__ = ["EpisodeSampler", "Examples", "Tasks"]

_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Examples:
    """Labelled images of a batch of tasks.

    `images` lie in [0, 1]; `labels` count the ways of each task from 0; `ids` are rows of the ImageSet.
    """

    images: Float[Tensor, "task sample channel height width"]
    labels: Int[Tensor, "task sample"]
    ids: Int[Tensor, "task sample"]

    def __getitem__(self, tasks: slice) -> Examples:
        return Examples(self.images[tasks], self.labels[tasks], self.ids[tasks])


@dataclass(frozen=True)
class Tasks:
    """A batch of episodes: support and query sets, the classes behind the labels, and each episode's index."""

    support: Examples
    query: Examples
    class_ids: Int[Tensor, "task way"]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, tasks: slice) -> Tasks:
        return Tasks(self.support[tasks], self.query[tasks], self.class_ids[tasks], self.indices[tasks])


class EpisodeSampler:
    """Draws N-way K-shot Q-query tasks from one split of an ImageSet (Vinyals et al. 2016).

    Task `index` is the same for the same (seed, split, index), whatever was drawn before. The images stay on the device
    as uint8; drawing a task moves indices only.

    Args:
        imageset: where the images come from.
        split: "train", "val" or "test".
        n_way: classes in a task.
        n_shot: support images of a class.
        n_query: query images of a class.
        seed: together with the split, names the sequence of tasks.
        device: where the tasks are wanted.
        dtype: floating type of the images.

    Raises:
        MetaprobeError: a size or the seed is too small, the split has fewer classes than `n_way`, or a class fewer
            images than `n_shot + n_query`.
    """

    def __init__(
        self,
        imageset: ImageSet,
        split: str,
        n_way: int,
        n_shot: int,
        n_query: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        for name, value, least in (
            ("n_way", n_way, 1),
            ("n_shot", n_shot, 1),
            ("n_query", n_query, 1),
            ("seed", seed, 0),
        ):
            if value < least:
                raise MetaprobeError(f"tasks need {name} of at least {least}; got {value}")
        self.split, self.n_way, self.n_shot, self.n_query, self.seed = split, n_way, n_shot, n_query, seed
        self._classes = imageset.classes_of(split)
        if len(self._classes) < n_way:
            raise MetaprobeError(
                f"the {split} split of {imageset.name} has {len(self._classes)} classes, fewer than n_way={n_way}; "
                "lower --n-way or give the split more classes"
            )
        self._members = [imageset.images_of(int(class_id)) for class_id in self._classes]
        needed = n_shot + n_query
        for class_id, members in zip(self._classes, self._members, strict=True):
            if len(members) < needed:
                raise MetaprobeError(
                    f"class {imageset.class_names[class_id]!r} ({split} split of {imageset.name}) has {len(members)} "
                    f"images; n_shot={n_shot} + n_query={n_query} needs {needed}; lower one of them"
                )
        self._images = torch.from_numpy(imageset.images).to(device)
        self._dtype = dtype

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the tasks with these indices.

        Samples are ordered by way: the `n_shot` (or `n_query`) images of way 0, then those of way 1, and so on.
        """
        chosen = tuple(indices)
        drawn = [self._draw(index) for index in chosen]
        class_ids = torch.from_numpy(np.stack([classes for classes, _ in drawn]))
        images = np.stack([members for _, members in drawn])  # task, way, shot + query
        support, query = images[:, :, : self.n_shot], images[:, :, self.n_shot :]
        return Tasks(self._examples(support), self._examples(query), class_ids, chosen)

    def _draw(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng([self.seed, _SPLITS.index(self.split), index])
        ways = generator.choice(len(self._classes), self.n_way, replace=False)
        take = self.n_shot + self.n_query
        members = [generator.choice(self._members[way], take, replace=False) for way in ways]
        return self._classes[ways], np.stack(members)

    def _examples(self, members: np.ndarray) -> Examples:
        tasks, ways, samples = members.shape
        ids = torch.from_numpy(members.reshape(tasks, ways * samples))
        device = self._images.device
        images = self._images[ids.to(device)].to(self._dtype).div_(255)
        labels = torch.arange(ways, device=device).repeat_interleave(samples).expand(tasks, -1)
        return Examples(images, labels, ids)
