"""What decides of a run's options where nothing is told: its algorithm, then its family. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from metaprobe.trainers.algorithms import algorithm_named
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.families import in_family

__all__ = ["completed"]


def completed(config: TrainConfig, told: Callable[[str], bool]) -> TrainConfig:
    """Return a run's config with the defaults of its algorithm and its family, as if they had been told.

    So a run's file says all that it was trained with, and MAML++ less a part is that part's option, told otherwise.

    Args:
        config: the run.
        told: whether a field was asked for, and so wins.

    Raises:
        MetaprobeError: there is no such algorithm.
    """
    own = {name: value for name, value in algorithm_named(config.algorithm).defaults(config).items() if not told(name)}
    if own.get("schedule", config.schedule) != "cosine":
        own.pop("outer_lr_floor", None)  # of a rate that does not fall
    return in_family(dataclasses.replace(config, **own), told) if own else in_family(config, told)
