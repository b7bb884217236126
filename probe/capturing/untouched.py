"""A module that is left exactly as it was found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

__all__ = ["untouched"]

_OWNED = ("_parameters", "_modules", "_forward_hooks", "_forward_pre_hooks")  # where a module keeps these


@contextlib.contextmanager
def untouched(network: nn.Module, buffers: Mapping[str, Tensor]) -> Iterator[Callable[[int], None]]:
    """Lend a module for passes that may change it; afterwards buffers, attributes and random state are as before.

    Train-mode norms write their running statistics even under `no_grad`, dropout draws from torch's global generator,
    and a forward may set what it likes (a counter, its last output): every attribute is what it was, training flags
    and hooks among them, and none is left that was not there. What an attribute holds, as a list does, is not looked
    into. Values of parameters are not looked after: passes run on copies of them through `functional_call`.

    Args:
        network: any module.
        buffers: values, by dotted name, that its buffers have meanwhile; others keep their own.

    Yields:
        `rewind(seed)`: puts buffers back to where they were when the block began and seeds torch's generators, so that
        a pass is the same whatever ran before it.
    """
    modules = dict(network.named_modules())
    attributes = {name: dict(vars(module)) for name, module in modules.items()}
    owned = {name: [dict(vars(module)[kind]) for kind in _OWNED] for name, module in modules.items()}
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
            for name, module in modules.items():
                vars(module).clear()
                vars(module).update(attributes[name])
                for kind, held in zip(_OWNED, owned[name], strict=True):
                    vars(module)[kind].clear()
                    vars(module)[kind].update(held)
            restore(found)


def _contents(references: Mapping[str, Mapping[str, Tensor | None]]) -> dict[str, Tensor]:
    return {
        _dotted(place, name): buffer.detach().clone()
        for place, held in references.items()
        for name, buffer in held.items()
        if buffer is not None
    }


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
