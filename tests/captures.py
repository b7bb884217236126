"""Small networks and tasks for the tests of captures and stores."""

import hashlib

import numpy as np
import torch
from torch import nn

from metaprobe.trainers.config import Adaptation, NetworkConfig
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests.conftest import make_imageset

ADAPTATION = Adaptation(("conv1", "conv2", "conv3", "conv4", "head"), inner_lr=0.1, steps=2)
FOREIGN_ADAPTATION = Adaptation(("0", "1", "4"), inner_lr=0.05, steps=2)


def small_network(seed=0, norm="transductive", dtype=torch.float64, size=16):
    config = NetworkConfig("conv4", 3, 1, size, 4, "max-pool", norm)
    return build_network(config, seed).to(dtype)


def foreign_network(seed=0, dtype=torch.float64):
    torch_state = torch.get_rng_state()
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)
    )
    torch.set_rng_state(torch_state)
    return network.to(dtype)


def sampler(seed=0, size=16, dtype=torch.float64, n_query=4):
    return EpisodeSampler(make_imageset(n_classes=12, per_class=8, size=size), "test", 3, 2, n_query, seed, dtype=dtype)


def some_tasks(count=5, **options):
    return sampler(**options).batch(range(count))


def state_of(module):
    """A hash of everything that a capture must not change."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    for name, inner in module.named_modules():
        hooks = (len(inner._forward_hooks), len(inner._forward_pre_hooks), len(inner._backward_hooks))
        digest.update(f"{name}{inner.training}{hooks}".encode())
    digest.update(str([(p.requires_grad, p.grad is None, p.is_leaf) for p in module.parameters()]).encode())
    digest.update(torch.get_rng_state().numpy().tobytes())
    return digest.hexdigest()


def rows(block):
    return block.numpy() if block.ndim == 2 else np.moveaxis(block.numpy(), 1, -1).reshape(-1, block.shape[1])
