"""What tasks are drawn from, images or others, and what the rest of the project asks of both."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError, flag_of, unknown_name
from metaprobe.trainers.task_kinds import Loss
from metaprobe.trainers.tasks.imageset import ImageSet

if TYPE_CHECKING:
    import torch

    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = [
    "Data",
    "TaskSampler",
    "TaskSet",
    "check_data",
    "check_shape",
    "fitted",
    "input_shape",
    "loss_of",
    "only_domain",
]
__all__ += ["queries_of", "task_sampler"]


class TaskSampler(Protocol):
    """Draws tasks: a pure function of (seed, split, index)."""

    n_way: int
    n_shot: int
    n_query: int

    def batch(self, indices: Iterable[int]) -> Tasks:
        """Return the tasks with these indices."""
        ...


class TaskSet(ABC):
    """Tasks that are not drawn from labelled images.

    Attributes:
        name: as a checkpoint's config has it.
        loss: of its tasks.
        input_shape: of a sample: (feature,), (token,) or (channel, height, width).
        tokens: whether samples are token ids, which a network must embed.
        settings: of a run, where nothing else is told; of a set whose tasks are given, their sizes.
        fixed: names of those that cannot be told otherwise.
    """

    name: str
    loss: Loss
    input_shape: tuple[int, ...]
    tokens: bool = False
    settings: Mapping[str, Any]
    fixed: tuple[str, ...] = ()

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of what decides a task, 64 hexadecimal digits."""

    @abstractmethod
    def sampler(
        self, split: str, n_way: int, n_shot: int, n_query: int, seed: int, device: torch.device | str
    ) -> TaskSampler:
        """Return the tasks of a split.

        Raises:
            MetaprobeError: there are no such tasks.
        """


Data = ImageSet | TaskSet


def loss_of(data: Data) -> Loss:
    """Return the loss of a data set's tasks."""
    return "cross-entropy" if isinstance(data, ImageSet) else data.loss


def input_shape(data: Data) -> tuple[int, ...]:
    """Return the shape of a sample."""
    return data.images.shape[1:] if isinstance(data, ImageSet) else data.input_shape


def task_sampler(
    data: Data,
    split: str,
    n_way: int,
    n_shot: int,
    n_query: int,
    seed: int,
    device: torch.device | str = "cpu",
    group: str | None = None,
    rotate: bool = False,
) -> TaskSampler:
    """Return the tasks of a split; arguments and errors as `trainers.tasks.episodes.EpisodeSampler`.

    Of a regression, `n_way` is how many numbers are to be told, `n_shot` and `n_query` are samples of a task.
    """
    if isinstance(data, ImageSet):
        from metaprobe.trainers.tasks.episodes import EpisodeSampler

        return EpisodeSampler(data, split, n_way, n_shot, n_query, seed, device, group=group, rotate=rotate)
    if rotate:
        told = f"the tasks of {data.name} are given as they are"
        raise MetaprobeError(f"--rotate-classes turns the images of tasks that are drawn from classes; {told}")
    only_domain(data, group)
    for name, value, least in (("n_shot", n_shot, 1), ("n_query", n_query, 1), ("seed", seed, 0)):
        if value < least:
            raise MetaprobeError(f"tasks need {name} of at least {least}; got {value}")
    return data.sampler(split, n_way, n_shot, n_query, seed, device)


def only_domain(data: TaskSet, group: str | None) -> None:
    """Refuse a domain that such tasks do not have, as a `MetaprobeError`."""
    if group not in (None, data.name):
        raise unknown_name("domain", str(group), [data.name])


def fitted(config: TrainConfig, data: Data, told: Callable[[str], bool]) -> TrainConfig:
    """Return a run's config with what its data decide: the loss, and settings that were not told.

    Args:
        config: the run.
        data: what it names.
        told: whether a field was asked for.

    Raises:
        MetaprobeError: one was asked for that the data have otherwise.
    """
    if isinstance(data, ImageSet):
        return config
    for name in data.fixed:
        if told(name) and getattr(config, name) != data.settings[name]:
            got = f"{flag_of(name)} {getattr(config, name)}"
            raise MetaprobeError(f"the tasks of {data.name} have {name} {data.settings[name]}; got {got}, leave it out")
    chosen = {name: value for name, value in data.settings.items() if not told(name)}
    return dataclasses.replace(config, loss=data.loss, **chosen)


def queries_of(data: Data, asked: int, told: bool) -> int:
    """Return how many queries (of a class) a test has: as asked, but where tasks are given and nothing was told."""
    if isinstance(data, ImageSet) or "n_query" not in data.fixed or told:
        return asked
    return int(data.settings["n_query"])


def check_data(config: TrainConfig, data: Data) -> None:
    """Refuse data of another loss than a run's.

    Raises:
        MetaprobeError: they do not fit.
    """
    if config.loss != loss_of(data):
        raise MetaprobeError(
            f"{data.name} has tasks of loss {loss_of(data)!r}, and this is of {config.loss!r}; choose data of that "
            f"kind, or TrainConfig(loss={loss_of(data)!r})"
        )


def check_shape(data: Data, wanted: tuple[int, ...]) -> None:
    """Refuse data whose samples a checkpoint does not take.

    Args:
        data: where its tasks are to come from.
        wanted: the shape of the samples that it was trained on.

    Raises:
        MetaprobeError: theirs is another; it says what brings them to this one.
    """
    if (there := input_shape(data)) != wanted:
        told = " × ".join(map(str, there)) if len(there) == len(wanted) else _called(there)
        raise MetaprobeError(
            f"the checkpoint was trained on {_called(wanted)}; {data.name} has {told}; choose the set it was trained "
            f"on, or {_conversion(there, wanted)}"
        )


def _conversion(there: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """Return what brings samples to the shape that a network takes."""
    if len(there) != 3 or len(wanted) != 3:
        return "one of the same shape"
    colour = {1: "grey", 3: "rgb"}.get(wanted[0], "(none has so many channels)")
    size = f"--image-size {wanted[1]}" if there[1:] != wanted[1:] else ""
    options = " ".join(filter(None, (size, f"--colour {colour}" if there[0] != wanted[0] else "")))
    return f"bring this one to its shape: {options}"


def _called(shape: tuple[int, ...]) -> str:
    return ("images of " if len(shape) > 1 else "vectors of ") + " × ".join(map(str, shape))
