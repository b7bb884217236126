"""Which parameters a layer's name means, at any depth of any network; the one place that decides it.

A name means a parameter or a module with all that is below it: `layer1`, `layer1.0.conv2`, `layer1.0.conv2.weight`. A
glob means every parameter or module that it matches, `*` reaching over dots: `blocks.*`, `*.bias`. A parameter that has
several names (tied weights, a submodule under two names) is meant by each of them, and is one.

What has `requires_grad=False` stays as it is, unless it is asked for: by the name of the parameter, or of a module all
of whose parameters have it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from torch import nn

from metaprobe.trainers.errors import MetaprobeError, unknown_name
from metaprobe.trainers.networks.task_network import TaskNetwork

__all__ = [
    "chosen_parameters",
    "held_parameters",
    "is_glob",
    "is_named",
    "is_within",
    "layers_of",
    "names_of",
    "without",
]


def layers_of(network: nn.Module) -> tuple[str, ...]:
    """Return the layers that have parameters, in the network's order: the first parts of their names.

    What all parameters lie in, as in the `model` of a wrapper, is no layer but is looked into: `model.conv1` ….
    """
    if isinstance(network, TaskNetwork):
        return network.layer_names
    parts = [name.split(".") for name, _ in network.named_parameters()]
    depth = 0
    while len({own[depth] for own in parts}) == 1 and any(len(own) > depth + 2 for own in parts):
        if any(len(own) == depth + 1 for own in parts):
            break
        depth += 1
    return tuple(dict.fromkeys(".".join(own[: depth + 1]) for own in parts))


def is_named(name: str, layer: str) -> bool:
    """Tell whether a layer's name or glob is that of the module or parameter `name`, itself and not what it is in."""
    return fnmatchcase(name, layer) if is_glob(layer) else name == layer


def is_within(parameter: str, layer: str) -> bool:
    """Tell whether a layer's name or glob means the parameter of this name: its own, or that of what it is in."""
    parts = parameter.split(".")
    return any(is_named(".".join(parts[: size + 1]), layer) for size in range(len(parts)))


def is_glob(layer: str) -> bool:
    """Tell whether a layer is named by a glob."""
    return any(letter in layer for letter in "*?[")


def chosen_parameters(network: nn.Module, layers: Iterable[str] | None, kind: str = "layer") -> tuple[str, ...]:
    """Return the names of the parameters that layers mean and that may move, in the network's order.

    Args:
        network: any module.
        layers: names and globs; None for all.
        kind: what to call them in an error.

    Raises:
        MetaprobeError: one of them means no parameter.
    """
    names, held = _names(network), _held(network)
    if layers is None:
        return tuple(name for name in names if name not in held)
    chosen: set[str] = set()
    for layer in layers:
        own = _meant(network, names, layer, kind)
        asked = not is_glob(layer) and own <= held
        chosen |= own if asked else own - held
    return tuple(name for name in names if name in chosen)


def held_parameters(network: nn.Module, layers: Iterable[str] | None) -> tuple[str, ...]:
    """Return the parameters that layers mean but that stay as they are, because of their `requires_grad=False`."""
    if not _held(network):
        return ()
    names = _names(network)
    moving = set(chosen_parameters(network, layers))
    meant = set(names) if layers is None else set().union(*(_meant(network, names, one, "layer") for one in layers))
    return tuple(name for name in names if name in meant - moving)


def without(network: nn.Module, layers: Collection[str], frozen: Iterable[str]) -> tuple[str, ...]:
    """Return what is left of layers when others are frozen: each by its name, or by its largest parts that are left.

    Raises:
        MetaprobeError: a name means no parameter.
    """
    names = _names(network)
    gone = set().union(*(_meant(network, names, one, "layer") for one in frozen))
    kept: list[str] = []
    for layer in layers:
        own = _meant(network, names, layer, "layer")
        if not own & gone:
            kept.append(layer)
        else:
            kept += names_of(network, [one for one in chosen_parameters(network, (layer,)) if one not in gone])
    return tuple(dict.fromkeys(kept))


def names_of(network: nn.Module, parameters: Iterable[str]) -> tuple[str, ...]:
    """Return the fewest names of modules, or else of parameters, that mean these parameters and let no other move."""
    left, found = dict.fromkeys(parameters), list[str]()
    wanted = set(left)
    moving: dict[str, set[str]] = {}
    while left:
        parts, name = next(iter(left)).split("."), ""
        for size in range(1, len(parts) + 1):
            name = ".".join(parts[:size])
            if name not in moving:
                moving[name] = set(chosen_parameters(network, (name,)))
            if moving[name] <= wanted or size == len(parts):
                break
        found.append(name)
        for one in moving[name]:
            left.pop(one, None)
        left.pop(".".join(parts), None)
    return tuple(found)


def _meant(network: nn.Module, names: Mapping[str, tuple[str, ...]], layer: str, kind: str) -> set[str]:
    found = {name for name, aliases in names.items() if any(is_within(alias, layer) for alias in aliases)}
    if found:
        return found
    if not isinstance(network, TaskNetwork) and layer in dict(network.named_modules(remove_duplicate=False)):
        raise MetaprobeError(f"{kind} {layer!r} has no parameters, it neither adapts nor can be frozen; leave it out")
    raise unknown_name(kind, layer, layers_of(network), near=_prefixes(names))


def _names(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return every parameter by its first name, with all the names that it has."""
    found: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), []).append(name)
    return {aliases[0]: tuple(aliases) for aliases in found.values()}


def _held(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if not parameter.requires_grad}


def _prefixes(names: Mapping[str, tuple[str, ...]]) -> list[str]:
    every = (alias.split(".") for aliases in names.values() for alias in aliases)
    return list(dict.fromkeys(".".join(parts[: size + 1]) for parts in every for size in range(len(parts))))
