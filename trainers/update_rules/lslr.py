"""LSLR: a learned rate for every tensor, or every layer, and every inner step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Own, Slot, Slots, UpdateRule, a_tensor

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["LSLR", "LSLR_LAYER", "STEP_RATES"]

_RATE = Slot((), "rate", a_step=True)
_CITATION = "Antoniou, Edwards, Storkey: How to Train Your MAML, ICLR 2019, Section 4 (LSLR)"


def _scaled(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return a_step g; a may become negative, which is the paper's "direction"."""
    return own["rates"].reshape(-1, *[1] * (gradient.dim() - 1)) * gradient


def _of_layers(network: nn.Module, moving: tuple[str, ...]) -> Slots:
    """Return a rate a step for each layer of the tensors that adapt."""
    from metaprobe.trainers.networks import layer_of

    return {f"{layer_of(tensor)}.rates": _RATE for tensor in moving}


LSLR = UpdateRule(
    name="lslr",
    summary="Learns a rate for every tensor that adapts and every inner step, as MAML++'s code does.",
    citation=_CITATION,
    transform=_scaled,
    parameters=a_tensor(lambda shape: {"rates": _RATE}),
    sets_rate=True,
)

LSLR_LAYER = UpdateRule(
    name="lslr_layer",
    summary="Learns a rate for every layer that adapts and every inner step, as MAML++'s paper words it.",
    citation=_CITATION,
    transform=_scaled,
    parameters=_of_layers,
    sets_rate=True,
)

STEP_RATES = (LSLR, LSLR_LAYER)
"""Rules all of whose parameters are rates, one a step: what can be shown as a table."""
