"""Tensors into a network that was built anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible
from metaprobe.trainers.network_config import ModuleConfig
from metaprobe.trainers.networks.named import build_named
from metaprobe.trainers.user_code import is_code

__all__ = ["check_claimed", "fill", "shapes_of"]


def shapes_of(network: nn.Module) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of a network's weights, and of what else of it belongs into a file, by name."""
    weights = {name: tuple(value.shape) for name, value in network.named_parameters()}
    kept = network.state_dict()
    buffers = dict(network.named_buffers())  # each once, as of weights
    return weights, {name: tuple(value.shape) for name, value in buffers.items() if name in kept}


def check_claimed(config: ModuleConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a network that a file names and whose sizes are others than its tensors', before memory is taken for it.

    Code of the user's is not a file's to name, and is not looked at.

    Raises:
        MetaprobeError: a tensor is not the network's, or of another shape there.
    """
    if is_code(config.name):
        return
    try:
        with torch.device("meta"):
            built = build_named(config.name, config.arguments, config.n_way, config.channels, config.image_size, 0)
    except MetaprobeError as error:
        if isinstance(error.__cause__, RuntimeError | NotImplementedError):
            return  # its factory computes with what it draws, which can be done with values alone
        raise
    there = {name: tuple(value.shape) for name, value in built.state_dict().items()}
    for name, value in tensors.items():
        if there.get(name) != tuple(value.shape):
            raise _other(config.told, "tensor", name, there.get(name), tuple(value.shape))


def fill(network: nn.Module, params: Mapping[str, Tensor], constants: Mapping[str, Tensor], called: str) -> None:
    """Copy weights and constants into a network.

    Raises:
        MetaprobeError: their names or shapes are not the network's.
    """
    given = [{name: tuple(value.shape) for name, value in part.items()} for part in (params, constants)]
    for found, wanted, what in zip(given, shapes_of(network), ("weight", "constant"), strict=True):
        if found != wanted:
            name = min(set(found.items()) ^ set(wanted.items()))[0]
            raise _other(called, what, name, wanted.get(name), found.get(name))
    here = dict(network.named_parameters()) | dict(network.named_buffers())
    with torch.no_grad():
        for name, value in {**params, **constants}.items():
            here[name].copy_(value)


def _other(
    called: str, what: str, name: str, here: tuple[int, ...] | None, given: tuple[int, ...] | None
) -> MetaprobeError:
    return MetaprobeError(
        f"the network {called} that is here is not the one of these weights: its {what} {visible(name, 80)} is "
        f"{'not there' if here is None else here}, in the file {'not there' if given is None else given}"
    )
