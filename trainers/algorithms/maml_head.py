"""The MAML head: a new head, meta-trained on a body that stays as another run left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_head, meta_gradient
from metaprobe.trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["MAML_HEAD"]


def _of_the_head(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    from metaprobe.trainers.networks import layer_of

    fixed = {name: value.detach() for name, value in params.items() if layer_of(name) not in adaptation.layers}
    return meta_gradient(network, {**params, **fixed}, tasks, adaptation, transductive, sweep)


MAML_HEAD = Algorithm(
    name="maml_head",
    summary="Trains a new head with MAML on the frozen body of any checkpoint (--base).",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Appendix D.1",
    adaptation=adapt_head,
    meta_gradient=_of_the_head,
    needs_base=True,
    new_head=True,
    regression=True,
)
