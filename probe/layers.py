"""Which layers a network has, how a pattern chooses among them, and taps that take their outputs.

A *layer* is a submodule by its dotted name. Called a second time in one pass it gives a second output, named with the
call's index: `relu`, then `relu#1`, `relu#2` …
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from torch import Tensor, nn

from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.networks import TaskNetwork
from metaprobe.trainers.networks.naming import is_named
from metaprobe.trainers.networks.outputs import first_tensor

__all__ = ["layers_chosen", "lone_weights", "module_names", "modules_chosen", "patterns_of", "taps", "wants"]


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
    """Return the dotted names of the submodules that names and globs choose, in the network's order.

    A pattern is matched against every submodule's name, `*` reaching over dots (`trainers.networks.naming.is_named`);
    of a submodule with two names against both, and it goes by the first. On a `TaskNetwork` a pattern without a dot
    means its own layers (conv1 … head) only: `conv*` is the four blocks, `conv*.conv` the convolutions inside them.
    Lists of modules, which are never called, are no layers, nor are weights that lie in no submodule (`lone_weights`).
    What follows a `#` chooses among the calls of one module and is left to `layers_chosen`.

    Raises:
        MetaprobeError: a pattern matches nothing.
    """
    names = module_names(network)
    every = list(names)
    top = [name for name in network.layer_names if name in names] if isinstance(network, TaskNetwork) else every
    chosen: set[str] = set()
    for pattern in patterns:
        known = every if "." in pattern else top
        module = pattern.partition("#")[0]
        found = {name for name in known if any(is_named(alias, module) for alias in names[name])}
        if not found:
            if any(name == module for name, _ in network.named_modules()):
                told = f"layer pattern {pattern!r} names a list of modules, which gives nothing itself"
                raise MetaprobeError(f"{told}; name those in it, {pattern}.*")
            raise _nothing_matches(pattern, known)
        chosen |= found
    return tuple(name for name in every if name in chosen)


def module_names(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return every submodule that can be called by its first name, with all the names that it has."""
    found: dict[int, list[str]] = {}
    for name, module in network.named_modules(remove_duplicate=False):
        if name and not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict):
            found.setdefault(id(module), []).append(name)
    return {aliases[0]: tuple(aliases) for aliases in found.values()}


def lone_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the layers of a `TaskNetwork` that are weights by themselves, without an output, as a class token."""
    names = module_names(network)
    return tuple(one for one in network.layer_names if one not in names) if isinstance(network, TaskNetwork) else ()


def layers_chosen(
    outputs: Iterable[str], patterns: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None
) -> tuple[str, ...]:
    """Return which of the outputs that a pass gave are wanted, in their order.

    Args:
        outputs: names of outputs of the modules that `modules_chosen` gave, with call indices.
        patterns: the same patterns.
        aliases: all names of each module that has several.

    Raises:
        MetaprobeError: a pattern has no output: its modules were not called, or returned no floating tensor with a row
            for each sample.
    """
    known = list(outputs)
    for pattern in patterns:
        if not any(wants(pattern, name, aliases) for name in known):
            raise _nothing_matches(pattern, known, "gives no tensor with a row for each sample")
    return tuple(name for name in known if any(wants(pattern, name, aliases) for pattern in patterns))


def wants(pattern: str, output: str, aliases: Mapping[str, Sequence[str]] | None = None) -> bool:
    """Tell whether a pattern chooses an output, by the name of its module or with the call's index."""
    module, mark, call = output.partition("#")
    every = (aliases or {}).get(module, (module,))
    return any(is_named(name + mark + call, pattern) or is_named(name, pattern) for name in every)


@contextlib.contextmanager
def taps(network: nn.Module, modules: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Take the outputs of submodules in every forward pass within the block; the hooks come off whatever happens.

    Outputs are copied on the spot, before an in-place operation further down can overwrite them. Of an output that is
    no tensor the first one in it is taken; one that holds none is passed over.

    Yields:
        A mapping that fills up in the order of the calls: `name` → output, then `name#1` … for further calls.
    """
    taken: dict[str, Tensor] = {}
    calls: dict[str, int] = {}
    handles = []

    def tap(name: str, output: object) -> None:
        call = calls.get(name, 0)
        calls[name] = call + 1
        if (found := first_tensor(output)) is not None:
            taken[f"{name}#{call}" if call else name] = found[0].detach().clone()

    try:
        for name in modules:
            module = network.get_submodule(name)
            handles.append(module.register_forward_hook(lambda _m, _i, output, name=name: tap(name, output)))
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def _nothing_matches(pattern: str, known: Sequence[str], what: str = "matches no layer") -> MetaprobeError:
    listed = ", ".join(known) if known else "none (the network has no submodules; wrap it in torch.nn.Sequential)"
    return MetaprobeError(f"layer pattern {pattern!r} {what}. Layers: {listed}.")
