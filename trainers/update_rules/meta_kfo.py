"""Meta-KFO: a learned Kronecker-factored map of a gradient, whose factors adapt with the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Own, Slot, Slots, UpdateRule, a_tensor
from metaprobe.trainers.update_rules.kronecker import (
    as_slices,
    from_slices,
    left,
    left_squared,
    right,
    right_squared,
    sides,
)

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["META_KFO", "META_KFO_FREE"]


def _factors(shape: tuple[int, ...]) -> Slots:
    _, n, m = sides(shape)
    return {"left": Slot((n, n), "identity"), "right": Slot((m, m), "identity")}


def _definite(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return (LᵀL) G (RᵀR) of every slice of a tensor (`trainers.update_rules.kronecker.sides`)."""
    mapped = right_squared(left_squared(as_slices(gradient), own["left"]), own["right"])
    return from_slices(mapped, gradient.shape[1:])


def _free(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return L G R of every slice of a tensor."""
    mapped = right(left(as_slices(gradient), own["left"]), own["right"])
    return from_slices(mapped, gradient.shape[1:])


_CITATION = "Arnold, Iqbal, Sha: When MAML Can Adapt Fast and How to Assist When It Cannot, AISTATS 2021, Section 5.3"

META_KFO = UpdateRule(
    name="meta_kfo",
    summary="Learns a linear Kronecker-factored map of gradients, psd as released; its factors adapt with the task.",
    citation=_CITATION,
    transform=_definite,
    parameters=a_tensor(_factors),
    adapts=True,
)

META_KFO_FREE = UpdateRule(
    name="meta_kfo_free",
    summary="Meta-KFO whose map need not be positive semi-definite: L G R for (LᵀL) G (RᵀR).",
    citation=_CITATION,
    transform=_free,
    parameters=a_tensor(_factors),
    adapts=True,
)
