"""Non-linear Meta-KFO: a small network of Kronecker-factored layers maps a gradient. Our reading of what is unreleased.

The paper says that the optimiser network "typically" has two hidden layers and not how it starts at MAML; here
U(G) = G + K₃ ρ(K₂ ρ(K₁ G)) with K_j G = L_j G R_j, ρ the ReLU, which keeps a gradient's scale. K₁ and K₂ start as
identities and L₃ at 0, so that training starts at MAML; R₃ is the identity, for L₃ to have a gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Own, Slot, Slots, UpdateRule, a_tensor
from metaprobe.trainers.update_rules.kronecker import as_slices, from_slices, left, right, sides

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["META_KFO_NONLINEAR"]

_LAYERS = (1, 2, 3)


def _factors(shape: tuple[int, ...]) -> Slots:
    _, n, m = sides(shape)
    lefts = {f"left{layer}": Slot((n, n), "zeros" if layer == _LAYERS[-1] else "identity") for layer in _LAYERS}
    return lefts | {f"right{layer}": Slot((m, m), "identity") for layer in _LAYERS}


def _mapped(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return G + K₃ ρ(K₂ ρ(K₁ G)) of every slice of a tensor (`trainers.update_rules.kronecker.sides`)."""
    slices = as_slices(gradient)
    hidden = slices
    for layer in _LAYERS:
        mapped = right(left(hidden, own[f"left{layer}"]), own[f"right{layer}"])
        hidden = mapped if layer == _LAYERS[-1] else mapped.relu()
    return from_slices(slices + hidden, gradient.shape[1:])


META_KFO_NONLINEAR = UpdateRule(
    name="meta_kfo_nonlinear",
    summary="Maps gradients by two hidden Kronecker-factored layers; our reading, the paper's code is not released.",
    citation="after Arnold, Iqbal, Sha: When MAML Can Adapt Fast …, AISTATS 2021, Section 5.3 and Appendix C",
    transform=_mapped,
    parameters=a_tensor(_factors),
    adapts=True,
)
