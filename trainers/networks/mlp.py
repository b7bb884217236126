"""Fully connected layers, for samples that are feature vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metaprobe.trainers.config import NetworkConfig
from metaprobe.trainers.networks.conv4 import add_linear
from metaprobe.trainers.networks.task_network import TaskNetwork

__all__ = ["MLP"]


class MLP(TaskNetwork):
    """Hidden layers with ReLU and a linear head: hidden1, hidden2 …, head.

    On sinusoids that of Finn et al. (2017, section 5.1): two hidden layers of 40. Weights start Glorot uniform and
    biases at 0, as the other networks here; that paper's code draws its weights from N(0, 0.01²), cut at 2σ.

    Args:
        config: `channels` are the features of a sample, `filters` the units of a hidden layer, `blocks` how many there
            are, `n_way` the outputs, `linnet` as in `Conv4`.
        generator: draws the initial weights.
    """

    linear_head = True

    def __init__(self, config: NetworkConfig, generator: torch.Generator) -> None:
        super().__init__()
        hidden = tuple(f"hidden{number}" for number in range(1, config.blocks + 1))
        features = config.channels
        for name in hidden:
            self.add_module(name, Hidden(features, config.filters, generator))
            features = config.filters
        self.layer_names = (*hidden, *add_linear(self, features, None, config, generator))

    def features(self, maps: Tensor) -> Tensor:
        """Return what the head reads: the last layer's output as it is."""
        return maps


class Hidden(nn.Module):
    """A linear layer and ReLU; the first axis of its weight may hold several tasks' units."""

    def __init__(self, features: int, units: int, generator: torch.Generator) -> None:
        super().__init__()
        self.units = units
        self.weight = nn.Parameter(torch.empty(units, features))
        self.bias = nn.Parameter(torch.zeros(units))
        nn.init.xavier_uniform_(self.weight, generator=generator)

    def forward(self, x: Tensor, n_context: int | None = None) -> Tensor:
        tasks = self.weight.shape[0] // self.units
        weight, bias = self.weight.unflatten(0, (tasks, -1)), self.bias.unflatten(0, (tasks, 1, -1))
        samples = x.unflatten(1, (tasks, -1)).transpose(0, 1)
        return torch.relu(torch.baddbmm(bias, samples, weight.transpose(1, 2))).transpose(0, 1).flatten(1)
