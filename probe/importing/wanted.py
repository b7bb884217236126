"""What an import is told beside the weights, and the config and adaptation that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from metaprobe.probe.importing.step_parts import StepParts
from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.config import Adaptation, Colour, NetworkConfig, TrainConfig
from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.network_config import ModuleConfig, ModuleNorm
from metaprobe.trainers.update_rules import rule_named

__all__ = ["OWN_OPTIONS", "UNNAMED", "Wanted", "adaptation_of", "config_of"]

UNNAMED = "imported"
"""The algorithm of weights of which nobody said what trained them, and that adapt neither all layers nor the head."""

OWN_OPTIONS = (
    "filters",
    "blocks",
    "downsample",
    "norm_affine",
    "norm_epsilon",
    "activation",
    "head_start",
    "head_input",
)
"""Fields of `NetworkConfig` that an import may be told."""

_COLOURS: dict[int, Colour] = {1: "grey", 3: "rgb"}
_BY_ADAPTED = {"all": "maml", "head": "anil"}


@dataclass(frozen=True)
class Wanted:
    """What an import is told beside the weights.

    Attributes:
        network: its name, see `trainers.networks.named`; None or "conv4" for one that is known by its weights.
        args: of its factory; of conv4 fields of `NetworkConfig`.
        n_way, n_shot, channels, image_size, inner_lr, inner_steps, adapt_norm, norm: how it was trained.
        adapts: "all", "head", or names and globs of layers joined by commas; None: as `algorithm` has it, else all.
        algorithm: that trained it (default: maml where all layers adapt, anil where the head does).
        data: that it was trained on, "" where that is said later.
        seed: of the weights that are drawn.
        key: where in the file the weights are.
        new_head: whether the head is drawn.
        start: a file of the weights before training; None: they are drawn.
    """

    n_way: int
    channels: int
    image_size: int
    network: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    n_shot: int = 1
    inner_lr: float = TrainConfig.inner_lr
    inner_steps: int = TrainConfig.inner_steps
    adapts: str | None = None
    adapt_norm: bool = True
    norm: ModuleNorm = "transductive"
    algorithm: str | None = None
    data: str = ""
    seed: int = 0
    key: str | None = None
    new_head: bool = False
    start: Path | None = None


def config_of(wanted: Wanted, shape: NetworkConfig | ModuleConfig, parts: StepParts | None = None) -> TrainConfig:
    """Return the config of a run that would have trained it, as far as it was told; the rest are defaults."""
    adapts = wanted.adapts or "all"
    own: dict[str, Any] = {"adapt_norm": wanted.adapt_norm}
    if isinstance(shape, NetworkConfig):
        own |= {name: getattr(shape, name) for name in OWN_OPTIONS} | {"head_input": shape.reads}
    if parts:
        own |= {"adapt_norm": False, "step_norms": parts.norms, "update_rule": "lslr" if parts.rates else None}
    return TrainConfig(
        algorithm=wanted.algorithm or _BY_ADAPTED.get(adapts, UNNAMED),
        data=wanted.data,
        n_way=wanted.n_way,
        n_shot=wanted.n_shot,
        seed=wanted.seed,
        iterations=1,  # how many there were nobody knows; a run has at least one
        inner_lr=wanted.inner_lr,
        inner_steps=wanted.inner_steps,
        norm=wanted.norm,
        image_size=wanted.image_size,
        colour=_COLOURS.get(wanted.channels),
        **own,
    )


def adaptation_of(wanted: Wanted, config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    """Return how it adapts.

    Raises:
        MetaprobeError: the algorithm is unknown or needs more than weights, or does not adapt what was asked for.
    """
    made_by = ALGORITHMS.get(config.algorithm)
    if made_by is not None and (made_by.cluster or made_by.new_head):
        raise MetaprobeError(f"--algorithm {config.algorithm} needs more than weights; import them as maml or anil")
    if made_by is None and config.algorithm != UNNAMED:
        raise unknown_name("algorithm", config.algorithm, [*ALGORITHMS, UNNAMED])
    usual = None if made_by is None else made_by.adaptation(config, layers)
    if usual is not None and (usual.modulation or usual.prox_lambda or rule_named(usual.rule).memory):
        told = "needs more than weights, or adapts by settings that an import is not told"
        raise MetaprobeError(f"--algorithm {config.algorithm} {told}; import them as maml")
    if wanted.adapts is None and usual is not None:
        return usual
    chosen = _layers(wanted.adapts or "all", layers)
    if usual is not None and usual.layers != chosen:
        told = f"{config.algorithm} adapts {', '.join(usual.layers)}, --adapts says {', '.join(chosen)}"
        raise MetaprobeError(f"{told}; leave one out, or say --algorithm {UNNAMED}")
    return usual or Adaptation(chosen, wanted.inner_lr, wanted.inner_steps, adapt_norm=wanted.adapt_norm)


def _layers(adapts: str, layers: tuple[str, ...]) -> tuple[str, ...]:
    if adapts in ("all", "head"):
        return layers if adapts == "all" else layers[-1:]
    chosen: set[str] = set()
    for pattern in (word.strip() for word in adapts.split(",") if word.strip()):
        found = {name for name in layers if fnmatchcase(name, pattern)}
        if not found:
            raise unknown_name("layer", pattern, layers)
        chosen |= found
    return tuple(name for name in layers if name in chosen)
