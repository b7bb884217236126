"""How far adaptation moves the parameters for a task, so that tasks can be compared: what clusters are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor, nn

from metaprobe.trainers.adapt import adapt_as, layers_of
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.modulations import modulation_named
from metaprobe.trainers.networks import Parameters, has_task_axis, layer_of
from metaprobe.trainers.tasks.episodes import Examples
from metaprobe.trainers.update_rules import network_part

__all__ = ["Moves", "orders_of_labels", "symmetric"]

_EVEN = ("sgd", "lslr", "lslr_layer", "meta_lstm")  # rules that treat all rows of a head alike
_ORDERS = 2  # spawn key: what a task's images name here


@dataclass(frozen=True)
class Moves:
    """How θ* is adapted to tell tasks apart (Zhou et al. 2021, Section 4.2, and two remedies of ours).

    Which of a task's classes has which label is chance, and yet decides the head's gradient and through the head the
    body's: tasks then cluster by the order of their labels. Either remedy takes that out.

    Attributes:
        adaptation: layers, rate and steps.
        label_orders: how many orders of a task's labels the displacement is the mean over; 1 is the paper's.
        symmetric_head: whether the head starts with its rows all equal to their mean. The body's path is then the same
            for every order of the labels (Σ_c ∂L/∂W_c = 0), while the head only follows it.

    Raises:
        MetaprobeError: a symmetric head, and a modulation that reads labels or a rule that tells its rows apart.
    """

    adaptation: Adaptation
    label_orders: int = 1
    symmetric_head: bool = False

    def __post_init__(self) -> None:
        name = self.adaptation.modulation
        if self.symmetric_head and name and modulation_named(name).of_classes:
            told = f"modulation {name} embeds a task by its labels and gates each row of the head by itself"
            raise MetaprobeError(f"a symmetric head makes no path the same for every order of labels here: {told}")
        if self.symmetric_head and self.adaptation.rule not in _EVEN:
            told = f"update rule {self.adaptation.rule} has numbers of its own for rows of the head"
            raise MetaprobeError(f"a symmetric head makes no path the same for every order of labels here: {told}")

    def __str__(self) -> str:
        words = [f"{self.adaptation.steps} inner steps", *["symmetric head"] * self.symmetric_head]
        return ", ".join(words + [f"mean over {self.label_orders} label orders"] * (self.label_orders > 1))

    def adapted(self, network: nn.Module, base: Parameters, support: Examples) -> dict[str, Tensor]:
        """Return θ* + the mean displacement of each task; a parameter that does not adapt has no task axis.

        It takes `label_orders` times an adaptation. The paper's own is θ̄_T itself.

        Args:
            network: whose weights `base` are.
            base: θ*, by name.
            support: the tasks' support sets; of these, labels are permuted and images stay.
        """
        if self.label_orders == 1 and not self.symmetric_head:
            return adapt_as(network, base, support, self.adaptation).params
        origin = symmetric(network, base) if self.symmetric_head else base
        moved: dict[str, Tensor] = {}
        for labels in orders_of_labels(support, self.label_orders):
            one = dataclasses.replace(support, labels=labels)
            for name, value in network_part(adapt_as(network, origin, one, self.adaptation).params).items():
                if has_task_axis(network, name, value):
                    step = (value - origin[name]) / self.label_orders
                    moved[name] = moved[name] + step if name in moved else step
        return {name: value.detach() + moved[name] if name in moved else value for name, value in base.items()}


def symmetric(network: nn.Module, base: Parameters) -> dict[str, Tensor]:
    """Return parameters whose head treats all classes alike: each of its rows is the mean of them."""
    head = layers_of(network)[-1]
    return {
        name: value.mean(0, keepdim=True).expand_as(value).clone() if layer_of(name) == head else value
        for name, value in base.items()
    }


def orders_of_labels(support: Examples, count: int) -> Iterator[Int[Tensor, "task sample"]]:
    """Yield the labels of each task in so many orders: its own first, then others that its images name.

    Orders come in rounds of as many as there are classes: a random permutation, then the same with every label one
    further. Over a whole round each class has had each label once, so that what follows from the labels to first order
    cancels, which it would not over as many independent orders.

    Args:
        support: labels count from 0; `ids` are what a task is known by, whatever its labels.
        count: how many orders.
    """
    ways = int(support.labels.max()) + 1
    table = torch.from_numpy(np.stack([_orders(ways, count, row) for row in support.ids.tolist()])).to(support.labels)
    for place in range(count):
        yield table[:, place].gather(1, support.labels)


def _orders(ways: int, count: int, ids: list[int]) -> Int64[np.ndarray, "order way"]:
    generator = np.random.default_rng(np.random.SeedSequence(ids, spawn_key=(_ORDERS,)))
    rounds = [np.arange(ways)]
    while len(rounds) * ways < count:
        rounds.append(generator.permutation(ways))
    return np.concatenate([(first + np.arange(ways)[:, None]) % ways for first in rounds])[:count]
