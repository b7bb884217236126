"""A module that is left exactly as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

__all__ = ["untouched"]


@contextlib.contextmanager
def untouched(network: nn.Module, buffers: Mapping[str, Tensor]) -> Iterator[Callable[[int], None]]:
    """Lend a module for passes that may change it; afterwards buffers, training flags and random state are as before.

    Train-mode norms write their running statistics even under `no_grad`, dropout draws from torch's global generator.
    Parameters are not looked after: passes run on copies of them through `functional_call`.

    Args:
        network: any module.
        buffers: values, by dotted name, that its buffers have meanwhile; others keep their own.

    Yields:
        `rewind(seed)`: puts buffers back to where they were when the block began and seeds torch's generators, so that
        a pass is the same whatever ran before it.
    """
    modules = dict(network.named_modules())
    flags = {name: module.training for name, module in modules.items()}
    references = {name: dict(module._buffers) for name, module in modules.items()}
    found = _contents(references)
    start = found | dict(buffers)
    cards = sorted({t.device.index for t in (*network.parameters(), *network.buffers()) if t.device.type == "cuda"})

    def restore(values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for place, module in modules.items():
                module._buffers.clear()
                module._buffers.update(references[place])
                for name, buffer in references[place].items():
                    if buffer is not None:
                        buffer.copy_(values[_dotted(place, name)])

    def rewind(seed: int) -> None:
        restore(start)
        torch.default_generator.manual_seed(seed)
        for card in cards:
            torch.cuda.default_generators[card].manual_seed(seed)

    with torch.random.fork_rng(devices=cards):
        try:
            yield rewind
        finally:
            restore(found)
            for name, module in modules.items():
                module.training = flags[name]


def _contents(references: Mapping[str, Mapping[str, Tensor | None]]) -> dict[str, Tensor]:
    return {
        _dotted(place, name): buffer.detach().clone()
        for place, held in references.items()
        for name, buffer in held.items()
        if buffer is not None
    }


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
