"""What a run that begins with another's weights takes from it: images, way and network, unless it is told. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metaprobe.trainers.config import NetworkConfig, TrainConfig, from_mapping
from metaprobe.trainers.families import network_options
from metaprobe.trainers.formats.checkpoint_format import read_metadata

__all__ = ["completed_from_base"]

_OPTIONS = ("filters", "blocks", "downsample", "norm_affine", "norm_epsilon", "activation", "head_start", "head_input")


def completed_from_base(config: TrainConfig, told: Callable[[str], bool]) -> TrainConfig:
    """Return a run's config with what its base decides: image size, colour, way, norm and the network's options.

    What the run has anyway stays unsaid in it, so that a run is the same whether its options were told or taken.

    Args:
        config: the run; without a base it is returned as it is.
        told: says of an option with a default of its own ("n_way") whether it was given; it then wins.

    Raises:
        UnreadableInput: the base cannot be read.
    """
    if config.base is None:
        return config
    metadata = read_metadata(Path(config.base))
    network = from_mapping(NetworkConfig, metadata.network, f"{config.base}: network")
    base = from_mapping(TrainConfig, metadata.config, f"{config.base}: config")
    taken: dict[str, Any] = {name: getattr(network, name) for name in ("n_way", "norm") if not told(name)}
    same = base.data == config.data  # the same options make the same images of it
    if config.image_size is None:
        taken["image_size"] = base.image_size if same else network.image_size
    if config.colour is None:
        taken["colour"] = base.colour if same else {1: "grey", 3: "rgb"}.get(network.channels)
    options = network_options(config, network.channels, network.image_size)
    own = dataclasses.replace(network, **options)
    for name in _OPTIONS:
        if getattr(config, name) is None and getattr(own, name) != getattr(network, name):
            taken[name] = network.reads if name == "head_input" else getattr(network, name)
    return dataclasses.replace(config, **taken)
