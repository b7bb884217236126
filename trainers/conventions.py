"""What decides of a run's options where nothing is told: its algorithm, then its family. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from metaprobe.trainers.algorithms import ALGORITHMS, algorithm_named
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.families import FAMILIES, in_family

__all__ = ["completed", "usual_options"]


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


def usual_options(config: TrainConfig) -> dict[str, Any]:
    """Return what each option of a run is where it is not told and all others are: what `completed` would make of it.

    Args:
        config: the run. Of an algorithm that is not installed here, the options' own defaults are all that is known.
            Way and norm of a run with a base are its base's, which is not read here: None, which neither can be.
    """
    usual = {field.name: getattr(TrainConfig, field.name, None) for field in dataclasses.fields(config)}
    usual["val_query"] = config.n_query
    if config.base is not None:
        usual |= {"n_way": None, "norm": None}
    if config.algorithm in ALGORITHMS:
        usual |= ALGORITHMS[config.algorithm].defaults(config)
    if config.schedule != "cosine":
        usual["outer_lr_floor"] = None
    if config.like is not None:
        family = FAMILIES[config.like]
        usual |= {"adapt_norm": family.adapt_norm, "activation": usual["activation"] or family.activation}
    return usual
