"""Meta-Curvature: a learned matrix along each axis of a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Own, Slot, Slots, UpdateRule, a_tensor
from metaprobe.trainers.update_rules.kronecker import as_slices, from_slices, left, right, sides

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["META_CURVATURE"]


def _slots(shape: tuple[int, ...]) -> Slots:
    if len(shape) < 2:
        return {"scale": Slot(shape, "ones")}
    slices, n, m = sides(shape)
    if len(shape) == 2:
        return {"out": Slot((n, n), "identity"), "in": Slot((m, m), "identity")}
    sizes = {"out": slices, "in": n, "kernel": m}
    return {name: Slot((size, size), "identity") for name, size in sizes.items()}


def _curved(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return the mode products of g with M_out, M_in and, of a convolution, M_kernel; of a vector, scale ⊙ g.

    They commute. A linear weight (out, in) becomes M_out G M_in, as the paper and its code have it.
    """
    if "scale" in own:
        return own["scale"] * gradient
    if "kernel" not in own:
        return from_slices(right(left(as_slices(gradient), own["out"]), own["in"]), gradient.shape[1:])
    last = gradient.movedim(2, -1)  # as it lies in memory
    mixed = (own["out"] @ last.flatten(2)).view(last.shape).movedim(-1, 2)
    return from_slices(right(left(as_slices(mixed), own["in"]), own["kernel"].mT), gradient.shape[1:])


META_CURVATURE = UpdateRule(
    name="meta_curvature",
    summary="Learns a matrix along each axis of a tensor, which its gradient is multiplied by.",
    citation="Park, Oliva: Meta-Curvature, NeurIPS 2019, Section 3",
    transform=_curved,
    parameters=a_tensor(_slots),
)
