"""Where a modulated learner's inner loop begins: what an embedding of each task makes of the initialisation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import MODULATION
from metaprobe.trainers.modulations import modulation_named
from metaprobe.trainers.networks import Parameters, has_task_axis
from metaprobe.trainers.tasks.episodes import Examples
from metaprobe.trainers.update_rules import Slots

__all__ = ["ModulatedStart", "modulated_start", "modulation_slots"]


@dataclass(frozen=True)
class ModulatedStart:
    """Where the inner loop begins, and how it goes on.

    Attributes:
        params: all parameters; those that are modulated with a leading task axis.
        adaptation: from there.
        penalty: what each task adds to the outer loss; None for nothing.
    """

    params: Parameters
    adaptation: Adaptation
    penalty: Float[Tensor, " task"] | None = None


def modulated_start(
    network: nn.Module, params: Parameters, support: Examples, adaptation: Adaptation
) -> ModulatedStart:
    """Return where the inner loop of an adaptation begins on each task; see `trainers.modulations.base`.

    Layers that do not adapt are not modulated either: what a task gets is θ there.

    Args:
        network: that adapts.
        params: θ, and the parameters of the modulation.
        support: of the tasks.
        adaptation: which layers adapt, and by what they are modulated, if they are.

    Raises:
        MetaprobeError: a parameter of the modulation is missing or of another shape.
    """
    if not adaptation.modulation:
        return ModulatedStart(params, adaptation)
    modulation, plain = modulation_named(adaptation.modulation), dataclasses.replace(adaptation, modulation="")
    names = modulation.tensors(network, adaptation)
    if not names:
        return ModulatedStart(params, plain)
    own = {}
    for full, slot in modulation_slots(network, adaptation).items():
        shape = None if full not in params else tuple(params[full].shape)
        if shape != slot.shape:
            got = "there is none" if shape is None else f"it has shape {shape}"
            told = f"{full} of shape {slot.shape}, and {got}; adapt the layers that it was trained for"
            raise MetaprobeError(f"modulation {modulation.name} needs {told}")
        own[full.removeprefix(MODULATION)] = params[full]
    values = {n: params[n] if has_task_axis(network, n, params[n]) else params[n].unsqueeze(0) for n in names}
    found, penalty = modulation.modulate(own, values, support)
    return ModulatedStart({**params, **found}, plain, penalty)


def modulation_slots(network: nn.Module, adaptation: Adaptation) -> Slots:
    """Return the parameters of an adaptation's modulation, if it has one, by full name.

    Raises:
        MetaprobeError: there is no such modulation, or it cannot serve the network.
    """
    if not adaptation.modulation:
        return {}
    modulation = modulation_named(adaptation.modulation)
    slots = modulation.parameters(network, modulation.tensors(network, adaptation))
    return {MODULATION + name: slot for name, slot in slots.items()}
