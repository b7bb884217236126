"""The conventions of published code, one word each: what `--like` chooses. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from metaprobe.trainers.errors import MetaprobeError, flag_of

if TYPE_CHECKING:
    from metaprobe.trainers.config import Activation, TrainConfig

__all__ = ["FAMILIES", "Family", "Like", "in_family", "network_options"]

Like = Literal["finn2017", "arnold2021", "antoniou2019"]

_LARGE = 84  # pixels of mini-ImageNet, whose networks all families have apart


@dataclass(frozen=True)
class Family:
    """What one line of published code does otherwise than another.

    Attributes:
        code: whose it is.
        adapt_norm: whether the inner loop moves the norms' affine parameters.
        network: (channels of the images, their pixels) → fields of `NetworkConfig`.
        lacks: what of it no option here expresses, in words.
        activation: what follows its norms, where that is not ReLU.
    """

    code: str
    adapt_norm: bool
    network: Callable[[int, int], Mapping[str, Any]]
    lacks: tuple[str, ...]
    activation: Activation | None = None


def _finn2017(channels: int, size: int) -> dict[str, Any]:
    """Return cbfinn/maml's network (its utils.py and maml.py); batch norm is that of tf.contrib.layers 1.15."""
    head = {"head_input": "flatten", "head_start": "glorot"}
    if size < _LARGE:
        head = {"head_input": "mean", "head_start": "normal"}
    return _as_drawn(channels) | {"norm_affine": "shift", "norm_epsilon": 1e-3} | head


def _arnold2021(channels: int, size: int) -> dict[str, Any]:
    """Return Sha-Lab/kfo's and learn2learn's networks (cnn4.py)."""
    norm = {"norm_affine": "both", "norm_epsilon": 1e-5, "norm_scale_start": "uniform"}
    if size >= _LARGE:
        large = {"downsample": "max-pool", "filters": 64, "head_input": "flatten", "head_start": "glorot"}
        return large | norm
    small = {"filters": 32, "head_input": "mean"}
    grey = {"downsample": "stride", "head_start": "normal"}
    rgb = {"downsample": "none", "head_start": "glorot"}
    return small | norm | (grey if channels == 1 else rgb)


def _antoniou2019(channels: int, size: int) -> dict[str, Any]:
    """Return HowToTrainYourMAMLPytorch's network (meta_neural_network_architectures.py)."""
    body = {"downsample": "max-pool", "filters": 64 if channels == 1 else 48}
    return body | {"norm_affine": "both", "norm_epsilon": 1e-5, "head_input": "flatten", "head_start": "glorot"}


def _as_drawn(channels: int) -> dict[str, Any]:
    """Return Finn et al. (2017): on grey images 64 filters that stride, on RGB ones 32 and max-pools."""
    grey = channels == 1
    return {"filters": 64 if grey else 32, "downsample": "stride" if grey else "max-pool"}


def _of_none(channels: int, size: int) -> dict[str, Any]:
    """Return what a run has that names no family."""
    head = {"head_start": "glorot", "head_input": None}  # None: as `downsample` has it
    return _as_drawn(channels) | {"norm_affine": "both", "norm_epsilon": 1e-5} | head


FAMILIES: dict[Like, Family] = {
    "finn2017": Family(
        "cbfinn/maml and what was made of it (raghu2020, zhou2021)",
        False,
        _finn2017,
        ("inner rates are as printed times n_way, which is never done by itself", "200,000 tasks drawn once"),
    ),
    "arnold2021": Family(
        "Sha-Lab/kfo and learn2learn",
        True,
        _arnold2021,
        ("the larger max-pools of networks of fewer than four blocks at 84 pixels",),
    ),
    "antoniou2019": Family(
        "AntreasAntoniou/HowToTrainYourMAMLPytorch",
        False,
        _antoniou2019,
        ("images of mini-ImageNet less ImageNet's mean, over its deviation",),
        "leaky-relu",
    ),
}
"""Each family's code, as far as options here express it. Its convolutions have a bias, which the norm removes."""


def in_family(config: TrainConfig, told: Callable[[str], bool]) -> TrainConfig:
    """Return a run's config with what its family, if it names one, decides of the inner loop, and its activation.

    These are said in the config: what runs of earlier versions, which do not say them, were trained with stays so.

    Args:
        config: the run; options of its network that are told there win over the family's, see `network_options`.
        told: whether a field was asked for, and so wins too.
    """
    if config.like is None:
        return config
    family = FAMILIES[config.like]
    own = {"adapt_norm": family.adapt_norm, "activation": config.activation or family.activation}
    return dataclasses.replace(config, **{name: value for name, value in own.items() if not told(name)})


def network_options(config: TrainConfig, channels: int, size: int, name: str = "conv4") -> dict[str, Any]:
    """Return the fields of `NetworkConfig` that a run's config decides: what it tells, else its family's.

    Raises:
        MetaprobeError: the network is an "mlp", and an option is of images or norms.
    """
    if name == "mlp":
        return _mlp_options(config)
    own = dict((_of_none if config.like is None else FAMILIES[config.like].network)(channels, size))
    names = ("filters", "blocks", "downsample", "norm_affine", "norm_epsilon")
    names += ("head_start", "head_input", "linnet")
    own["activation"] = config.activation or "relu"  # of a family it is said in the config, see `in_family`
    if config.blocks == 0:  # the head reads the pixels
        own |= {"downsample": "none", "head_input": None}
    return {**own, **{name: told for name in names if (told := getattr(config, name)) is not None}}


def _mlp_options(config: TrainConfig) -> dict[str, Any]:
    """Return Finn et al. (2017, section 5.1): two hidden layers of 40 units."""
    lacking = ("like", "norm_affine", "norm_epsilon", "activation", "head_input", "downsample", "image_size", "colour")
    told = [name for name in lacking if getattr(config, name) is not None]
    told += ["norm"] * (config.norm != "transductive")
    if told:
        raise MetaprobeError(f"{flag_of(told[0])} is of convolutions, and {config.data} trains an mlp; leave it out")
    own = {"filters": config.filters or 40, "blocks": 2 if config.blocks is None else config.blocks}
    return own | {"head_start": config.head_start or "glorot", "downsample": "none", "linnet": config.linnet}
