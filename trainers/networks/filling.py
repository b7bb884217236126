"""Tensors into a network that was built anew."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainers.errors import MetaprobeError
from trainers.formats.text import visible

__all__ = ["fill", "shapes_of"]


def shapes_of(network: nn.Module) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of a network's weights, and of what else of it belongs into a file, by name."""
    weights = {name: tuple(value.shape) for name, value in network.named_parameters()}
    kept = network.state_dict()
    buffers = dict(network.named_buffers())  # each once, as of weights
    return weights, {name: tuple(value.shape) for name, value in buffers.items() if name in kept}


def fill(network: nn.Module, params: Mapping[str, Tensor], constants: Mapping[str, Tensor], called: str) -> None:
    """Copy weights and constants into a network.

    Raises:
        MetaprobeError: their names or shapes are not the network's.
    """
    given = [{name: tuple(value.shape) for name, value in part.items()} for part in (params, constants)]
    for found, wanted, what in zip(given, shapes_of(network), ("weight", "constant"), strict=True):
        if found != wanted:
            name = min(set(found.items()) ^ set(wanted.items()))[0]
            raise MetaprobeError(
                f"the network {called} that is here is not the one of these weights: its {what} {visible(name, 80)} is "
                f"{wanted.get(name, 'not there')}, in the file {found.get(name, 'not there')}"
            )
    here = dict(network.named_parameters()) | dict(network.named_buffers())
    with torch.no_grad():
        for name, value in {**params, **constants}.items():
            here[name].copy_(value)
