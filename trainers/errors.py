"""What goes wrong, as the command line and the Python API report it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

__all__ = ["MetaprobeError", "UnreadableInput", "entry_named", "flag_of", "unknown_name"]

Entry = TypeVar("Entry")


class MetaprobeError(Exception):
    """A request that cannot be carried out as asked; the message says what to do (exit status 2)."""

    exit_code = 2


class UnreadableInput(MetaprobeError):
    """An input that is missing, damaged or hostile (exit status 3)."""

    exit_code = 3


def flag_of(name: str) -> str:
    """Return an option as it is given on the command line, "--inner-lr", from the name of its field."""
    return f"--{name.replace('_', '-')}"


def unknown_name(kind: str, got: str, known: Iterable[str], near: Iterable[str] | None = None) -> MetaprobeError:
    """Build the error for a name that is not known, with its close matches and the full list.

    Args:
        kind: what was named, in the singular ("algorithm", "layer").
        got: the name that was given.
        known: the names that would have been accepted; all of them, but where there are more in `near`.
        near: where close matches are looked for (default: in `known`).

    Returns:
        The error, for the caller to raise.
    """
    names = list(known)
    close = difflib.get_close_matches(got, names if near is None else list(near), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return MetaprobeError(f"unknown {kind} {got!r}.{hint} Known: {', '.join(names)}.")


def entry_named(kind: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """Return an entry by its name; one that there is not is an `unknown_name` of this kind."""
    if name not in entries:
        raise unknown_name(kind, name, entries)
    return entries[name]
