"""Steps of the inner loop under an update rule, and what the rule carries from one to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.errors import MetaprobeError
from trainers.formats.checkpoint_format import UPDATE_RULE
from trainers.networks import Parameters
from trainers.update_rules import UpdateRule, owned

__all__ = ["Stepper"]

_PREVIOUS = f"{UPDATE_RULE}previous of "  # a tensor: its gradient in the step before, by which the rule's own adapt


@dataclass(frozen=True)
class Stepper:
    """An update rule at work on the tensors that adapt.

    Attributes:
        rule: U. rate: α.
        own: of each tensor that adapts, its parameters of the rule: NAME → full name.
        graph: whether what is stepped is to be differentiated.
    """

    rule: UpdateRule
    rate: float
    own: Mapping[str, Mapping[str, str]]
    graph: bool

    @classmethod
    def of(
        cls,
        rule: UpdateRule,
        rate: float,
        network: nn.Module,
        params: Parameters,
        moving: tuple[str, ...],
        tasks: int,
        graph: bool,
    ) -> tuple[Stepper, dict[str, Tensor]]:
        """Return a rule ready for its first step, and what it carries there.

        Those of the rule's parameters that adapt are each task's own from here on. What a step carries on is to be
        given to the next one; it may also be given back among `params`, to go on from there.

        Raises:
            MetaprobeError: a parameter of the rule is missing or of another shape, or it cannot serve the network.
        """
        slots = {UPDATE_RULE + name: slot for name, slot in rule.parameters(network, moving).items()} if moving else {}
        carried = {}
        for name, slot in slots.items():
            value = params.get(name)
            if value is None:
                raise MetaprobeError(
                    f"update rule {rule.name} has no {name}: it was not trained to adapt "
                    f"{name.removeprefix(UPDATE_RULE).rpartition('.')[0]}; freeze that, or test it as it was trained"
                )
            value = value.unsqueeze(0) if value.shape == slot.shape else value
            if value.shape not in ((1, *slot.shape), (tasks, *slot.shape)):
                raise MetaprobeError(
                    f"{name} has shape {tuple(value.shape)}; update rule {rule.name} expects {slot.shape} here"
                )
            carried[name] = value.expand(tasks, *slot.shape) if rule.adapts else value
        if not graph:
            carried = {name: value.detach().requires_grad_(rule.adapts) for name, value in carried.items()}
        carried |= {name: value for name, value in params.items() if name.startswith(_PREVIOUS)}
        return cls(rule, rate, {tensor: owned(slots, tensor) for tensor in moving}, graph), carried

    def changing(self, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return of what is carried that which steps change."""
        return dict(carried) if self.rule.adapts else {}

    def take(
        self, params: Parameters, carried: Mapping[str, Tensor], gradients: Mapping[str, Tensor], step: int, keep: bool
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Take a step: φ ← φ − α U_ξ(g), where ξ, if it adapts, has first taken one of its own.

        Args:
            params: φ, with a leading task axis.
            carried: ξ, and what else the step before left.
            gradients: g, of the tensors that adapt.
            step: its index, from 0.
            keep: whether the step of ξ is to be differentiated.

        Returns:
            The tensors that have moved, and what is carried to the next step.
        """
        if self.rule.adapts and step:
            carried = self._adapted(carried, gradients, step - 1, keep)
        alpha = 1.0 if self.rule.sets_rate else self.rate
        with torch.set_grad_enabled(self.graph):
            moved = {
                name: torch.sub(params[name], self._transformed(name, gradient, carried, step), alpha=alpha)
                for name, gradient in gradients.items()
            }
        if self.rule.adapts:
            carried = {**carried, **{_PREVIOUS + name: gradient for name, gradient in gradients.items()}}
        return moved, dict(carried)

    def _adapted(
        self, carried: Mapping[str, Tensor], gradients: Mapping[str, Tensor], made: int, keep: bool
    ) -> dict[str, Tensor]:
        """Return what is carried after ξ ← ξ − α ∂L(φ_t)/∂ξ.

        φ_t = φ_{t−1} − α U_ξ(g_{t−1}) and g_t = ∂L/∂φ_t, so ∂L(φ_t)/∂ξ = −α ∂⟨g_t, U_ξ(g_{t−1})⟩/∂ξ.
        """
        there = {name: g for name, g in gradients.items() if _PREVIOUS + name in carried and self.own[name]}
        names = list(dict.fromkeys(full for name in there for full in self.own[name].values()))
        if not names:
            return dict(carried)
        with torch.enable_grad():
            again = [self._transformed(name, carried[_PREVIOUS + name], carried, made) for name in there]
            inputs = [carried[name] for name in names]
            found = torch.autograd.grad(again, inputs, list(there.values()), create_graph=keep)
        rate = self.rate * (1.0 if self.rule.sets_rate else self.rate)
        stepped = {n: torch.add(carried[n], grad, alpha=rate) for n, grad in zip(names, found, strict=True)}
        if not self.graph:
            stepped = {name: value.detach().requires_grad_() for name, value in stepped.items()}
        return {**carried, **stepped}

    def _transformed(self, name: str, gradient: Tensor, carried: Mapping[str, Tensor], step: int) -> Tensor:
        own = {short: carried[full] for short, full in self.own[name].items()}
        return self.rule.transform(gradient, own, step)
