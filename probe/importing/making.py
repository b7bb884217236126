"""From weights of elsewhere to a checkpoint: the network they fit, how it adapts, and what it began with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from metaprobe.probe.importing.matching import Fit, fit_to
from metaprobe.probe.importing.reading import Weights, read_weights
from metaprobe.probe.importing.recognising import Recognised, recognised
from metaprobe.probe.importing.step_parts import StepParts
from metaprobe.probe.importing.telling import fit_facts, module_facts
from metaprobe.probe.importing.wanted import OWN_OPTIONS, UNNAMED, Wanted, adaptation_of, config_of
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.config import NetworkConfig, from_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput, unknown_name
from metaprobe.trainers.formats.cluster_format import CLUSTERS
from metaprobe.trainers.formats.tensor_names import UNTRAINED
from metaprobe.trainers.formats.text import count, visible
from metaprobe.trainers.network_config import ModuleConfig
from metaprobe.trainers.networks import ModuleNetwork, build_network
from metaprobe.trainers.networks.filling import shapes_of
from metaprobe.trainers.networks.named import build_named
from metaprobe.trainers.provenance import provenance

__all__ = ["UNNAMED", "Imported", "Wanted", "import_weights"]


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
    if unknown := [name for name in wanted.args if name not in OWN_OPTIONS]:
        raise unknown_name("argument of conv4", unknown[0], OWN_OPTIONS)
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
    if found.parts:
        found.parts.check(wanted.inner_steps, wanted.adapts)
    return _made(weights, start, wanted, shape, network.layer_names, fit.tensors, begun, facts, found.parts)


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
    parts: StepParts | None = None,
) -> Imported:
    config = config_of(wanted, shape, parts)
    adaptation = adaptation_of(wanted, config, layers)
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
        rule=dict(parts.rule) if parts else {},
    )
    rate = "learned rates" if parts and parts.rates else f"{adaptation.inner_lr:g}"
    told = (
        *weights.facts,
        *facts,
        ("adapts", f"{', '.join(adaptation.layers)}: {count(adaptation.steps, 'step')} of {rate}"),
        *([("norms", parts.norms_told)] if parts else []),
        ("taken for", f"{config.algorithm}, {config.n_way}-way {config.n_shot}-shot"),
        ("before training", origin["began"]),
        ("data", config.data or "not told; give --data to what needs it"),
    )
    return Imported(checkpoint, told)


def _constants(shape: NetworkConfig | ModuleConfig) -> tuple[str, ...]:
    return shape.constants if isinstance(shape, ModuleConfig) else ()
