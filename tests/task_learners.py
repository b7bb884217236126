"""Learners that were never trained, tasks of two domains, and how parameters move on each task alone."""

import dataclasses

import numpy as np
import torch

from metaprobe.analyses.testing import TestPlan
from metaprobe.trainers.adapt import adapt
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.clustering.moves import Moves
from metaprobe.trainers.config import Adaptation, NetworkConfig, TrainConfig
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from metaprobe.trainers.tasks.imageset import ImageSet
from metaprobe.trainers.tasks.mixture import mix
from tests.conftest import make_imageset

LAYERS = ("conv1", "conv2", "conv3", "conv4", "head")
NETWORK = NetworkConfig("conv4", 3, 1, 8, 4, "stride", "transductive")
PLAN = TestPlan(tasks=12, n_query=4, seed=5, chunk=5)


def rough(seed=3):
    """Classes are patterns of single pixels, where those of `make_imageset` are patches."""
    smooth, generator = make_imageset(n_classes=12, per_class=18, size=8), np.random.default_rng(seed)
    patterns = 255 * generator.integers(0, 2, (12, 1, 8, 8))
    noise = generator.normal(0, 25, (12, 18, 1, 8, 8))
    images = np.clip(patterns[:, None] + noise, 0, 255).astype(np.uint8).reshape(-1, 1, 8, 8)
    return dataclasses.replace(smooth, name="rough", images=images)


SMOOTH = make_imageset(n_classes=12, per_class=18, size=8)
MIXED: ImageSet = mix([("smooth", SMOOTH), ("rough", rough())])


def maml(layers=LAYERS, steps=3, seed=6, norm="transductive", **params):
    """A checkpoint that was never trained, which adapts as any does."""
    network = dataclasses.replace(NETWORK, norm=norm)
    made = {name: value.detach() for name, value in build_network(network, seed).named_parameters()} | params
    config = TrainConfig("maml", "toy", n_way=3, n_shot=2, seed=seed, norm=norm)
    return Checkpoint(made, config, network, Adaptation(layers, 0.4, steps), 40)


def tsa(base, centres, assign_to="centres", names=None):
    """A checkpoint with clusters whose centres and initialisations are given as changes of the base's parameters."""
    made = {name: torch.stack([value + centre[name] for centre in centres]) for name, value in base.params.items()}
    kept = {name: value for name, value in made.items() if names is None or name in names}
    members = torch.ones(len(centres), dtype=torch.int64)
    clusters = Clusters(base.params, kept, made, members, Moves(base.adaptation), assign_to)
    config = dataclasses.replace(base.config, algorithm="tsa_maml")
    return dataclasses.replace(base, clusters=clusters, config=config)


def moves(checkpoint, group, split="test", count=PLAN.tasks, n_query=PLAN.n_query, order=None):
    """θ_T − θ of each task, one task at a time, and the task; `order(index, support)` may change its labels."""
    config, network = checkpoint.config, build_network(checkpoint.network_config, 0)
    sampler = EpisodeSampler(MIXED, split, 3, config.n_shot, n_query, PLAN.seed, group=group)
    found = []
    for index in range(count):
        support = sampler.batch([index]).support
        if order:
            support = order(index, support)
        adapted = adapt(network, checkpoint.params, support, layers=checkpoint.adaptation.layers, inner_lr=0.4,
                        steps=checkpoint.adaptation.steps).params  # fmt: skip
        changes = {name: (adapted[name] - value).detach() for name, value in checkpoint.params.items()}
        found.append({name: change.reshape(checkpoint.params[name].shape) for name, change in changes.items()})
    return found


def vectors(moved, part="all", norms=False):
    """Rows of float64, the head last; without the norms, which are in no view of learners without clusters."""
    names = [name for name in moved[0] if norms or ".norm." not in name]
    names = [name for name in names if part == "all" or name.startswith("head.") == (part == "head")]
    return np.stack([np.concatenate([one[name].double().numpy().ravel() for name in names]) for one in moved])


def mean_move(moved):
    return {name: torch.stack([one[name] for one in moved]).mean(0) for name in moved[0]}


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row
