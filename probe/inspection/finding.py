"""Where tensors are in what a file of torch.save holds: nested containers of tensors and plain values."""

from __future__ import annotations

import argparse
import reprlib
from collections.abc import Mapping
from typing import Any

from metaprobe.probe.inspection.pickle_listing import RefusedError
from metaprobe.probe.inspection.wrapping import USUAL
from metaprobe.trainers.formats.text import visible

__all__ = ["SHORT", "choose", "is_tensor", "leaves"]

_CONTAINERS = (Mapping, list, tuple, argparse.Namespace)
_DEPTH_LIMIT = 16
_LEAF_LIMIT = 200_000


def is_tensor(value: object) -> bool:
    """Tell whether a value is a tensor of torch's."""
    import torch

    return isinstance(value, torch.Tensor)


def choose(content: object, key: str | None) -> tuple[str, object, dict[str, object]]:
    """Return the key that the weights are under, the weights, and what lies beside them.

    Args:
        content: of the file.
        key: what was asked for, dotted; None for what is usual.

    Raises:
        RefusedError: there is no such key.
    """
    if key is not None:
        return _asked(content, key)
    if not isinstance(content, Mapping):
        return "", content, {}
    usual = [key for key in USUAL if isinstance(content.get(key), Mapping) and _has_tensors(content[key])]
    if "param_groups" in content:  # an optimiser by itself
        usual = []
    if len(usual) != 1:
        return "", content, {}
    own = usual[0]
    beside = {_key(other): value for other, value in content.items() if other != own}
    inner, weights, more = choose(content[own], None)  # as some save {"model": {"state_dict": …, "epoch": …}}
    return (f"{own}.{inner}" if inner else own), weights, beside | more


def _asked(content: object, key: str) -> tuple[str, object, dict[str, object]]:
    found, beside = content, dict[str, object]()
    for part in key.split("."):
        inner = {_key(name): value for name, value in _inner(found) or []}
        if part not in inner:
            known = ", ".join(visible(name, 40) for name in list(inner)[:20]) or "none"
            raise RefusedError(f"there is no {visible(key, 60)!r} in it: {visible(part, 40)!r} is not among {known}")
        beside |= {name: value for name, value in inner.items() if name != part}
        found = inner[part]
    return key, found, beside


def _has_tensors(content: object) -> bool:
    return any(is_tensor(leaf) for _, leaf in leaves(content))


def _key(key: object) -> str:
    return key if isinstance(key, str) else SHORT.repr(key)  # of a tuple of tuples of … no more than a line


def leaves(content: object) -> list[tuple[str, Any]]:
    """Return every tensor and plain value in nested containers, named by its dotted path."""
    found: dict[str, Any] = {}
    waiting: list[tuple[str, object, int]] = [("", content, 0)]
    while waiting:
        name, value, depth = waiting.pop()
        inner = _inner(value)
        if depth > _DEPTH_LIMIT or len(found) + len(waiting) > _LEAF_LIMIT:  # a few shared references can be 2^n paths
            raise RefusedError(f"its content is nested more than {_DEPTH_LIMIT} deep or has over {_LEAF_LIMIT:,} parts")
        if inner is None:
            if name in found:
                raise RefusedError(f"it holds two things named {visible(name, 80)!r}")
            found[name or "(content)"] = value
        else:
            waiting += [
                (f"{name}.{_key(key)}" if name else _key(key), each, depth + 1) for key, each in reversed(inner)
            ]
    return list(found.items())


def _inner(value: object) -> list[tuple[object, object]] | None:
    if isinstance(value, argparse.Namespace):
        return list(vars(value).items())
    if isinstance(value, Mapping):
        return list(value.items())
    if type(value) in (list, tuple) and any(is_tensor(each) or isinstance(each, _CONTAINERS) for each in value):  # type: ignore[attr-defined]
        return list(enumerate(value))  # type: ignore[call-overload]
    return None  # a list of plain values, such as a loss history, is one value


class _Short(reprlib.Repr):
    """A few words about a value; of strange objects (a bare storage of gigabytes) the type alone."""

    def repr_instance(self, x: object, level: int) -> str:
        return super().repr_instance(x, level) if type(x).__name__ in _SIMPLE else f"<{type(x).__name__}>"


_SIMPLE = {"float", "bool", "NoneType", "complex", "bytes", "dtype", "Size", "device"}
SHORT = _Short()
"""Writes a few words about a value."""
