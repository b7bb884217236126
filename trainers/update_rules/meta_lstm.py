"""Meta-LSTM: the inner steps of an LSTM whose cells are the weights, the same LSTM for every element of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Memory, Own, Slot, Slots, UpdateRule

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["META_LSTM"]

_HIDDEN, _P = 20, 10.0
_SMALL, _FORGET, _INPUT = (-0.01, 0.01), (4.0, 5.0), (-5.0, -4.0)  # that code's: gates begin at 0.99 and 0.01


def _slots(network: nn.Module, moving: tuple[str, ...]) -> Slots:
    """Return the LSTM's weights, rows of its input, forget, cell and output gates, and those of both gates of φ."""
    shapes = {"lstm_inputs": (4 * _HIDDEN, 4), "lstm_hidden": (4 * _HIDDEN, _HIDDEN), "lstm_bias": (4 * _HIDDEN,)}
    shapes |= {"forget": (_HIDDEN + 2,), "input": (_HIDDEN + 2,)}
    biases = {"forget_bias": Slot((), _FORGET), "input_bias": Slot((), _INPUT)}
    return {name: Slot(shape, _SMALL) for name, shape in shapes.items()} | biases


def _features(x: Tensor) -> Tensor:
    """Return (log|x|/p, sign x) where |x| ≥ e⁻ᵖ, else (−1, eᵖx), p = 10, in a last axis (Section 3.4)."""
    import torch

    size = x.abs().clamp_min(math.exp(-_P)).log() / _P
    return torch.stack([size, (math.exp(_P) * x).clamp(-1, 1)], dim=-1)


def _step(
    gradient: Tensor, value: Tensor, loss: Tensor, own: Own, kept: Mapping[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return φ − φ′ and h, c, f̂, î, with φ′ = σ(f̂) φ − σ(î) g (Equations 2 and 3).

    f̂ = w_F·[h, φ, f̂ before] + b_F, î alike, h of an LSTM of `_features` of g and of the loss. As in the authors' code
    it is f̂ and î that are carried, not σ of them, and from 0.
    """
    import torch

    tasks, shape = len(gradient), gradient.shape
    hidden, cell, forget, rate = (one.reshape(tasks, -1, one.shape[-1]) for one in kept.values())
    g, phi = gradient.reshape(tasks, -1), value.reshape(tasks, -1, 1)
    inputs, within = own["lstm_inputs"], own["lstm_hidden"]
    seen = torch.cat([_features(g), hidden], dim=-1)
    weights = torch.cat([inputs[..., :2], within], dim=-1).mT.expand(tasks, -1, -1)
    of_all = _features(loss).unsqueeze(1) @ inputs[..., 2:].mT + own["lstm_bias"].unsqueeze(1)  # the task's, not g's
    enters, stays, new, shown = torch.baddbmm(of_all, seen, weights).chunk(4, dim=-1)
    cell = stays.sigmoid() * cell + enters.sigmoid() * new.tanh()
    hidden = shown.sigmoid() * cell.tanh()

    def gate(name: str, before: Tensor) -> Tensor:
        of_hidden, of_phi, of_before = own[name].unsqueeze(-1).split([_HIDDEN, 1, 1], dim=1)
        return hidden @ of_hidden + phi * of_phi + before * of_before + own[f"{name}_bias"].reshape(-1, 1, 1)

    forget, rate = gate("forget", forget), gate("input", rate)
    taken = (-forget).sigmoid() * phi + rate.sigmoid() * g.unsqueeze(-1)  # 1 − σ(f̂) = σ(−f̂)
    after = zip(kept, (hidden, cell, forget, rate), strict=True)
    return taken.reshape(shape), {name: one.reshape(*shape, one.shape[-1]) for name, one in after}


META_LSTM = UpdateRule(
    name="meta_lstm",
    summary="Steps by an LSTM that reads each element's gradient and the loss; it forgets weights, and sets rates.",
    citation="Ravi, Larochelle: Optimization as a Model for Few-Shot Learning, ICLR 2017, Section 3",
    parameters=_slots,
    sets_rate=True,
    memory=Memory({"hidden": _HIDDEN, "cell": _HIDDEN, "forget": 1, "input": 1}, _step),
)
