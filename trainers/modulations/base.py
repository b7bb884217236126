"""What a modulation is: how a task's support set changes the initialisation before the inner loop. No torch on import.

The inner loop of a modulated learner begins at m_ω(θ, support set) and not at θ. A modulation is its m, what it
modulates, and what it declares of ω, its parameters, which are those of what embeds the task, and of what makes scales,
shifts or gates of that embedding. ω is learned by the outer loop and the same for every task. It lies in the same flat
mapping of tensors as the network's parameters, under `modulation.NAME`, as an update rule's do
(`trainers.update_rules.base`); so all that takes parameters takes ω too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.update_rules import Slots

if TYPE_CHECKING:
    from torch import Tensor, nn

    from metaprobe.trainers.tasks.episodes import Examples

__all__ = ["Modulation", "Values", "image_shape"]

Values = Mapping[str, "Tensor"]
"""Tensors by name: of ω as declared; of θ with a leading axis of the tasks, or of one that all share."""


@dataclass(frozen=True)
class Modulation:
    """How an embedding of the task changes the initialisation.

    Attributes:
        name: as in an adaptation.
        summary: one plain sentence.
        citation: paper and section.
        tensors: (network, adaptation) → names of the tensors that it modulates, of layers that adapt; none is valid.
        parameters: (network, those names) → slots of ω by name.
        modulate: m: (ω, the tensors, support set) → the tensors as each task has them (task, …), and each task's share
            (task,) of what the outer loss has beside the queries' loss, None for nothing.
        of_classes: whether the embedding reads labels, so that ω is for one number of classes.

    Raises:
        MetaprobeError: of `parameters`, a network that it cannot serve.
    """

    name: str
    summary: str
    citation: str
    tensors: Callable[[nn.Module, Adaptation], tuple[str, ...]]
    parameters: Callable[[nn.Module, tuple[str, ...]], Slots]
    modulate: Callable[[Values, Values, Examples], tuple[dict[str, Tensor], Tensor | None]]
    of_classes: bool = False


def image_shape(network: nn.Module, name: str) -> tuple[int, int, int]:
    """Return (channel, height, width) of the images that a network takes.

    Args:
        network: which.
        name: of the modulation, for the error.

    Raises:
        MetaprobeError: it takes no images.
    """
    shape = getattr(network, "input_shape", ())
    if len(shape) != 3:
        told = f"{type(network).__name__} takes none; choose another algorithm, or data of images"
        raise MetaprobeError(f"modulation {name} embeds a task by its images, and {told}")
    return shape
