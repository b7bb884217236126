"""Two stores of one task set: whether they are that, and which rows of two layers belong together.

Layers whose feature maps have the same size line up row by row, since a sketch picks the same positions of the same
images in every store of a task set. Where one map is finer than the other, the coarser one is repeated to the finer
one's size (nearest-neighbour upsampling): a position of the finer map belongs with the coarser map's cell that its
centre lies in, and a layer without positions, such as the head, belongs with every position of its image. Of these
pairs the sketches hold a random part, those of which both sides were picked; so what is estimated does not depend on
the size of the sketch. (Means over the picked positions of an image would: they are the noisier the fewer there are.)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from metaprobe.probe.store import Sketch, Store
from metaprobe.probe.store.metadata import LayerInfo, Samples, StoreMetadata
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["Aligned", "aligned_rows", "belonging", "check_same_tasks", "taken", "too_few"]

_ROWS_PER_FEATURE = 5  # of either side, when rows were found by overlap: fewer make CCA large whatever the data are

_FACTS: dict[str, Callable[[StoreMetadata], object]] = {
    "data": lambda m: f"{m.data or 'unnamed'} ({m.data_fingerprint[:12] or 'no fingerprint'})",
    "split": lambda m: m.split or "not told",
    "number of tasks": lambda m: m.n_tasks,
    "classes in a task": lambda m: m.n_way,
    "support images in a task": lambda m: m.n_support,
    "query images in a task": lambda m: m.n_query,
    "seed of the tasks": lambda m: "not told" if m.task_seed is None else m.task_seed,
    "seed of the sketch": lambda m: m.sketch_seed,
    "most rows of a sketch": lambda m: m.sketch_rows,
}
_IDENTITY: dict[str, Callable[[StoreMetadata], object]] = _FACTS | {"data": lambda m: m.data_fingerprint}


@dataclass(frozen=True, eq=False)
class Aligned:
    """Rows of two layers that belong together, or why there are none.

    Attributes:
        x: rows of the first layer.
        y: row i belongs with row i of x. Both have the tasks, samples, ids and labels of the finer map's rows, and its
            positions.
        samples: "images" where both layers give one row an image, else "positions" (those of the finer map).
        reason: why the layers cannot be compared, or empty; then x and y have no rows.
        needed: rows that a comparison needs, 0 where the two maps are of one size.
    """

    x: Sketch
    y: Sketch
    samples: Samples
    reason: str = ""
    needed: int = 0


def check_same_tasks(a: Store, b: Store) -> None:
    """Refuse two stores whose rows are not of the same query images of the same tasks.

    Raises:
        MetaprobeError: names both stores, says in what their task sets differ, and what to do.
    """
    for name, identity in _IDENTITY.items():
        if identity(a.metadata) != identity(b.metadata):
            raise _other_tasks(a, b, name, _FACTS[name](a.metadata), _FACTS[name](b.metadata))
    if a.task_indices != b.task_indices:
        place = next(i for i, pair in enumerate(zip(a.task_indices, b.task_indices, strict=True)) if len(set(pair)) > 1)
        raise _other_tasks(a, b, f"index of the task in place {place}", a.task_indices[place], b.task_indices[place])
    for kind in ("support_ids", "support_labels", "query_ids", "query_labels"):
        ours, theirs = a._values(f"tasks/{kind}"), b._values(f"tasks/{kind}")
        if not np.array_equal(ours, theirs):
            task, image = (int(i) for i in np.argwhere(ours != theirs)[0])
            what = f"{kind.replace('_', ' ')} of task {a.task_indices[task]}, image {image}"
            raise _other_tasks(a, b, what, int(ours[task, image]), int(theirs[task, image]))


def aligned_rows(a: Store, b: Store, layers: tuple[str, str], steps: tuple[int, int]) -> Aligned:
    """Return the rows of a layer of one store and a layer of another that belong together (top of this file).

    Args:
        a: a store.
        b: a store of the same tasks (`check_same_tasks`).
        layers: of a and of b.
        steps: inner step of a and of b, 0 being before adaptation.

    Raises:
        MetaprobeError: no such layer or step.
        UnreadableInput: a store is damaged.
    """
    x, y = a.sketch(layers[0], steps[0]), b.sketch(layers[1], steps[1])
    rows = belonging(x, y, (a.layer(layers[0]), b.layer(layers[1])))
    reason = rows.reason
    if not reason and not rows.needed and len(rows.x.rows) < max(len(x.rows), len(y.rows)):
        reason = (
            f"only {len(rows.x.rows)} of {len(x.rows)} rows are in both sketches, though the layers are of one size: "
            "another version of metaprobe picked one of them; capture again"
        )
    elif not reason and len(rows.x.rows) < rows.needed:
        reason = too_few(rows, (a.layer(layers[0]), b.layer(layers[1])))
    if not reason:
        return rows
    nothing = np.arange(0)
    return dataclasses.replace(rows, x=taken(rows.x, nothing), y=taken(rows.y, nothing), reason=reason)


def belonging(x: Sketch, y: Sketch, layers: tuple[LayerInfo, LayerInfo]) -> Aligned:
    """Return the rows of x and of y that belong together, however few (top of this file).

    Args:
        x: rows of a layer.
        y: rows of another layer, on the same tasks.
        layers: what the two are.
    """
    one, other = layers
    samples: Samples = "images" if one.samples == other.samples == "images" else "positions"
    grids = (one.grid, other.grid)
    common = _common(*grids)
    if common is None:
        sizes = " and ".join("×".join(map(str, grid)) for grid in grids)
        reason = f"feature maps of {sizes} positions: neither is finer than the other in every direction"
        return Aligned(taken(x, np.arange(0)), taken(y, np.arange(0)), samples, reason)
    places = [_places(sketch, grid, common) for sketch, grid in zip((x, y), grids, strict=True)]
    first = math.prod(grids[0]) >= math.prod(grids[1])  # whether that is the finer one
    kept_x, kept_y = _matched(*places) if first else _matched(*places[::-1])[::-1]
    needed = 0 if grids[0] == grids[1] else _ROWS_PER_FEATURE * (one.features + other.features)
    x, y = taken(x, kept_x), taken(y, kept_y)
    if first:
        return Aligned(x, dataclasses.replace(x, rows=y.rows), samples, needed=needed)
    return Aligned(dataclasses.replace(y, rows=x.rows), y, samples, needed=needed)


def too_few(rows: Aligned, layers: tuple[LayerInfo, LayerInfo]) -> str:
    """Say that so few places of two feature maps belong together, and what to do."""
    return (
        f"the sketches share {len(rows.x.rows)} places of the two feature maps, {rows.needed} are needed for "
        f"{layers[0].features} and {layers[1].features} features; capture fewer tasks, or more rows of each"
    )


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the coarser of two grids; None where neither is. A grid of no axes is one cell, the image."""
    if not one or not other:
        return ()
    if len(one) != len(other):
        return None
    if all(a >= b for a, b in zip(one, other, strict=True)):
        return other
    return one if all(a <= b for a, b in zip(one, other, strict=True)) else None


def _places(sketch: Sketch, grid: tuple[int, ...], common: tuple[int, ...]) -> Int[np.ndarray, "row 3"]:
    """Return (task, sample, cell of the common grid) of each row; position p of g lies in cell ⌊(p + ½)·c/g⌋ of c."""
    cell = np.zeros(len(sketch.positions), dtype=np.int64)
    if common:
        at = np.unravel_index(sketch.positions, grid)
        cells = [(2 * p + 1) * c // (2 * g) for p, g, c in zip(at, grid, common, strict=True)]
        cell = np.ravel_multi_index(cells, common)
    return np.stack([sketch.tasks, sketch.samples, cell], axis=1)


def _matched(
    fine: Int[np.ndarray, "row 3"], coarse: Int[np.ndarray, "other 3"]
) -> tuple[Int[np.ndarray, " kept"], Int[np.ndarray, " kept"]]:
    """Return rows of the finer sketch and the coarser one's row for each; rows without one are left out."""
    _, samples, cells = np.maximum(fine.max(axis=0), coarse.max(axis=0)) + 1
    keys, known = ((places[:, 0] * samples + places[:, 1]) * cells + places[:, 2] for places in (fine, coarse))
    order = np.argsort(known, kind="stable")
    found = np.searchsorted(known[order], keys).clip(max=len(known) - 1)
    there = known[order][found] == keys
    return np.flatnonzero(there), order[found[there]]


def taken(sketch: Sketch, rows: np.ndarray) -> Sketch:
    """Return some rows of a sketch."""
    parts = (sketch.rows, sketch.tasks, sketch.samples, sketch.positions, sketch.ids, sketch.labels)
    return Sketch(*(part[rows] for part in parts))


def _other_tasks(a: Store, b: Store, what: str, ours: object, theirs: object) -> MetaprobeError:
    return MetaprobeError(
        f"{a.path} and {b.path} were not captured on the same tasks: {what}: expected {ours}, as in {a.path.name}, got "
        f"{theirs} in {b.path.name}; capture one of them again with the same --data, --tasks, --seed and --n-query"
    )
