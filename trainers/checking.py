"""What a checkpoint says of itself, checked before it is believed: sizes by its header, settings against each other."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from metaprobe.trainers.algorithms import ALGORITHMS
from metaprobe.trainers.clustering.file import CLUSTERS
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig, to_mapping
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.families import network_options
from metaprobe.trainers.formats.safetensors_header import Header
from metaprobe.trainers.formats.tensor_names import BESIDE, FCE, MODULATION, UNTRAINED
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import AnyNetwork, ModuleConfig
from metaprobe.trainers.networks import TaskNetwork, build_network, layer_of
from metaprobe.trainers.plain import completed
from metaprobe.trainers.rule_parameters import slots_of

__all__ = ["check_shapes", "contradiction"]

_DTYPES = {torch.float32: "F32", torch.float64: "F64"}


def check_shapes(path: Path | str, header: Header, config: AnyNetwork, adaptation: Adaptation) -> tuple[str, ...]:
    """Return the names of a network's weights in its order, after checking that a file holds just them.

    Nothing is read or made for it but the header: what is claimed may be larger than any memory. Of a module from
    elsewhere the names must fit what the file says of it; that shapes fit is seen when it is built.

    Args:
        path: for errors.
        header: of the file.
        config: of the network.
        adaptation: whose update rule or modulation has parameters in the file.

    Raises:
        UnreadableInput: the network cannot be built, or the file holds others.
    """
    told = {one.name: f"{one.dtype} {one.shape}" for one in header.tensors if not one.name.startswith(CLUSTERS)}
    others = UNTRAINED if isinstance(config, ModuleConfig) else (UNTRAINED, *BESIDE)
    found = {name: kind for name, kind in told.items() if not name.startswith(others)}
    try:
        expected = _described(config, found) if isinstance(config, ModuleConfig) else _shapes(config)
        learned = {} if isinstance(config, ModuleConfig) else _learned(config, adaptation)
    except MetaprobeError as error:
        raise UnreadableInput(f"{path}: its network cannot be built: {error}") from error
    begun = {name.removeprefix(UNTRAINED): kind for name, kind in told.items() if name.startswith(UNTRAINED)}
    if begun and begun != found:
        name = min(set(begun.items()) ^ set(found.items()))[0]
        both = f"{found.get(name, 'not there')}, and before training {begun.get(name, 'not there')}"
        raise UnreadableInput(f"{path}: its untrained weights are not of its network: {visible(name)} is {both}")
    rule = {name: kind for name, kind in told.items() if name not in found and name.startswith(BESIDE)}
    if learned != rule:
        name = min(set(learned.items()) ^ set(rule.items()))[0]
        both = f"{rule.get(name, 'not there')}, expected {learned.get(name, 'no such parameter')}"
        whose = f"update rule {adaptation.rule}"
        if name.startswith(MODULATION):
            whose = f"modulation {adaptation.modulation}" if adaptation.modulation else "learner, without a modulation,"
        if name.startswith(FCE):
            whose = "set of full-context embeddings" if adaptation.fce_steps else "learner, without such embeddings,"
        raise UnreadableInput(f"{path}: its {whose} is incomplete: {visible(name, 80)} is {both}")
    if expected != found:
        name = min(set(expected.items()) ^ set(found.items()), key=lambda item: item[0])[0]
        told, wanted = (those.get(name, "not there") for those in (found, expected))
        raise UnreadableInput(
            f"{path}: the weights do not fit network {config.name!r}: {visible(name)} is {told}, expected {wanted}"
        )
    return config.parameters if isinstance(config, ModuleConfig) else tuple(expected)


def _described(config: ModuleConfig, found: Mapping[str, str]) -> dict[str, str]:
    """Return the tensors that a module from elsewhere has by what its file says of it, of the shapes found there."""
    weights = {name: f"F32{found.get(name, ' ?')[3:]}" for name in config.parameters}
    return weights | {name: found.get(name, "there") for name in config.constants}


def contradiction(config: TrainConfig, network: AnyNetwork, adaptation: Adaptation, iteration: int) -> str:
    """Say in what a run's config contradicts what else is said of its weights; "" where it does not."""
    pairs = [(f"network {name}", getattr(network, name), getattr(config, name)) for name in ("n_way", "norm")]
    for name in ("image_size",) if isinstance(network, ModuleConfig) else _ASKED:
        asked = getattr(config, name)
        pairs += [] if asked is None else [(f"network {name}", getattr(network, name), asked)]
    if isinstance(network, NetworkConfig):
        try:
            pairs += [(f"network {name}", *values) for name, values in _chosen(config, network).items()]
        except MetaprobeError as error:  # an option that such a network does not have
            return str(error)
    if config.algorithm in ALGORITHMS:
        layers = network.layers if isinstance(network, ModuleConfig) else _layers(network)
        asked = _told(ALGORITHMS[config.algorithm].adaptation(config, layers))
        pairs += [(f"adaptation {name}", value, asked[name]) for name, value in _told(adaptation).items()]
    told = [f"{name} is {value}, by its config {wanted}" for name, value, wanted in pairs if value != wanted]
    if iteration > config.iterations:
        told.append(f"it is of iteration {iteration} of {config.iterations}")
    return "; ".join(told)


def _told(adaptation: Adaptation) -> dict[str, Any]:
    """Return an adaptation as plain values, with those that files leave out."""
    return completed(Adaptation, to_mapping(adaptation))


_ASKED = ("filters", "blocks", "downsample", "image_size")


def _layers(network: NetworkConfig) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(layer_of, _shapes(network))))


def _chosen(config: TrainConfig, network: NetworkConfig) -> dict[str, tuple[object, object]]:
    """Return what a network says of its family's options, and what its run's config decides of them."""
    options = network_options(config, network.channels, network.image_size, network.name)
    wanted = dataclasses.replace(network, **options)
    names = {"norm_affine", "norm_epsilon", "activation", "head_start", "reads", "linnet"}
    # (files of before arnold2021's scales were drawn have them at 1)
    names |= set() if config.like is None else set(options) - {"head_input", "norm_scale_start"}
    return {name: (getattr(network, name), getattr(wanted, name)) for name in sorted(names)}


@functools.lru_cache(maxsize=64)  # one for each kind of checkpoint; building takes longer than reading
def _shapes(config: NetworkConfig) -> dict[str, str]:
    """Return the type and shape of each of a network's weights, in its order; it is built without values."""
    return {name: f"{_DTYPES[value.dtype]} {tuple(value.shape)}" for name, value in _empty(config).named_parameters()}


def _learned(config: NetworkConfig, adaptation: Adaptation) -> dict[str, str]:
    """Return the type and shape of each parameter that is learned beside the network's."""
    names = ("rule", "step_norms", "step_statistics", "modulation", "fce_steps")
    if all(getattr(adaptation, name) == getattr(Adaptation, name) for name in names):
        return {}
    return {name: f"F32 {slot.shape}" for name, slot in slots_of(_empty(config), adaptation).items()}


def _empty(config: NetworkConfig) -> TaskNetwork:
    with torch.device("meta"):
        return build_network(config, seed=0)
