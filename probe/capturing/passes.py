"""One batch of tasks through a network: before adaptation and after each wanted step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping

from torch import Tensor, nn

from metaprobe.probe.capturing.activations import tapped
from metaprobe.probe.capturing.choosing import ChannelAxis, choose
from metaprobe.probe.capturing.describing import Output, described
from metaprobe.probe.capturing.fitting import check_module, check_tasks
from metaprobe.probe.layers import modules_chosen
from metaprobe.probe.store.metadata import LayerInfo
from metaprobe.trainers.adapt import adapt_as
from metaprobe.trainers.clustering.clusters import Start, starting_point
from metaprobe.trainers.config import Adaptation
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import Parameters, TaskNetwork
from metaprobe.trainers.tasks.episodes import Tasks
from metaprobe.trainers.update_rules import network_part

__all__ = ["Blocks", "Passes"]

Blocks = dict[str, Tensor]
"""Activations (task, sample, …) by layer."""


class Passes:
    """Adapts to batches of tasks and passes their query samples through every wanted set of parameters.

    Args:
        network: the module.
        start: before adaptation: parameters, or several initialisations of which each task is assigned one.
        adaptation: how to adapt.
        patterns: of the layers wanted.
        steps: wanted after which inner steps, ascending.
        transductive: how queries are normalised.
        seed: of what is random in the module.
        rewind: see `untouched`; called before everything that runs the module, so that no pass depends on another and
            dropout drops the same units before and after.
        channel_axis: where features are; see `choosing.choose`.

    Attributes:
        layers: what is captured, known once the first batch was passed.
        left_out: why other outputs, of those that the patterns choose, are not; by name.

    Raises:
        MetaprobeError: a pattern matches nothing.
    """

    def __init__(
        self,
        network: nn.Module,
        start: Start,
        adaptation: Adaptation,
        patterns: tuple[str, ...],
        steps: tuple[int, ...],
        transductive: bool,
        seed: int,
        rewind: Callable[[int], None],
        channel_axis: ChannelAxis = None,
    ) -> None:
        self.layers: tuple[LayerInfo, ...] = ()
        self.left_out: dict[str, str] = {}
        self._network, self._start, self._adaptation = network, start, adaptation
        self._patterns, self._modules = patterns, modules_chosen(network, patterns)
        self._steps, self._transductive = steps, transductive
        self._seed, self._rewind = seed, rewind
        self._channel_axis = channel_axis
        self._outputs: Mapping[str, Output] | None = None

    def of(self, batch: Tasks) -> tuple[Blocks, Iterator[Blocks]]:
        """Return the activations of the query samples before adaptation, and those after each wanted step in turn.

        Raises:
            MetaprobeError: a pattern has no output, or the layers called are not those of the first batch.
        """
        seed = (self._seed * 1_000_003 + batch.indices[0]) % 2**63
        self._rewind(seed)
        start = starting_point(self._network, self._start, batch.support)
        if not self.layers:
            check_module(self._network, batch)
            check_tasks(self._network, network_part(start), batch)
        return self._activations(start, batch, seed), self._after(start, batch, seed)

    def _after(self, start: Parameters, batch: Tasks, seed: int) -> Iterator[Blocks]:
        self._rewind(seed)
        every = len(self._steps) > 1
        adapted = adapt_as(self._network, start, batch.support, self._adaptation, every_step=every)
        trajectory = adapted.trajectory or (adapted.params,)
        for step in self._steps:
            # Where nothing adapts the trajectory is its start alone.
            params = trajectory[min(step, len(trajectory) - 1)]
            yield self._activations(params, batch, seed)

    def _activations(self, params: Parameters, batch: Tasks, seed: int) -> Blocks:
        if not self.layers:
            return self._first(params, batch, seed)
        self._rewind(seed)
        found = tapped(self._network, params, batch, self._modules, self._transductive, self._outputs)
        names = [layer.name for layer in self.layers]
        if missing := [name for name in names if name not in found]:
            raise MetaprobeError(
                f"layer {missing[0]!r} gave an output in the first pass and none in a later one (task "
                f"{batch.indices[0]}); a capture needs the same layers in every pass, leave it out"
            )
        return {name: found[name] for name in names}

    def _first(self, params: Parameters, batch: Tasks, seed: int) -> Blocks:
        """Pass the first tasks, and see by them which layers there are."""
        rewind = functools.partial(self._rewind, seed)
        if not isinstance(self._network, TaskNetwork):
            self._outputs = described(self._network, params, batch.query.images, self._modules, rewind)
        rewind()
        found = tapped(self._network, params, batch, self._modules, self._transductive, self._outputs)
        chosen = choose(self._network, self._patterns, self._modules, found, self._outputs, self._channel_axis)
        self.layers, self.left_out = chosen
        return {layer.name: found[layer.name] for layer in self.layers}
