"""Registries that other distributions add to by entry points, `metaprobe.algorithms` and its like. No torch.

A plug-in is imported when its registry is asked for what it does not know, or for all that it holds; not before, so
that `--help` and the built-in names wait for nobody.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, MutableMapping
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar

from metaprobe.trainers.formats.text import visible

__all__ = ["Registry", "homes_of_plugins"]


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=_Named)


class Registry(MutableMapping[str, Entry]):
    """What there is of a kind, by name: metaprobe's own, then that of plug-ins.

    A plug-in that cannot be imported, is something else, or has a name that is taken, is left out with a warning that
    names its distribution: what others added still works.

    Args:
        kind: of what, in the plural, the end of the entry points' group ("measures").
        of: the class of an entry.
        own: metaprobe's own, in the order in which they are listed.
    """

    def __init__(self, kind: str, of: type[Entry], own: Iterable[Entry]) -> None:
        self._group, self._of = f"metaprobe.{kind}", of
        self._entries = {entry.name: entry for entry in own}
        self._homes: dict[str, str] = {}  # of those of plug-ins
        self._looked = False

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            self._look()
        return self._entries[name]

    def __setitem__(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._look()
        return iter(self._entries)

    def __len__(self) -> int:
        self._look()
        return len(self._entries)

    def _look(self) -> None:
        """Import the plug-ins, once; in the order of their names, so that all processes have one order."""
        if self._looked:
            return
        self._looked = True  # first: a plug-in may ask for the registry while it is imported
        for point in sorted(entry_points(group=self._group), key=lambda point: (point.name, point.value)):
            if problem := self._add(point):
                told = f"plug-in {visible(point.name, 60)} of {_home(point)} ({self._group}) is left out: {problem}"
                warnings.warn(told, stacklevel=4)

    def _add(self, point: EntryPoint) -> str:
        """Take what an entry point leads to; return why it is not taken, "" where it is."""
        if point.name in self._entries:
            return f"{self._homes.get(point.name, 'metaprobe itself')} has that name; rename one of them"
        try:
            found = point.load()
        except Exception as error:  # whatever a plug-in raises must not keep others from their work
            told = visible(" ".join(str(error).split()), 300)
            return (
                f"importing {visible(point.value, 80)} failed: {type(error).__name__}: {told}; update or uninstall it"
            )
        if not isinstance(found, self._of):
            return f"{visible(point.value, 80)} is of class {type(found).__name__}, expected {self._of.__name__}"
        if found.name != point.name:
            return f"it calls itself {visible(found.name, 60)!r}; its entry point and its name must agree"
        self._entries[found.name], self._homes[found.name] = found, _home(point)
        return ""


def homes_of_plugins() -> list[str]:
    """Return the distributions that add to registries, with their versions: what they do is part of any result."""
    groups, found = ("algorithms", "datasets", "measures", "studies"), entry_points()  # which looks at every package
    return sorted({_home(point) for group in groups for point in found.select(group=f"metaprobe.{group}")})


def _home(point: EntryPoint) -> str:
    return "an unknown distribution" if point.dist is None else f"{point.dist.name} {point.dist.version}"
