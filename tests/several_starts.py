"""A learner with two initialisations made by hand, and what it must equal: plain networks, one task at a time."""

import torch

from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.networks import build_network

NETWORK = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive")
LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
ADAPTATION = Adaptation(LAYERS, 0.3, 2)


def two_starts(sampler, tasks, network_config=NETWORK, adaptation=ADAPTATION, dtype=torch.float32):
    """Clusters whose centres are two tasks' own adapted parameters, whose initialisations are plainly different."""
    network = build_network(network_config, 6).to(dtype)
    base = {name: value.detach() for name, value in network.named_parameters()}
    adapted = adapt_as(network, base, sampler.batch(range(tasks)).support, adaptation).params
    inits = [
        {
            name: (value.detach() * 1.5).to(dtype)
            for name, value in build_network(network_config, seed).named_parameters()
        }
        for seed in (11, 12)
    ]
    return Clusters(
        base,
        {name: value[[0, tasks - 1]] for name, value in adapted.items() if value.dim() > base[name].dim()},
        {name: torch.stack([init[name] for init in inits]) for name in base},
        torch.tensor([1, 1]),
        Moves(adaptation),
        "centres",
    )


def checkpoint_of(clusters, network_config=NETWORK, adaptation=ADAPTATION, n_shot=2):
    how = {"inner_lr": adaptation.inner_lr, "inner_steps": adaptation.steps, "adapt_norm": adaptation.adapt_norm}
    how |= {"norm": network_config.norm, "n_way": network_config.n_way}
    algorithm = "tsa_maml" if adaptation.layers == LAYERS else "of one's own"  # which may adapt as it likes
    config = TrainConfig(algorithm, "toy", n_shot=n_shot, seed=6, **how)
    return Checkpoint(dict(clusters.base), config, network_config, adaptation, 40, clusters=clusters)


def nearest(clusters, support):
    """The cluster of one task, by distances written out; `support` has a task axis of one."""
    network = build_network(NETWORK, 0).to(support.images.dtype)
    adapted = adapt_as(network, clusters.base, support, clusters.moves.adaptation).params
    flat = torch.cat([adapted[name][0].flatten() for name in clusters.centres]).double()
    centres = torch.cat([value.flatten(1) for value in clusters.centres.values()], dim=1).double()
    return int(((centres - flat) ** 2).sum(dim=1).argmin())


def own_start(clusters, support):
    """The initialisation of one task as plain parameters."""
    place = nearest(clusters, support)
    return {name: value[place] for name, value in clusters.initialisations.items()}


def plain(params, dtype=torch.float32):
    """An ordinary network with these weights in it."""
    network = build_network(NETWORK, 0).to(dtype)
    network.load_state_dict(dict(params))
    return network
