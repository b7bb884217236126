"""Which tensors of a file are which of a network, by name and shape."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from metaprobe.probe.inspection.wrapping import BUFFERS
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import visible

__all__ = ["Fit", "fit_to", "kept_of"]


@dataclass(frozen=True)
class Fit:
    """A network's tensors as a file has them.

    Attributes:
        tensors: by the network's names; a tensor under several names once.
        prefix: what stood before the names in the file, "" for nothing. added: what stands before them in the network.
        left: names of the file that the network has no place for.
        drawn: names of the head's, freshly drawn because they were asked for.
    """

    tensors: dict[str, Tensor]
    prefix: str = ""
    added: str = ""
    left: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()


def kept_of(network: nn.Module) -> dict[str, Tensor]:
    """Return what of a network belongs into a file, by name, each tensor once: weights first, then buffers."""
    kept, seen = network.state_dict(keep_vars=True), dict[int, str]()
    names = [name for name, _ in (*network.named_parameters(), *network.named_buffers()) if name in kept]
    for name in names:
        seen.setdefault(id(kept[name]), name)
    return {name: kept[name] for name in names if seen[id(kept[name])] == name}


def fit_to(network: nn.Module, given: Mapping[str, Tensor], head: str, called: str, new_head: bool = False) -> Fit:
    """Return the tensors of a network from those of a file.

    Names may differ by what stands before all of them, in the file or in the network. Running statistics of batch norms
    that the file lacks are the network's own.

    Args:
        network: built, with drawn weights.
        given: the tensors of the file, by name.
        head: the network's last layer.
        called: the file, in errors.
        new_head: whether the head's weights are to be drawn, whatever the file has.

    Raises:
        MetaprobeError: a weight is missing, or of another shape.
    """
    wanted, aliases = kept_of(network), _aliases(network)
    prefix, added = _prefixes(given, wanted, called)
    found = {added + name.removeprefix(prefix): value for name, value in given.items() if name.startswith(prefix)}
    tensors, drawn = dict[str, Tensor](), list[str]()
    for name, own in wanted.items():
        value = _under(name, aliases[name], found, called)
        mine = new_head and name.partition(".")[0] == head
        if mine or (value is None and name.rpartition(".")[2] in BUFFERS):
            drawn += [name] if mine else []
            tensors[name] = own.detach().clone()
        elif value is None or value.shape != own.shape:
            raise _misfit(name, tuple(own.shape), value, {n: tuple(v.shape) for n, v in found.items()}, head, called)
        else:
            tensors[name] = value.to(own.dtype)
    used = {name for names in aliases.values() for name in names}
    left = tuple(name for name in given if added + name.removeprefix(prefix) not in used or not name.startswith(prefix))
    return Fit(tensors, prefix, added, left, tuple(drawn))


def _aliases(network: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return all names that each tensor has in a network's state dict, by the first."""
    kept = network.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for name, value in kept.items():
        names.setdefault(id(value), []).append(name)
    return {name: tuple(names[id(value)]) for name, value in kept_of(network).items()}


def _under(name: str, aliases: tuple[str, ...], found: Mapping[str, Tensor], called: str) -> Tensor | None:
    """Return a tensor that may stand under any of its names in a file."""
    there = [alias for alias in aliases if alias in found]
    for other in there[1:]:
        one, two = found[there[0]], found[other]
        if one.shape != two.shape or not bool((one == two).all()):
            raise MetaprobeError(
                f"{called}: {there[0]} and {other} are one tensor in the network, and differ in the file; it is of "
                "another network"
            )
    return found[there[0]] if there else None


def _prefixes(given: Collection[str], wanted: Collection[str], called: str) -> tuple[str, str]:
    """Return what to take off the file's names and what to put before them, so that most of them fit.

    Raises:
        MetaprobeError: as many fit under one key as under another.
    """
    heads = {""} | {"".join(f"{part}." for part in name.split(".")[:n]) for name in given for n in (1, 2)}
    adds = {""} | {f"{name.split('.')[0]}." for name in wanted if "." in name}

    def fitting(pair: tuple[str, str]) -> tuple[int, int]:
        prefix, added = pair
        names = {added + name.removeprefix(prefix) for name in given if name.startswith(prefix)}
        return len(names & set(wanted)), -len(prefix) - len(added)

    pairs = [(prefix, "") for prefix in sorted(heads)] + [("", added) for added in sorted(adds)]
    best = max(pairs, key=fitting)
    for other in (prefix for prefix, added in pairs if not added and fitting((prefix, ""))[0] == fitting(best)[0] > 0):
        if not other.startswith(best[0]) and not best[0].startswith(other):
            told = f"weights that fit are under {visible(best[0][:-1], 60)} and under {visible(other[:-1], 60)}"
            raise MetaprobeError(f"{called}: {told}; say which with --key")
    return best


def _misfit(
    name: str,
    shape: tuple[int, ...],
    value: Tensor | None,
    found: Mapping[str, tuple[int, ...]],
    head: str,
    called: str,
) -> MetaprobeError:
    shown = visible(name, 80)
    if value is not None and name.partition(".")[0] == head:
        return MetaprobeError(
            f"{called}: {shown} is {tuple(value.shape)}, and with these ways the network expects {shape}: give the "
            "--n-way that it was trained for, or --new-head for a freshly drawn head"
        )
    if value is not None:
        return MetaprobeError(
            f"{called}: {shown} is {tuple(value.shape)}, the network expects {shape}; give the --network-args, "
            "--channels or --image-size that it was trained with"
        )
    close = difflib.get_close_matches(name, list(found), n=3, cutoff=0.3)
    alike = [other for other in found if found[other] == shape and other not in close][: 3 - len(close[:1])]
    nearest = ", ".join(f"{visible(other, 60)} {found[other]}" for other in (*close, *alike)) or "nothing like it"
    more = "; --new-head draws one freshly" if name.partition(".")[0] == head else ""
    return MetaprobeError(
        f"{called}: it has no {shown} {shape}, which the network expects; nearest are {nearest}{more}"
    )
