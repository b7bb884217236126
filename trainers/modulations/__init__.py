"""What an embedding of the task makes of the initialisation, one file each, and the registry."""

from __future__ import annotations

from metaprobe.trainers.errors import entry_named
from metaprobe.trainers.modulations.base import Modulation
from metaprobe.trainers.modulations.film import FILM
from metaprobe.trainers.modulations.tree import TREE

__all__ = ["MODULATIONS", "Modulation", "modulation_named"]

MODULATIONS: dict[str, Modulation] = {modulation.name: modulation for modulation in (FILM, TREE)}


def modulation_named(name: str) -> Modulation:
    """Return a modulation of the registry.

    Raises:
        MetaprobeError: there is none of that name; the message lists them.
    """
    return entry_named("modulation", name, MODULATIONS)
