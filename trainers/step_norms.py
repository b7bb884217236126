"""Norms that have a scale and shift of their own for each inner step (Antoniou et al. 2019, Section 4, BNWB).

Of S steps the first takes the network's own parameters, the others sets that lie beside them, of each tensor
`update_rule.TENSOR.steps` (S − 1, channel). Step i is taken with the i-th, and so are the queries that follow it; steps
beyond the last trained one take the last. They are learned by the outer loop alone and are the same for every task. A
layer that does not adapt has the network's own throughout: nothing of it changes with the steps.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.tensor_names import STEPS, UPDATE_RULE
from metaprobe.trainers.networks import Parameters, for_each_task, norm_parameters
from metaprobe.trainers.networks.naming import chosen_parameters
from metaprobe.trainers.update_rules import Slot

__all__ = ["norms_of_step", "step_norm_slots"]

_NAME = f"{UPDATE_RULE}{{}}.{STEPS}"


def step_norm_slots(network: nn.Module, layers: Collection[str] | None, steps: int) -> dict[str, Slot]:
    """Return what a learner has beside its network's norms, by full name.

    Args:
        network: that adapts; it may be without values.
        layers: that adapt.
        steps: S, that it is trained with.

    Raises:
        MetaprobeError: the layers have no norms with parameters.
    """
    norms = _norms(network, layers)
    if not norms:
        told = "are of the scale and shift of norms, and no layer that adapts has any"
        raise MetaprobeError(f"norms of a step (--step-norms) {told}; leave them out, or choose another network")
    shapes = {name: tuple(network.get_parameter(name).shape) for name in norms}
    return {_NAME.format(name): Slot((steps - 1, *shape), "tensor") for name, shape in shapes.items() if steps > 1}


def norms_of_step(
    network: nn.Module, params: Parameters, layers: Collection[str] | None, step: int, tasks: int
) -> dict[str, Tensor]:
    """Return the norms' parameters that a step is taken with, of the layers that adapt, with a leading task axis.

    Args:
        network: as in `trainers.adapt`.
        params: where the loop began: the network's own, and the sets beside them.
        layers: that adapt.
        step: its index, from 0.
        tasks: in the batch.

    Raises:
        MetaprobeError: the sets of a norm are of another shape.
    """
    found = {}
    for name in _norms(network, layers):
        value, sets = params[name], params.get(_NAME.format(name))
        if step > 0 and sets is not None:
            value = sets[min(step, len(sets)) - 1]
        found[name] = for_each_task(network, name, value, tasks)
    return found


def _norms(network: nn.Module, layers: Collection[str] | None) -> tuple[str, ...]:
    norms = norm_parameters(network)
    return tuple(name for name in chosen_parameters(network, layers) if name in norms)
