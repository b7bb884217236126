"""Networks with stable layer names, and the registry that builds them from a config."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from metaprobe.trainers.config import NetworkConfig
from metaprobe.trainers.errors import entry_named
from metaprobe.trainers.network_config import AnyNetwork, ModuleConfig
from metaprobe.trainers.networks.conv4 import Conv, Conv4, Head, NormRelu
from metaprobe.trainers.networks.mlp import MLP, Hidden
from metaprobe.trainers.networks.module_network import ModuleNetwork
from metaprobe.trainers.networks.named import build_named
from metaprobe.trainers.networks.task_network import (
    Parameters,
    TaskNetwork,
    folds_tasks,
    for_each_task,
    forward_tasks,
    has_task_axis,
    layer_of,
)

__all__ = [
    "MLP",
    "NETWORKS",
    "Conv4",
    "ModuleNetwork",
    "Parameters",
    "TaskNetwork",
    "build_network",
    "convolve_in",
    "folds_tasks",
    "for_each_task",
    "forward_tasks",
    "has_task_axis",
    "is_linear_layer",
    "layer_of",
    "norm_parameters",
]

_NORMS = (NormRelu, nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm)
_LINEAR = (Conv, Head, Hidden, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

NETWORKS: dict[str, Callable[[NetworkConfig, torch.Generator], TaskNetwork]] = {"conv4": Conv4, "mlp": MLP}


def build_network(config: AnyNetwork, seed: int) -> TaskNetwork:
    """Build a network with freshly drawn weights: the same ones for the same config and seed.

    Raises:
        MetaprobeError: no network has that name, or it is code that the command line has not named.
    """
    if isinstance(config, ModuleConfig):
        built = build_named(config.name, config.arguments, config.n_way, config.channels, config.image_size, seed)
        return ModuleNetwork(built, config.norm, config.channels, config.image_size, config.name)
    return entry_named("network", config.name, NETWORKS)(config, torch.Generator().manual_seed(seed))


def convolve_in(dtype: torch.dtype | None, network: nn.Module) -> None:
    """Let a network's convolutions compute in a dtype of their own (None: in that of their input)."""
    for module in network.modules():
        if isinstance(module, Conv):
            module.dtype = dtype


def norm_parameters(network: nn.Module) -> frozenset[str]:
    """Return the names of the affine parameters that belong to norms (ours and torch's)."""
    return frozenset(
        f"{place}.{name}" if place else name
        for place, module in network.named_modules()
        if isinstance(module, _NORMS)
        for name, _ in module.named_parameters(recurse=False)
    )


def is_linear_layer(module: nn.Module) -> bool:
    """Tell whether a module's own weights (out, …) and bias are a linear layer's or a convolution's."""
    return isinstance(module, _LINEAR)
