"""What an update rule is: how a gradient becomes an inner step, and what of that is learned. No torch on import.

The inner loop takes φ ← φ − α U_ξ(∇L). A rule is its U and what it declares of ξ, its parameters: which there are for
the tensors that adapt, how they start, whether they adapt with the task. ξ lies in the same flat mapping of tensors as
the network's parameters, under `update_rule.PLACE.NAME`, PLACE being a tensor of the network, or a module whose tensors
share it, or under `update_rule.NAME`, where all tensors do. So all that takes parameters takes ξ too: outer loop,
optimiser, resume state, workers and ranks. Only what computes with a network takes it off (`network_part`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from metaprobe.trainers.formats.tensor_names import BESIDE, UPDATE_RULE

if TYPE_CHECKING:  # listing the rules must not wait for torch
    from torch import Tensor, nn

__all__ = ["Memory", "Own", "Slot", "Slots", "UpdateRule", "a_tensor", "network_part", "owned", "rule_part", "shared"]

Own = Mapping[str, "Tensor"]
"""A tensor's own parameters of a rule, by NAME; each with a leading axis of the tasks, or of one that all share."""


@dataclass(frozen=True)
class Slot:
    """A parameter of a rule: its shape, and how it starts.

    "rate" is every element the inner rate (or `--rates-start`); `--rates-clamp` holds such elements in its limits.
    "tensor" is a copy of the tensor that it belongs to, along the axes that the shape has more. "glorot" is drawn
    uniformly (Glorot and Bengio 2010), with the run's seed; two numbers are limits that it is drawn between, uniformly.
    `a_step`: there is one of this shape for each inner step that the learner is trained with, in an axis in front. U is
    given that of its step, and in steps beyond those the last one.
    """

    shape: tuple[int, ...]
    start: Literal["identity", "ones", "zeros", "rate", "tensor", "glorot"] | tuple[float, float]
    a_step: bool = False


Slots = dict[str, Slot]


def _none(network: nn.Module, moving: tuple[str, ...]) -> Slots:
    """Return no parameters."""
    return {}


def _gradient(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return the gradient as it is."""
    return gradient


@dataclass(frozen=True)
class Memory:
    """What a rule carries of every element from one step to the next, and how it steps by that.

    Gradients and losses are constants to the outer derivative, so such a rule is for learners of first order. Its ξ
    does not adapt.

    Attributes:
        widths: NAME → how many numbers of an element; they start at 0.
        step: (U(g) (task, …), φ (task, …), the task's support loss (task,), own parameters, what is carried) → what is
            taken from φ (task, …), and what is carried on, both by NAME (task, …, width).
    """

    widths: Mapping[str, int]
    step: Callable[[Tensor, Tensor, Tensor, Own, Mapping[str, Tensor]], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class UpdateRule:
    """How a gradient becomes an inner step.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: paper and section.
        transform: U: (gradient (task, …), own parameters of its tensor, index of the inner step from 0) → (task, …).
        parameters: (network, names of the tensors that adapt) → slots by "PLACE.NAME", or "NAME"; NAME has no dot.
        adapts: whether ξ takes inner steps of its own, at the rate of the others: before step t ≥ 1,
            ξ ← ξ − α ∂L_support(φ_t)/∂ξ, where φ_t depends on ξ through the step that led to it. Each task then has its
            own, and each parameter belongs to one tensor.
        sets_rate: whether U has the rate in it, so that α is not multiplied to it.
        computed: what the outer loop trains → what the network computes with, where these differ; by name, all of them.
        every_layer: why every layer must adapt in training, in words; "" where not.
        memory: what steps by U's gradients and by what it carries, where a step is not of its own gradient alone.

    Raises:
        MetaprobeError: of `parameters`, a network that the rule cannot serve.
    """

    name: str
    summary: str
    citation: str
    transform: Callable[[Tensor, Own, int], Tensor] = _gradient
    parameters: Callable[[nn.Module, tuple[str, ...]], Slots] = _none
    adapts: bool = False
    sets_rate: bool = False
    computed: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    every_layer: str = ""
    memory: Memory | None = None


def a_tensor(slots: Callable[[tuple[int, ...]], Slots]) -> Callable[[nn.Module, tuple[str, ...]], Slots]:
    """Return the `parameters` of a rule that has some of its own for every tensor, by that tensor's shape."""

    def parameters(network: nn.Module, moving: tuple[str, ...]) -> Slots:
        shapes = {tensor: tuple(network.get_parameter(tensor).shape) for tensor in moving}
        return {f"{tensor}.{name}": slot for tensor, shape in shapes.items() for name, slot in slots(shape).items()}

    return parameters


def owned(names: Mapping[str, object], tensor: str) -> dict[str, str]:
    """Return what of a rule belongs to a tensor of the network: NAME → full name, of those given.

    Args:
        names: full names, "update_rule.PLACE.NAME", as keys.
        tensor: by name.
    """
    found = {}
    for full in names:
        place, _, name = full.removeprefix(UPDATE_RULE).rpartition(".")
        if tensor == place or tensor.startswith(f"{place}."):
            found[name] = full
    return found


def shared(names: Mapping[str, object]) -> dict[str, str]:
    """Return what of a rule belongs to all tensors alike: NAME → full name, "update_rule.NAME", of those given."""
    found = {full.removeprefix(UPDATE_RULE): full for full in names if full.startswith(UPDATE_RULE)}
    return {name: full for name, full in found.items() if "." not in name}


def network_part(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the network's own of a flat mapping of parameters."""
    return {name: value for name, value in params.items() if not name.startswith(BESIDE)}


def rule_part(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what of a flat mapping of parameters is learned beside the network's: a rule's, a modulation's."""
    return {name: value for name, value in params.items() if name.startswith(BESIDE)}
