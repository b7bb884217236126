"""From weights of elsewhere to a checkpoint: the network they fit, how it adapts, and what it began with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from torch import Tensor

from probe.importing.matching import Fit, fit_to
from probe.importing.reading import Weights, read_weights
from probe.importing.recognising import Recognised, recognised
from probe.importing.telling import fit_facts, module_facts
from trainers.algorithms import ALGORITHMS
from trainers.checkpoint import Checkpoint
from trainers.config import Adaptation, Colour, NetworkConfig, TrainConfig, from_mapping
from trainers.errors import MetaprobeError, UnreadableInput, unknown_name
from trainers.formats.checkpoint_format import UNTRAINED
from trainers.formats.cluster_format import CLUSTERS
from trainers.formats.text import visible
from trainers.network_config import ModuleConfig, ModuleNorm
from trainers.networks import ModuleNetwork, build_network
from trainers.networks.filling import shapes_of
from trainers.networks.named import build_named
from trainers.provenance import provenance

__all__ = ["UNNAMED", "Imported", "Wanted", "import_weights"]

UNNAMED = "imported"
"""The algorithm of weights of which nobody said what trained them, and that adapt neither all layers nor the head."""

_OWN_OPTIONS = ("filters", "blocks", "downsample", "norm_affine", "norm_epsilon", "activation")
_OWN_OPTIONS += ("head_start", "head_input")
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


@dataclass(frozen=True)
class Imported:
    """A checkpoint, and what was done to make it, as (what, value)."""

    checkpoint: Checkpoint
    facts: tuple[tuple[str, str], ...]


def import_weights(path: Path | str, wanted: Wanted) -> Imported:
    """Make a checkpoint of a file of weights.

    Raises:
        UnreadableInput: the file cannot be read, or is a checkpoint already.
        MetaprobeError: the network is not known or not built, or the weights do not fit it; one sentence says which.
    """
    weights = _foreign(path, wanted.key)
    start = None if wanted.start is None else _foreign(wanted.start, wanted.key)
    if wanted.network in (None, "conv4"):
        return _as_conv4(weights, start, wanted)
    built = build_named(wanted.network, wanted.args, wanted.n_way, wanted.channels, wanted.image_size, wanted.seed)
    network = ModuleNetwork(built, wanted.norm, wanted.channels, wanted.image_size, wanted.network)
    if network.seen.ways != wanted.n_way:
        told = f"{wanted.network} gives logits of {network.seen.ways} classes, --n-way is {wanted.n_way}"
        raise MetaprobeError(f"{told}; give it as many, such as --network-args num_classes={wanted.n_way}")
    head = network.layer_names[-1]
    fit = fit_to(network.inner, weights.tensors, head, weights.name, wanted.new_head)
    begun = fit_to(network.inner, start.tensors, head, start.name).tensors if start else _drawn(network)
    names = [tuple(part) for part in shapes_of(network)]
    shape = ModuleConfig(
        wanted.network, wanted.n_way, wanted.channels, wanted.image_size, wanted.norm, network.layer_names,
        *names, args=json.dumps(dict(wanted.args), sort_keys=True),
    )  # fmt: skip
    facts = [*fit_facts(fit), *module_facts(network)]
    return _made(weights, start, wanted, shape, network.layer_names, fit.tensors, begun, facts)


def _foreign(path: Path | str, key: str | None) -> Weights:
    """Read weights that are no checkpoint of ours, and have no name that one of ours gives a meaning to."""
    weights = read_weights(path, key)
    if "metaprobe checkpoint" in weights.facts[0][1]:
        raise UnreadableInput(f"{path}: it is a checkpoint of metaprobe already; every command takes it as it is")
    for name in weights.tensors:
        if name.startswith((CLUSTERS, UNTRAINED)):
            first = visible(name.partition(".")[0], 40)
            raise MetaprobeError(f"{path}: a layer called {first!r} cannot be, the name is taken; rename it")
    return weights


def _as_conv4(weights: Weights, start: Weights | None, wanted: Wanted) -> Imported:
    if wanted.norm == "running":
        raise MetaprobeError(
            "--norm running: conv4 keeps no running statistics; name the network's own code instead "
            "(--network package.module:factory)"
        )
    if unknown := [name for name in wanted.args if name not in _OWN_OPTIONS]:
        raise unknown_name("argument of conv4", unknown[0], _OWN_OPTIONS)
    found = recognised(weights.tensors, wanted.channels, wanted.image_size)
    if found is None:
        names = ", ".join(visible(name, 40) for name in list(weights.tensors)[:4])
        raise MetaprobeError(
            f"{weights.name}: no conv4 that is known has such weights ({names} …); name the network with --network "
            "(resnet12, torchvision:NAME, timm:NAME, or package.module:factory for code of yours)"
        )
    shape = from_mapping(
        NetworkConfig,
        {
            "name": "conv4",
            "n_way": wanted.n_way,
            "channels": wanted.channels,
            "image_size": wanted.image_size,
            "norm": wanted.norm,
            **found.options,
            **wanted.args,
        },
        "--network-args",
    )
    network = build_network(shape, wanted.seed)
    fit = _own_fit(network, found, weights, wanted.new_head)
    begun = None
    if start is not None:
        again = recognised(start.tensors, wanted.channels, wanted.image_size)
        if again is None or again.told != found.told:
            told = again.told if again else "nobody's that is known"
            raise MetaprobeError(f"{start.name}: these are weights of {told}, the trained ones of {found.told}")
        begun = _own_fit(network, again, start, False).tensors
    facts = [("network", f"{found.told}, as {shape.told}, head reads {shape.reads}"), *fit_facts(fit)]
    return _made(weights, start, wanted, shape, network.layer_names, fit.tensors, begun, facts)


def _own_fit(network: Any, found: Recognised, weights: Weights, new_head: bool) -> Fit:
    fit = fit_to(network, found.tensors, network.layer_names[-1], weights.name, new_head)
    return dataclasses.replace(fit, prefix="", left=found.left)


def _drawn(network: ModuleNetwork) -> dict[str, Tensor]:
    weights = dict(network.named_parameters()) | dict(network.named_buffers())
    return {name: weights[name].detach().clone() for part in shapes_of(network) for name in part}


def _made(
    weights: Weights,
    start: Weights | None,
    wanted: Wanted,
    shape: NetworkConfig | ModuleConfig,
    layers: tuple[str, ...],
    tensors: Mapping[str, Tensor],
    begun: Mapping[str, Tensor] | None,
    facts: list[tuple[str, str]],
) -> Imported:
    config = _config(wanted, shape)
    adaptation = _adaptation(wanted, config, layers)
    origin = {"imported": weights.name, "imported_sha256": weights.sha256}
    origin["began"] = f"{start.name} {start.sha256[:12]}" if start else f"drawn when imported, seed {wanted.seed}"
    checkpoint = Checkpoint(
        params={name: value for name, value in tensors.items() if name not in _constants(shape)},
        config=config,
        network_config=shape,
        adaptation=adaptation,
        iteration=1,
        provenance=provenance("", wanted.seed, "cpu") | origin,
        constants={name: tensors[name] for name in _constants(shape)},
        begun=begun,
    )
    told = (
        *weights.facts,
        *facts,
        ("adapts", f"{', '.join(adaptation.layers)}: {adaptation.steps} steps of {adaptation.inner_lr:g}"),
        ("taken for", f"{config.algorithm}, {config.n_way}-way {config.n_shot}-shot"),
        ("before training", origin["began"]),
        ("data", config.data or "not told; give --data to what needs it"),
    )
    return Imported(checkpoint, told)


def _constants(shape: NetworkConfig | ModuleConfig) -> tuple[str, ...]:
    return shape.constants if isinstance(shape, ModuleConfig) else ()


def _config(wanted: Wanted, shape: NetworkConfig | ModuleConfig) -> TrainConfig:
    adapts = wanted.adapts or "all"
    own: dict[str, Any] = {}
    if isinstance(shape, NetworkConfig):
        own = {name: getattr(shape, name) for name in _OWN_OPTIONS} | {"head_input": shape.reads}
    return TrainConfig(
        algorithm=wanted.algorithm or _BY_ADAPTED.get(adapts, UNNAMED),
        data=wanted.data,
        n_way=wanted.n_way,
        n_shot=wanted.n_shot,
        seed=wanted.seed,
        iterations=1,  # how many there were nobody knows; a run has at least one
        inner_lr=wanted.inner_lr,
        inner_steps=wanted.inner_steps,
        adapt_norm=wanted.adapt_norm,
        norm=wanted.norm,
        image_size=wanted.image_size,
        colour=_COLOURS.get(wanted.channels),
        **own,
    )


def _adaptation(wanted: Wanted, config: TrainConfig, layers: tuple[str, ...]) -> Adaptation:
    made_by = ALGORITHMS.get(config.algorithm)
    if made_by is not None and (made_by.cluster or made_by.new_head):
        raise MetaprobeError(f"--algorithm {config.algorithm} needs more than weights; import them as maml or anil")
    if made_by is None and config.algorithm != UNNAMED:
        raise unknown_name("algorithm", config.algorithm, [*ALGORITHMS, UNNAMED])
    usual = None if made_by is None else made_by.adaptation(config, layers)
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
