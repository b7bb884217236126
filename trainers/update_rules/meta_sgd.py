"""Meta-SGD: a learned rate for every element of every tensor that adapts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.update_rules.base import Own, Slot, UpdateRule, a_tensor

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["META_SGD"]


def _scaled(gradient: Tensor, own: Own, step: int) -> Tensor:
    """Return a ⊙ g; a may become negative."""
    return own["rates"] * gradient


META_SGD = UpdateRule(
    name="meta_sgd",
    summary="Learns a rate for every element of every tensor that adapts.",
    citation="Li, Zhou, Chen, Li: Meta-SGD, arXiv:1707.09835, 2017, Section 3.2",
    transform=_scaled,
    parameters=a_tensor(lambda shape: {"rates": Slot(shape, "rate")}),
    sets_rate=True,
)
