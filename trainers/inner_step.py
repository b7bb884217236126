"""Steps of the inner loop under an update rule, and what the rule carries from one to the next."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import UPDATE_RULE
from metaprobe.trainers.networks import Parameters
from metaprobe.trainers.update_rules import Slot, Slots, UpdateRule, owned, shared

__all__ = ["Carried", "Stepper"]

_PREVIOUS = f"{UPDATE_RULE}previous of "  # a tensor: its gradient in the step before, by which the rule's own adapt
_KEPT = f"{UPDATE_RULE}{{}} of {{}}"  # a NAME and a tensor: what a rule with a memory carries of its elements


@dataclass(frozen=True)
class _Unit:
    """Tensors of one shape whose steps are computed as one, their tasks in a row: calls cost more than numbers here.

    Where a rule's parameters do not adapt they have no tasks, and each tensor is a unit.
    """

    tensors: tuple[str, ...]
    own: Mapping[str, tuple[str, ...]]  # NAME → full names, one a tensor
    a_step: frozenset[str]  # NAMEs of which there is one a step

    def row(self, parts: list[Tensor]) -> Tensor:
        """(task, …) of each tensor → (tensor·task, …), of convolutions with their channels last in memory."""
        if len(parts) == 1:
            return parts[0]
        if parts[0].dim() > 3:
            return torch.cat([part.movedim(2, -1) for part in parts]).movedim(-1, 2)
        return torch.cat(parts)

    def parts(self, row: Tensor) -> tuple[Tensor, ...]:
        """Undo `row`."""
        return row.chunk(len(self.tensors)) if len(self.tensors) > 1 else (row,)

    def at(self, own: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Return a rule's parameters as U is given them in a step: of those of steps its own, or the last."""
        return {
            name: value[:, min(step, value.shape[1] - 1)] if name in self.a_step else value
            for name, value in own.items()
        }


@dataclass(frozen=True)
class Carried:
    """What a unit's steps leave for the next: its ξ by NAME, its last gradient, and U_ξ of that with its graph.

    `kept` is what a rule with a memory carries (`trainers.update_rules.base.Memory`).
    """

    own: dict[str, Tensor]
    gradient: Tensor | None = None
    made: Tensor | None = None
    kept: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Stepper:
    """An update rule at work on the tensors that adapt.

    Attributes:
        rule: U. rate: α.
        units: the tensors that adapt.
        graph: whether what is stepped is to be differentiated.
    """

    rule: UpdateRule
    rate: float
    units: tuple[_Unit, ...]
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
    ) -> tuple[Stepper, list[Carried]]:
        """Return a rule ready for its first step, and what each unit carries there.

        Those of the rule's parameters that adapt are each task's own from here on. `params` may hold what `changing`
        gave after a step, to go on from there.

        Raises:
            MetaprobeError: a parameter of the rule is missing or of another shape, or it cannot serve the network.
        """
        slots = {UPDATE_RULE + name: slot for name, slot in rule.parameters(network, moving).items()} if moving else {}
        found = _found(rule, slots, params, tasks)
        if not graph:
            found = {name: value.detach() for name, value in found.items()}
        stepper = cls(rule, rate, _units(rule, network, moving, slots), graph)
        carried = []
        for unit in stepper.units:
            own = {name: unit.row([found[full] for full in fulls]) for name, fulls in unit.own.items()}
            if not graph and rule.adapts:
                own = {name: value.requires_grad_() for name, value in own.items()}
            before = [params[_PREVIOUS + tensor] for tensor in unit.tensors if _PREVIOUS + tensor in params]
            kept = _kept(rule, unit, network, params, tasks)
            carried.append(Carried(own, unit.row(before) if before else None, kept=kept))
        return stepper, carried

    def changing(self, carried: list[Carried]) -> dict[str, Tensor]:
        """Return of what is carried that which steps change, by full name and tensor."""
        found: dict[str, Tensor] = {}
        for unit, one in zip(self.units, carried, strict=True):
            found |= {_KEPT.format(name, *unit.tensors): value for name, value in one.kept.items()}
            if not self.rule.adapts:
                continue
            for name, fulls in unit.own.items():
                found |= zip(fulls, unit.parts(one.own[name]), strict=True)
            if one.gradient is not None:
                found |= zip((_PREVIOUS + tensor for tensor in unit.tensors), unit.parts(one.gradient), strict=True)
        return found

    def take(
        self,
        params: Parameters,
        carried: list[Carried],
        gradients: Mapping[str, Tensor],
        loss: Tensor,
        step: int,
        keep: bool,
    ) -> tuple[dict[str, Tensor], list[Carried]]:
        """Take a step: φ ← φ − α U_ξ(g), where ξ, if it adapts, has first taken one of its own.

        Args:
            params: φ, with a leading task axis.
            carried: what the step before left, of each unit.
            gradients: g, of the tensors that adapt; one without takes no step.
            loss: of each task's support set, a constant.
            step: its index, from 0.
            keep: whether the step of ξ is to be differentiated.

        Returns:
            The tensors that have moved, and what is carried to the next step.
        """
        alpha = 1.0 if self.rule.sets_rate else self.rate
        rows = [
            unit.row([gradients[n] if n in gradients else torch.zeros_like(params[n]) for n in unit.tensors])
            for unit in self.units
        ]
        if self.rule.adapts and step:
            carried = self._adapted(carried, rows, step - 1, alpha, keep)
        moved, left = dict[str, Tensor](), list[Carried]()
        for unit, one, row in zip(self.units, carried, rows, strict=True):
            with torch.set_grad_enabled(self.graph or self.rule.adapts):
                own, kept = unit.at(one.own, step), one.kept
                made = self.rule.transform(row, own, step)
                if self.rule.memory is not None:
                    made, kept = self.rule.memory.step(made, params[unit.tensors[0]], loss, own, kept)
            with torch.set_grad_enabled(self.graph):
                for name, part in zip(unit.tensors, unit.parts(made), strict=True):
                    if name in gradients:
                        moved[name] = torch.add(params[name], part, alpha=-alpha)
            left.append(Carried(one.own, row, made) if self.rule.adapts else dataclasses.replace(one, kept=kept))
        return moved, left

    def _adapted(
        self, carried: list[Carried], rows: list[Tensor], made: int, alpha: float, keep: bool
    ) -> list[Carried]:
        """Return what is carried after ξ ← ξ − α ∂L(φ_t)/∂ξ.

        φ_t = φ_{t−1} − α U_ξ(g_{t−1}) and g_t = ∂L/∂φ_t, so ∂L(φ_t)/∂ξ = −α (∂U_ξ(g_{t−1})/∂ξ)ᵀ g_t.
        """
        inputs = [value for one in carried for value in one.own.values()]
        with torch.enable_grad():
            again = [self._made(unit, one, made) for unit, one in zip(self.units, carried, strict=True)]
            found = iter(torch.autograd.grad(again, inputs, rows, retain_graph=self.graph, create_graph=keep))
        adapted = []
        for one in carried:
            own = {name: torch.add(value, next(found), alpha=self.rate * alpha) for name, value in one.own.items()}
            if not self.graph:
                own = {name: value.detach().requires_grad_() for name, value in own.items()}
            adapted.append(Carried(own))
        return adapted

    def _made(self, unit: _Unit, one: Carried, step: int) -> Tensor:
        """Return U_ξ of the last gradient: as it was made in that step, or anew where the loop goes on from a state."""
        if one.made is not None:
            return one.made
        assert one.gradient is not None  # the loop goes on from what `changing` gave
        return self.rule.transform(one.gradient, unit.at(one.own, step), step)


def _found(rule: UpdateRule, slots: Slots, params: Parameters, tasks: int) -> dict[str, Tensor]:
    """Return a rule's parameters by full name, checked, with a leading axis: of tasks, or of one that all share."""
    found = {}
    for name, slot in slots.items():
        value = params.get(name)
        if value is None:
            place = name.removeprefix(UPDATE_RULE).rpartition(".")[0] or "any layer"
            told = f"it was not trained to adapt {place}; freeze that, or test it as it was trained"
            raise MetaprobeError(f"update rule {rule.name} has no {name}: {told}")
        shape = (*_steps_in(value, slot), *slot.shape)
        shared = value.unsqueeze(0) if value.shape == shape else value
        if shared.shape not in ((1, *shape), (tasks, *shape)):
            told = f"{name} has shape {tuple(value.shape)}; update rule {rule.name} expects {shape}"
            raise MetaprobeError(f"{told}, or that with a leading task axis")
        found[name] = shared.expand(tasks, *shape) if rule.adapts else shared
    return found


def _steps_in(value: Tensor, slot: Slot) -> tuple[int, ...]:
    """Return of how many steps a value has a slot's, which may be others than are taken; () of a slot without steps."""
    place = value.dim() - len(slot.shape) - 1
    return (max(1, value.shape[place]) if place >= 0 else 1,) if slot.a_step else ()


def _kept(rule: UpdateRule, unit: _Unit, network: nn.Module, params: Parameters, tasks: int) -> dict[str, Tensor]:
    """Return what a rule with a memory carries to its first step: zeros, or what `changing` gave after another."""
    if rule.memory is None:
        return {}
    (tensor,) = unit.tensors
    shape = (tasks, *network.get_parameter(tensor).shape)
    zeros = {name: params[tensor].new_zeros(*shape, width) for name, width in rule.memory.widths.items()}
    return {name: params.get(_KEPT.format(name, tensor), value) for name, value in zeros.items()}


def _units(rule: UpdateRule, network: nn.Module, moving: tuple[str, ...], slots: Slots) -> tuple[_Unit, ...]:
    groups: dict[object, list[tuple[str, dict[str, str]]]] = {}
    for tensor in moving:
        own = shared(slots) | owned(slots, tensor)
        alike = (network.get_parameter(tensor).shape, *own) if rule.adapts and own else tensor
        groups.setdefault(alike, []).append((tensor, own))
    return tuple(
        _Unit(
            tuple(tensor for tensor, _ in group),
            {name: tuple(own[name] for _, own in group) for name in group[0][1]},
            frozenset(name for name, full in group[0][1].items() if slots[full].a_step),
        )
        for group in groups.values()
    )
