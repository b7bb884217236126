"""Reptile: the initialisation moves towards where a few gradient steps on a task lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metaprobe.trainers.algorithms.base import Algorithm, MetaGradient, adapt_all
from metaprobe.trainers.config import Adaptation

if TYPE_CHECKING:
    from torch import nn

    from metaprobe.trainers.networks import Parameters
    from metaprobe.trainers.tasks.episodes import Tasks

__all__ = ["REPTILE"]


def _displacement(
    network: nn.Module, params: Parameters, tasks: Tasks, adaptation: Adaptation, transductive: bool, sweep: bool
) -> MetaGradient:
    """Return Σ_T (θ − θ_T)/α after the inner steps on all images of each task (Nichol et al. 2018, Section 3).

    The paper moves θ towards θ_T, or gives this "gradient" to an adaptive optimiser, as the outer loop here does with
    Adam. Other than there, inner steps are plain gradient descent on the whole batch of support and query images,
    normalised together, and not Adam on minibatches of them. What does not adapt (norms, under --no-adapt-norm) is not
    trained. Loss and metric are those of the adapted weights on the images that they were adapted to: training has
    no others.
    """
    import torch

    from metaprobe.trainers.adapt import adapt_as, adaptable
    from metaprobe.trainers.direct_gradient import direct_gradient
    from metaprobe.trainers.networks import forward_tasks
    from metaprobe.trainers.tasks.episodes import Examples

    support, query = tasks.support, tasks.query
    pairs = ((support.images, query.images), (support.labels, query.labels), (support.ids, query.ids))
    everything = Examples(*(torch.cat(pair, dim=1) for pair in pairs))
    adapted = adapt_as(network, params, everything, adaptation).params
    with torch.no_grad():
        moved = adaptable(network, params, adaptation.layers, adaptation.adapt_norm)
        gradients = {name: (params[name] - adapted[name]).sum(0) / adaptation.inner_lr for name in moved}
        fit = direct_gradient({}, forward_tasks(network, adapted, everything.images), everything.labels)
    return MetaGradient(gradients, fit.loss, fit.score)


REPTILE = Algorithm(
    name="reptile",
    summary="Moves the initialisation towards the weights that a few gradient steps on a whole task lead to.",
    citation="Nichol, Achiam, Schulman: On First-Order Meta-Learning Algorithms, arXiv:1803.02999, 2018, Section 3",
    adaptation=adapt_all,
    meta_gradient=_displacement,
    regression=True,
)
