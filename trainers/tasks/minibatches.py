"""Minibatches of ordinary classification, drawn and carried like tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import torch

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.episodes import EpisodeSampler, Examples, Tasks
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["MinibatchSampler"]


class MinibatchSampler(EpisodeSampler):
    """Draws minibatches from the train split: a "task" of many classes, whose support and query sets belong together.

    Labels count the classes of the whole split, in the order of `imageset.classes_of("train")`, and not the ways of the
    task. Each minibatch has as many different classes as there are pairs of images in it, or all there are with more
    images each; they come from all domains of a mixture at once, every class equally likely.

    Args:
        imageset: where the images come from.
        size: images in a minibatch; it is a little smaller where classes do not divide it or run out of images.
        seed: names the sequence of minibatches.
        device: where they are wanted.
        dtype: floating type of the images.

    Raises:
        MetaprobeError: fewer than two classes, or one with a single image.
    """

    def __init__(
        self,
        imageset: ImageSet,
        size: int,
        seed: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        classes = imageset.classes_of("train")
        fewest = min((len(imageset.images_of(int(class_id))) for class_id in classes), default=0)
        if len(classes) < 2 or fewest < 2:
            raise MetaprobeError(
                f"minibatches need at least 2 classes with 2 images each; the train split of {imageset.name} has "
                f"{len(classes)} classes, the smallest with {fewest} image(s)"
            )
        ways = min(max(2, size // 2), len(classes))
        each = min(max(2, size // ways), fewest)
        together = dataclasses.replace(imageset, domains=())
        super().__init__(together, "train", ways, 1, each - 1, seed, device, dtype)
        self._rows = torch.zeros(len(imageset.class_names), dtype=torch.int64)
        self._rows[torch.from_numpy(classes)] = torch.arange(len(classes))

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the minibatches with these indices."""
        tasks = super().batch(indices)
        rows = self._rows[tasks.class_ids].to(tasks.support.labels.device)

        def labelled(examples: Examples) -> Examples:
            return dataclasses.replace(examples, labels=rows.gather(1, examples.labels))

        return dataclasses.replace(tasks, support=labelled(tasks.support), query=labelled(tasks.query))
