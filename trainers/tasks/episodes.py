"""N-way K-shot episodes: a pure function of (seed, split, index), so there is nothing to save and nothing to replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["EpisodeSampler", "Examples", "Tasks"]

_SPLITS = ("train", "val", "test")
_BLOCK = 64  # tasks drawn together: another number would draw other tasks


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
    """A batch of episodes: support and query sets, the classes behind the labels, and each episode's index.

    `groups`, the ground truth for how tasks cluster, names the domain that each task's classes come from.
    """

    support: Examples
    query: Examples
    class_ids: Int[Tensor, "task way"]
    indices: tuple[int, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, tasks: slice) -> Tasks:
        return Tasks(
            self.support[tasks], self.query[tasks], self.class_ids[tasks], self.indices[tasks], self.groups[tasks]
        )


class EpisodeSampler:
    """Draws N-way K-shot Q-query tasks from one split of an ImageSet (Vinyals et al. 2016).

    Task `index` is the same for the same (seed, split, index), whatever was drawn before. The images stay on the device
    as uint8; drawing a task moves indices only. Consecutive indices are cheapest: tasks are drawn a block of them at a
    time, and the latest block is kept. Threads may share a sampler. Of a mixture, each task draws its domain first, all
    equally likely, and then its classes from there.

    Args:
        imageset: where the images come from.
        split: "train", "val" or "test".
        n_way: classes in a task.
        n_shot: support images of a class.
        n_query: query images of a class.
        seed: together with the split, names the sequence of tasks.
        device: where the tasks are wanted.
        dtype: floating type of the images.
        group: take tasks of this domain alone.
        rotate: turn all images of each class of a task by the same multiple of 90°, all four equally likely (Antoniou
            et al. 2019, Section 4.1); which classes and images a task has stays the same.

    Raises:
        MetaprobeError: a size or the seed is too small, a domain has fewer classes in the split than `n_way`, a class
            fewer images than `n_shot + n_query`, or `group` is no domain.
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
        group: str | None = None,
        rotate: bool = False,
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
        self._groups = imageset.domain_names if group is None else (group,)
        per_group = [_classes_of(imageset, split, name) for name in self._groups]
        for name, classes in zip(self._groups, per_group, strict=True):
            if len(classes) < n_way:
                where = f"{name} (of {imageset.name})" if name != imageset.name else name
                raise MetaprobeError(
                    f"the {split} split of {where} has {len(classes)} classes, fewer than n_way={n_way}; "
                    "lower --n-way or give the split more classes"
                )
        self._classes = np.concatenate(per_group)
        self._counts = np.array([len(classes) for classes in per_group])  # classes of each group
        self._firsts = np.cumsum(self._counts) - self._counts
        members = [imageset.images_of(int(class_id)) for class_id in self._classes]
        self._sizes = np.array([len(images) for images in members])
        self._members, self._starts = np.concatenate(members), np.cumsum(self._sizes) - self._sizes
        needed = n_shot + n_query
        for class_id, size in zip(self._classes, self._sizes, strict=True):
            if size < needed:
                raise MetaprobeError(
                    f"class {imageset.class_names[class_id]!r} ({split} split of {imageset.name}) has {size} "
                    f"images; n_shot={n_shot} + n_query={n_query} needs {needed}; lower one of them"
                )
        self._rotate = rotate
        self._images, self._dtype = torch.from_numpy(imageset.images).to(device), dtype
        # A tensor of the device: CUDA divides by a plain number through its reciprocal, which rounds otherwise.
        self._white = torch.tensor(255, dtype=dtype, device=device)
        ways = torch.arange(n_way, device=device)
        self._labels = [ways.repeat_interleave(samples) for samples in (n_shot, n_query)]
        self._kept: tuple[int, Int64[np.ndarray, "task id"]] | None = None  # the latest block and its number

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the tasks with these indices.

        Samples are ordered by way: the `n_shot` (or `n_query`) images of way 0, then those of way 1, and so on.
        """
        chosen = tuple(indices)
        places = [divmod(index, _BLOCK) for index in chosen]
        blocks = {number: self._block(number) for number in dict.fromkeys(number for number, _ in places)}
        rows = np.concatenate([blocks[number][place] for number, place in places]).reshape(len(chosen), -1)
        sizes = [1, *(self.n_way * samples for samples in (1, 1, self.n_shot, self.n_query))]
        places, turns, class_ids, *sets = torch.from_numpy(rows).split(sizes, dim=1)
        groups = tuple(self._groups[place] for place in places[:, 0].tolist())
        support, query = self._examples(*sets)
        if self._rotate:
            support, query = _turned(support, turns), _turned(query, turns)
        return Tasks(support, query, class_ids.contiguous(), chosen, groups)

    def _block(self, number: int) -> Int64[np.ndarray, "task id"]:
        kept = self._kept  # read once: another thread may be about to replace it
        if kept is None or kept[0] != number:
            self._kept = kept = (number, self._draw(number))
        return kept[1]

    def _draw(self, block: int) -> Int64[np.ndarray, "task id"]:
        """Draw the tasks of a block, one a row: its group, the turns and ids of its classes, support and query sets."""
        # In a list of numbers, a seed of more than 32 bits would run into what follows; before a spawn key 128 do not.
        identity = np.random.SeedSequence(self.seed, spawn_key=(_SPLITS.index(self.split), block))
        generator = np.random.default_rng(identity)
        several = len(self._groups) > 1
        group = generator.integers(len(self._groups), size=_BLOCK) if several else np.zeros(_BLOCK, np.int64)
        ways = (self._firsts[group] + _arrangements(generator, self._counts[group], self.n_way)).T  # task, way
        places = _arrangements(generator, self._sizes[ways], self.n_shot + self.n_query)  # sample, task, way
        images = self._members[self._starts[ways] + places].transpose(1, 2, 0)
        support, query = images[:, :, : self.n_shot], images[:, :, self.n_shot :]
        # the last to be drawn, so that tasks are the same ones but for their turns
        turns = generator.integers(4, size=ways.shape) if self._rotate else np.zeros_like(ways)
        parts = (group, turns, self._classes[ways], support, query)
        return np.concatenate([part.reshape(_BLOCK, -1) for part in parts], axis=1)

    def _examples(
        self, support: Int[Tensor, "task sample"], query: Int[Tensor, "task sample"]
    ) -> tuple[Examples, Examples]:
        """Fetch both sets at once: one transfer, one gather, one conversion."""
        ids = torch.cat([support.flatten(), query.flatten()])
        # From pinned memory, a copy to the GPU does not wait for what the GPU is doing.
        there = ids.pin_memory().to(self._images.device, non_blocking=True) if self._images.is_cuda else ids
        images = self._images.index_select(0, there).to(self._dtype).div_(self._white)
        tasks, end = len(support), support.numel()

        def examples(part: slice, labels: Int[Tensor, " sample"]) -> Examples:
            pixels = images[part].view(tasks, -1, *images.shape[1:])
            return Examples(pixels, labels.expand(tasks, -1), ids[part].view(tasks, -1))

        return examples(slice(end), self._labels[0]), examples(slice(end, None), self._labels[1])


def _turned(examples: Examples, turns: Int[Tensor, "task way"]) -> Examples:
    """Return images turned counter-clockwise by the quarters that their class has."""
    turned = images = examples.images
    quarters = turns.to(images.device).gather(1, examples.labels).view(*images.shape[:2], 1, 1, 1)
    for turn in range(1, 4):
        turned = torch.where(quarters == turn, torch.rot90(images, turn, (-2, -1)), turned)
    return dataclasses.replace(examples, images=turned)


def _classes_of(imageset: ImageSet, split: str, group: str) -> Int64[np.ndarray, " class"]:
    """Return the classes of a split that belong to a domain."""
    if group not in imageset.domain_names:
        raise unknown_name("domain", group, imageset.domain_names)
    classes = imageset.classes_of(split)
    own = [imageset.domains[class_id] == group for class_id in classes] if imageset.domains else slice(None)
    return classes[own]


def _arrangements(
    generator: np.random.Generator, sizes: Int64[np.ndarray, " ..."], count: int
) -> Int64[np.ndarray, "count ..."]:
    """Return, for each of `sizes`, `count` distinct numbers below it; each ordered choice is equally likely.

    The i-th number is drawn as its rank among those that the ones before it left (a Lehmer code); ranks become numbers
    from the last back, each making room for those before it. No memory is taken for what is not chosen.
    """
    left = sizes - np.arange(count).reshape(-1, *[1] * sizes.ndim)
    numbers = generator.integers(left)
    for i in range(count - 2, -1, -1):
        numbers[i + 1 :] += numbers[i + 1 :] >= numbers[i]
    return numbers
