"""The activation store: what a capture leaves on disk. No torch."""

from __future__ import annotations

from metaprobe.probe.store.metadata import LayerInfo, RawOptions, StoreMetadata
from metaprobe.probe.store.reading import Sketch, Store, open_store

__all__ = ["LayerInfo", "RawOptions", "Sketch", "Store", "StoreMetadata", "open_store"]
