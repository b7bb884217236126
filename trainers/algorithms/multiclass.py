"""Multiclass training: ordinary classification of all training classes, by a head that is thrown away afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head
from metaprobe.trainers.config import Adaptation, HeadStart, TrainConfig
from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from metaprobe.trainers.networks import Parameters, TaskNetwork
    from metaprobe.trainers.tasks.data import Data
    from metaprobe.trainers.tasks.episodes import EpisodeSampler, Tasks
    from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = ["MULTICLASS"]


def _minibatches(config: TrainConfig, imageset: Data, device: torch.device) -> EpisodeSampler:
    """Return minibatches of as many images as a task of the config's has, labelled by class."""
    from metaprobe.trainers.tasks.imageset import ImageSet
    from metaprobe.trainers.tasks.minibatches import MinibatchSampler

    if not isinstance(imageset, ImageSet):
        raise MetaprobeError(f"multiclass trains on the classes of a set of images; {imageset.name} has tasks alone")
    return MinibatchSampler(imageset, config.n_way * (config.n_shot + config.n_query), config.seed, device)


def _classes_head(config: TrainConfig, imageset: ImageSet, network: TaskNetwork) -> dict[str, Tensor]:
    """Return a linear head with a row a training class, drawn as the network's own is, with zero bias."""
    import numpy as np
    import torch

    from metaprobe.trainers.networks.conv4 import Head, draw_head

    own = network.get_parameter(f"{network.layer_names[-1]}.weight")  # (way, feature)
    seed = np.random.SeedSequence(config.seed, spawn_key=(0,)).generate_state(1, np.uint64)[0]  # not the network's
    weight = torch.empty(len(imageset.classes_of("train")), own.shape[1])
    head = network.get_submodule(network.layer_names[-1])
    start: HeadStart = head.start if isinstance(head, Head) else "glorot"
    draw_head(weight, start, torch.Generator().manual_seed(int(seed)))
    made = {"classes.weight": weight, "classes.bias": torch.zeros(len(weight))}
    return {name: value.to(own.device, own.dtype).requires_grad_() for name, value in made.items()}


def _classification_gradient(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return the gradient of each minibatch's mean cross-entropy by the body and the classes' head.

    Support and query sets are one minibatch and normalised as one; whose statistics a query has at test time is of no
    meaning here. The network's own head is not trained.
    """
    import torch

    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import TaskNetwork
    from metaprobe.trainers.networks.heads import body_of, features_of

    assert isinstance(network, TaskNetwork)
    images, labels = (
        torch.cat([getattr(tasks.support, part), getattr(tasks.query, part)], dim=1) for part in ("images", "labels")
    )
    weight, bias = params["classes.weight"], params["classes.bias"]
    trained = {**body_of(network, params), "classes.weight": weight, "classes.bias": bias}
    return direct_gradient(trained, features_of(network, params, images) @ weight.T + bias, labels)


MULTICLASS = Algorithm(
    name="multiclass",
    summary="Trains the body to classify all training classes; at test time its untrained N-way head adapts alone.",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 5.2 (ii)",
    adaptation=adapt_head,
    meta_gradient=_classification_gradient,
    batches=_minibatches,
    beside=_classes_head,
    head="nil",
)
