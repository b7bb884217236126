"""What is learned beside a network's weights: which parameters there are, how they start, what it computes with."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor, nn

from metaprobe.trainers.adapt import adaptable
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.limits import check_memory
from metaprobe.trainers.modulated_start import modulation_slots
from metaprobe.trainers.networks import Parameters, TaskNetwork
from metaprobe.trainers.networks.full_context import full_context_slots
from metaprobe.trainers.step_norms import step_norm_slots
from metaprobe.trainers.step_statistics import statistic_slots
from metaprobe.trainers.update_rules import Slot, Slots, rule_named

__all__ = ["begin_rule", "computed", "limits_of", "slots_of"]

_COPIES = 4  # of a parameter while it is trained: itself, its gradient, and Adam's two means


def slots_of(network: nn.Module, adaptation: Adaptation) -> dict[str, Slot]:
    """Return what a learner's inner steps have of parameters, by full name; the network may be without values.

    They are its update rule's, those of norms that have some a step, with the statistics that these keep, those of what
    modulates its start, and those of full-context embeddings.

    Raises:
        MetaprobeError: there is no such rule or modulation, or it cannot serve the network, or that has no such norms.
    """
    rule = rule_named(adaptation.rule)
    moving = adaptable(network, dict(network.named_parameters()), adaptation.layers, adaptation.adapt_norm)
    slots = {UPDATE_RULE + name: slot for name, slot in rule.parameters(network, moving).items()}
    norms = step_norm_slots(network, adaptation.layers, adaptation.steps) if adaptation.step_norms else {}
    norms |= statistic_slots(network, adaptation.steps) if adaptation.step_statistics == "running" else {}
    whole = {name: _whole(slot, adaptation.steps) for name, slot in slots.items()}
    contexts = Slots()
    if adaptation.fce_steps:
        assert isinstance(network, TaskNetwork)  # imports are told no such thing
        contexts = full_context_slots(network)
    return whole | norms | modulation_slots(network, adaptation) | contexts


def _whole(slot: Slot, steps: int) -> Slot:
    """Return a slot of the shape that its parameter has, with the steps in it."""
    return dataclasses.replace(slot, shape=(max(1, steps), *slot.shape), a_step=False) if slot.a_step else slot


def begin_rule(
    network: nn.Module, adaptation: Adaptation, config: TrainConfig, there: int | None = None
) -> dict[str, Tensor]:
    """Return what `slots_of` names as it starts, of the network's dtype and on its device.

    Args:
        network: that adapts.
        adaptation: how.
        config: the run's: its rate is where learned rates start, its seed what others are drawn with.
        there: bytes of memory for the training of them; None for this machine's.

    Raises:
        MetaprobeError: the rule cannot serve the network, or takes more memory than there is.
    """
    slots, like = slots_of(network, adaptation), next(network.parameters())
    need = _COPIES * like.element_size() * sum(math.prod(slot.shape) for slot in slots.values())
    told = (
        "a smaller network"
        if adaptation.modulation or adaptation.fce_steps
        else f"another update rule than {adaptation.rule}"
    )
    check_memory(need, f"choose {told} (or lower --filters)", there)
    rate = config.inner_lr if config.rates_start is None else config.rates_start
    numbers = {"ones": 1.0, "zeros": 0.0, "rate": rate}
    kind = {"dtype": like.dtype, "device": like.device}
    seed = np.random.SeedSequence(config.seed, spawn_key=(1,)).generate_state(1, np.uint64)[0]  # not the network's
    generator, begun = torch.Generator().manual_seed(int(seed)), {}
    for name, slot in slots.items():
        if slot.start == "identity":
            begun[name] = torch.eye(*slot.shape, **kind)
        elif slot.start == "tensor":
            own = network.get_parameter(name.removeprefix(UPDATE_RULE).rpartition(".")[0])
            begun[name] = own.detach().expand(slot.shape).clone()
        elif isinstance(slot.start, tuple):
            begun[name] = torch.empty(slot.shape).uniform_(*slot.start, generator=generator).to(**kind)
        elif slot.start == "glorot":
            drawn = nn.init.xavier_uniform_(torch.empty(slot.shape), generator=generator)
            begun[name] = drawn.to(**kind)
        else:
            begun[name] = torch.full(slot.shape, numbers[slot.start], **kind)
    return begun


def computed(params: Parameters, adaptation: Adaptation) -> Parameters:
    """Return what the network computes with, of what the outer loop trains; for most rules that is the same."""
    made = rule_named(adaptation.rule).computed
    return params if made is None else made(params)


def limits_of(network: nn.Module, adaptation: Adaptation, config: TrainConfig) -> dict[str, tuple[float, float]]:
    """Return the limits of those parameters that a run keeps in some, by full name."""
    if config.rates_clamp is None:
        return {}
    return {name: config.rates_clamp for name, slot in slots_of(network, adaptation).items() if slot.start == "rate"}
