"""Which layers a network has, how a pattern chooses among them, and taps that take their outputs.

A *layer* is a submodule by its dotted name. Called a second time in one pass it gives a second output, named with the
call's index: `relu`, then `relu#1`, `relu#2` …
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from trainers.errors import MetaprobeError
from trainers.networks import TaskNetwork

__all__ = ["layers_chosen", "modules_chosen", "patterns_of", "taps"]


def patterns_of(layers: str | Sequence[str]) -> tuple[str, ...]:
    """Return the patterns of `"conv*,head"`, or of a sequence of them.

    Raises:
        MetaprobeError: there is none.
    """
    parts = layers.split(",") if isinstance(layers, str) else layers
    patterns = tuple(pattern.strip() for pattern in parts if pattern.strip())
    if not patterns:
        raise MetaprobeError(f"layers={layers!r} names no layer; '*' means all")
    return patterns


def modules_chosen(network: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the dotted names of the submodules that glob patterns choose, in the network's order.

    A pattern is matched against every submodule's name, `*` reaching over dots. On a `TaskNetwork` a pattern without a
    dot means its own layers (conv1 … head) only: `conv*` is the four blocks, `conv*.conv` the convolutions inside them.
    What follows a `#` chooses among the calls of one module and is left to `layers_chosen`.

    Raises:
        MetaprobeError: a pattern matches nothing.
    """
    every = [name for name, _ in network.named_modules() if name]
    top = list(network.layer_names) if isinstance(network, TaskNetwork) else every
    chosen: set[str] = set()
    for pattern in patterns:
        known = every if "." in pattern else top
        module = pattern.partition("#")[0]
        found = {name for name in known if fnmatchcase(name, module)}
        if not found:
            raise _nothing_matches(pattern, known)
        chosen |= found
    return tuple(name for name in every if name in chosen)


def layers_chosen(outputs: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Return which of the outputs that a pass gave are wanted, in their order.

    Args:
        outputs: names of outputs of the modules that `modules_chosen` gave, with call indices.
        patterns: the same patterns.

    Raises:
        MetaprobeError: a pattern has no output: its modules were not called, or returned something else than one
            floating tensor with a row for each sample.
    """
    known = list(outputs)
    for pattern in patterns:
        if not any(_wants(pattern, name) for name in known):
            raise _nothing_matches(pattern, known, "gives no tensor with a row for each sample")
    return tuple(name for name in known if any(_wants(pattern, name) for pattern in patterns))


@contextlib.contextmanager
def taps(network: nn.Module, modules: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Take the outputs of submodules in every forward pass within the block; the hooks come off whatever happens.

    Outputs are copied on the spot, before an in-place operation further down can overwrite them. What is not a tensor
    is passed over.

    Yields:
        A mapping that fills up in the order of the calls: `name` → output, then `name#1` … for further calls.
    """
    taken: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    handles = []

    def tap(name: str, output: object) -> None:
        call = calls.get(name, 0)
        calls[name] = call + 1
        if isinstance(output, Tensor):
            taken[f"{name}#{call}" if call else name] = output.detach().clone()

    try:
        for name in modules:
            module = network.get_submodule(name)
            handles.append(module.register_forward_hook(lambda _m, _i, output, name=name: tap(name, output)))
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def _wants(pattern: str, output: str) -> bool:
    return fnmatchcase(output, pattern) or fnmatchcase(output.partition("#")[0], pattern)


def _nothing_matches(pattern: str, known: Sequence[str], what: str = "matches no layer") -> MetaprobeError:
    listed = ", ".join(known) if known else "none (the network has no submodules; wrap it in torch.nn.Sequential)"
    return MetaprobeError(f"layer pattern {pattern!r} {what}. Layers: {listed}.")
