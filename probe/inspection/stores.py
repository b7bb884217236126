"""Activation stores as tables: what `metaprobe inspect STORE.h5` prints. No torch."""

from __future__ import annotations

from pathlib import Path

from metaprobe.probe.show import Grid
from metaprobe.probe.store import open_store

__all__ = ["store_grids"]


def store_grids(path: Path) -> tuple[Grid, Grid]:
    """Return what a store says of itself, and its layers.

    Raises:
        UnreadableInput: it is damaged, or HDF5 of another kind.
    """
    with open_store(path) as store:
        told = store.metadata
    of = told.checkpoint
    facts = (
        ("path", str(path)),
        ("kind", "activation store"),
        ("bytes", path.stat().st_size),
        ("captured from", told.fingerprint[:12]),
        ("algorithm", None if of is None else str(of.config.get("algorithm"))),
        ("data", told.data),
        ("split", told.split),
        ("tasks", told.n_tasks),
        ("ways", told.n_way),
        ("queries a task", told.n_query),
        ("inner rate", told.adaptation.inner_lr),
        ("layers that adapted", ", ".join(told.adaptation.layers)),
        ("moments after inner steps", told.steps),
        ("normalisation", told.normalisation),
        ("rows of a sketch", told.sketch_rows),
        ("whole activations", "no" if told.raw is None else told.raw.dtype),
    )
    layers = tuple(
        (one.name, one.shape, one.channel_axis, one.features, one.positions, one.samples, one.dtype)
        for one in told.layers
    )
    columns = ("layer", "shape", "axis of features", "features", "rows an image", "samples", "dtype")
    return Grid("store", ("what", "value"), facts), Grid("layers", columns, layers)
