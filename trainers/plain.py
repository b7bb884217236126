"""Configs as plain values, for JSON and TOML, and back. No torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from metaprobe.trainers.errors import MetaprobeError, UnreadableInput, unknown_name

__all__ = ["LATER", "checked_values", "completed", "from_mapping", "to_mapping"]

T = TypeVar("T")

LATER = {"later": True}
"""`metadata` of a dataclass field that files of earlier versions lack. At its default it is left out of a mapping, so
that those files, their hashes and what was measured of them stay what they were."""


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a config as plain values (tuples as lists), for JSON or TOML; an option left out is left out there."""
    values = dataclasses.asdict(config)
    silent = {name for name, value in _later(type(config)).items() if values[name] == value}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None and name not in silent
    }


def completed(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `to_mapping` made of a dataclass, with the defaults that it left out, unless they are None."""
    return {name: value for name, value in _later(kind).items() if value is not None} | dict(values)


def from_mapping(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """Build a config from plain values.

    Args:
        kind: the dataclass to build.
        values: its fields, as `to_mapping` gives them.
        where: what the values were read from, for the error.

    Raises:
        UnreadableInput: a field is missing, unknown, or of the wrong type.
    """
    found = checked_values(kind, values, where)
    try:
        return kind(**found)
    except (TypeError, MetaprobeError) as error:
        raise UnreadableInput(f"{where}: not a {kind.__name__}: {error}") from error


def checked_values(kind: type, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return fields of a config, some or all of them, each as its type is.

    Args:
        kind: the dataclass that has them.
        values: plain values by name.
        where: what they were read from, for the error.

    Raises:
        UnreadableInput: they are no mapping, or a field is unknown or of the wrong type.
    """
    if not isinstance(values, Mapping):  # of JSON, which may hold anything
        raise UnreadableInput(f"{where}: expected options by name, got a {type(values).__name__}")
    hints = get_type_hints(kind)
    if unknown := sorted(set(values) - set(hints)):
        raise UnreadableInput(f"{where}: {unknown_name('option', unknown[0], hints)}")
    try:
        return {name: _checked(name, value, hints[name]) for name, value in values.items()}
    except TypeError as error:
        raise UnreadableInput(f"{where}: option {error}") from error


def _checked(name: str, value: Any, hint: Any) -> Any:
    """Return the value as the hint's type, or raise TypeError: a JSON file may hold anything."""
    allowed = get_args(hint) if get_origin(hint) is not tuple else ()
    if get_origin(hint) is Literal:
        fits = value in allowed
    elif (items := _items(value, hint)) is not None:
        fits = isinstance(value, list | tuple) and len(value) == len(items)
        if fits:
            parts = (_checked(f"{name}[{place}]", *each) for place, each in enumerate(zip(value, items, strict=True)))
            return hint(*parts) if hasattr(hint, "_fields") else tuple(parts)
    elif allowed:  # a union with None; TOML and JSON leave None out
        return None if value is None else _checked(name, value, allowed[0])
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        value = float(value) if fits else value
    else:
        fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    if not fits:
        told = " or ".join(map(repr, allowed)) if allowed else getattr(hint, "__name__", hint)
        raise TypeError(f"{name} is {value!r}, expected {told}")
    return value


def _items(value: Any, hint: Any) -> tuple[Any, ...] | None:
    """Return the hint of each item of a tuple or a NamedTuple, of as many as the value has where any number may be."""
    if hasattr(hint, "_fields"):
        return tuple(get_type_hints(hint).values())
    if get_origin(hint) is not tuple:
        return None
    items = get_args(hint)
    return items[:1] * len(value) if items[-1] is ... and isinstance(value, list | tuple) else items


def _later(kind: Any) -> dict[str, Any]:
    """Return the fields that earlier versions lack, with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(kind) if field.metadata.get("later")}
