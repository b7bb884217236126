"""Weights that were trained elsewhere, made into a checkpoint that every command takes."""

from __future__ import annotations

from metaprobe.probe.importing.making import Imported, Wanted, import_weights

__all__ = ["Imported", "Wanted", "import_weights"]
