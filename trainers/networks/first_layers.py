"""What a network's first layers make of the same samples under the same weights, computed once for several tests."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Hashable, Iterator, Mapping

import torch
from torch import Tensor

__all__ = ["FirstLayers", "first_layers_once", "known_first_layers", "one_batch"]


class FirstLayers:
    """Outputs of layers from the first one on, as long as no task has weights of its own.

    Samples and weights are the same where they are the same memory, unchanged since; what is remembered keeps them.

    Args:
        images: the samples to remember outputs of; of others, as of queries one by one, nothing is kept.
    """

    def __init__(self, *images: Tensor) -> None:
        self._images = {_place(one): one for one in images}
        self._joined: dict[Hashable, Tensor] = {}
        self._made: dict[Hashable, tuple[Tensor, list[Tensor]]] = {}

    def one_batch(self, first: Tensor, second: Tensor) -> Tensor:
        """Return two kinds of samples as one batch; of those to remember the same one each time, and it is one, too."""
        key = (_place(first), _place(second))
        if not self._images.keys() >= {*key}:
            return torch.cat([first, second], dim=1)
        if key not in self._joined:
            both = self._joined[key] = torch.cat([first, second], dim=1)
            self._images[_place(both)] = both
        return self._joined[key]

    def through(
        self,
        layers: tuple[str, ...],
        own: Mapping[str, list[Tensor]],
        images: Tensor,
        n_context: int | None,
        run: Callable[[Tensor, str], Tensor],
    ) -> tuple[Tensor, tuple[str, ...]]:
        """Pass samples through the layers whose weights all tasks share; return the output and the layers left.

        Args:
            layers: the network's first ones.
            own: the weights of those that all tasks share, each layer's by its name.
            images: the samples.
            n_context: as in `TaskNetwork.forward`.
            run: computes one layer.
        """
        x, key = images, (n_context, _place(images))
        if _place(images) not in self._images:
            return x, layers
        for number, layer in enumerate(layers):
            if layer not in own:
                return x, layers[number:]
            key = (*key, layer, *map(_place, own[layer]))
            if key not in self._made:
                self._made[key] = run(x, layer), own[layer]
            x = self._made[key][0]
        return x, ()


_known: contextvars.ContextVar[FirstLayers | None] = contextvars.ContextVar("first layers", default=None)


@contextlib.contextmanager
def first_layers_once(*images: Tensor) -> Iterator[None]:
    """Within the block of this thread remember what first layers make of some samples, while no graph is recorded."""
    token = _known.set(FirstLayers(*images))
    try:
        yield
    finally:
        _known.reset(token)


def known_first_layers() -> FirstLayers | None:
    """Return what is remembered in this thread, or None where nothing is to be."""
    return _known.get()


def one_batch(first: Tensor, second: Tensor) -> Tensor:
    """(task, sample, …) and (task, other, …) → (task, sample + other, …)."""
    known = _known.get()
    return torch.cat([first, second], dim=1) if known is None else known.one_batch(first, second)


def _place(x: Tensor) -> Hashable:
    return x.data_ptr(), x._version, x.shape, x.stride()
