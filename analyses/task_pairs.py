"""One task after the other, of a store or of two: what a similarity of that task alone is computed from.

Before against after adaptation all samples of a task count: their moments are in the store. Of two checkpoints they
are not; there the sketches' rows of the task count, and where both stores hold raw activations, every position. A null
exchanges the sketches' images. Measures of whole images read raw activations, or the sketch of a layer that gives one
row an image.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.aligned import Aligned, aligned_rows, belonging, taken, too_few
from metaprobe.analyses.image_null import image_orders, ring_orders
from metaprobe.analyses.measures.pair import Pair
from metaprobe.probe.moments import moments_of
from metaprobe.probe.store import Sketch, Store
from metaprobe.probe.store.metadata import LayerInfo, Samples

__all__ = ["TaskPair", "alike_since", "before_and_after", "of_two_stores", "rows_of"]

Images = tuple[Float[np.ndarray, "image feature"], Float[np.ndarray, "image other"]]


@dataclass(frozen=True, eq=False)
class TaskPair:
    """Two layers on one task.

    Attributes:
        whole: all samples that there are; or why there is nothing to compare.
        x: the sketch's rows of the task, of which a null exchanges images.
        y: the same rows of the second layer.
        eps: machine epsilons of what x and y were computed in.
        images: whole images, a row each; or why there are none.
    """

    whole: Pair | str
    x: Sketch
    y: Sketch
    eps: tuple[float, float]
    images: Images | str

    @functools.cached_property
    def image_pair(self) -> Pair | str:
        """The whole images as a pair that can be exchanged; or why there is none."""
        if isinstance(self.images, str):
            return self.images
        if len(self.images[0]) < 2:
            return "1 image is too few"
        return Pair.of_arrays(*self.images, eps=self.eps, reduced=False)

    def exchangeable(
        self, kind: str, generator: np.random.Generator, orders: int
    ) -> tuple[Pair, Iterator[Int[np.ndarray, " row"]], float] | str:
        """Return what a null is of, orders in each of which every image is another, and the logarithm of their number.

        Args:
            kind: "moments" for the sketch's rows, "images" for whole images.
            generator: source of the orders.
            orders: how many.

        Returns:
            These; or why there are none.
        """
        if kind == "images":
            if isinstance(pair := self.image_pair, str):
                return pair
            return pair, ring_orders(pair.n, generator, orders), math.lgamma(pair.n)
        if isinstance(self.whole, str):
            return self.whole
        found = image_orders(self.x, generator, orders)
        if isinstance(found, str):
            return found
        own, ways, amount = found
        return Pair.of_arrays(self.x.rows[own], self.y.rows[own], eps=self.eps, reduced=False), ways, amount


@dataclass(frozen=True)
class _Layer:
    """A layer at a step of a store."""

    store: Store
    name: str
    step: int

    @property
    def info(self) -> LayerInfo:
        return self.store.layer(self.name)

    def sketch(self) -> Sketch:
        return self.store.sketch(self.name, self.step)

    def images(self, task: int, rows: Sketch) -> np.ndarray | str:
        """Return one task's images, each flattened to a row; or why there are none."""
        if self.store.metadata.raw is not None:
            block = self.store.activations(self.name, self.step, task)
            return block.reshape(len(block), -1)
        if self.info.samples == "images" and len(rows.rows) == self.store.metadata.n_query:
            return rows.rows
        return f"{self.name}: whole images are needed, the store has a sketch of rows; capture with raw=True (--raw)"

    def every_row(self, task: int) -> Sketch:
        """Return all rows of one task, from raw activations."""
        return rows_of(self.info, self.store.activations(self.name, self.step, task), task)


def rows_of(info: LayerInfo, block: Float[np.ndarray, "image ..."], task: int = 0) -> Sketch:
    """Return all rows of a layer's whole activations of one task's images; ids and labels, which none reads, are 0.

    Args:
        info: the layer.
        block: its activations.
        task: the place of the task.
    """
    rows = np.moveaxis(block, info.channel_axis + 1, -1).reshape(-1, info.features)
    sample, position = np.divmod(np.arange(len(rows)), info.positions)
    unknown = np.zeros_like(sample)
    return Sketch(rows, np.full(len(rows), task), sample, position, unknown, unknown)


def alike_since(store: Store, layer: str) -> dict[int, int]:
    """Return since which step a layer is as it is at each step, bit for bit: a body that never moves since the first.

    What is the same has the same similarity, null and interval, and they are computed once.
    """

    def same(step: int, other: int) -> bool:
        if not np.array_equal(store.sketch(layer, step).rows, store.sketch(layer, other).rows, equal_nan=True):
            return False
        both = ((store.moments(layer, at, task) for at in (step, other)) for task in range(store.tasks))
        sums = ("mean", "scatter", "cubic", "quartic")
        return all(np.array_equal(getattr(a, name), getattr(b, name)) for a, b in both for name in sums)

    since = {step: step for step in store.steps}
    for before, step in itertools.pairwise(store.steps):
        since[step] = since[before] if same(before, step) else step
    return since


def before_and_after(store: Store, layer: str, step: int, *, images: bool) -> Iterator[TaskPair]:
    """Yield each task of a store: a layer before and after `step` inner steps.

    Args:
        store: an open store.
        layer: its name.
        step: inner step.
        images: whether whole images are read.
    """
    one, other = _Layer(store, layer, 0), _Layer(store, layer, step)
    x, y, eps = one.sketch(), other.sketch(), (one.info.eps, one.info.eps)
    for task in range(store.tasks):
        moments, here = store.moments(layer, step, task), np.flatnonzero(x.tasks == task)
        whole = Pair.of_moments(moments) if moments.n > 1 else "1 sample is too few"
        pair = TaskPair(whole, taken(x, here), taken(y, here), eps, "")
        yield dataclasses.replace(pair, images=_images(one, other, task, pair)) if images else pair


def of_two_stores(
    a: Store, b: Store, layers: tuple[str, str], steps: tuple[int, int], *, images: bool
) -> tuple[Samples, Iterator[TaskPair]]:
    """Return what a sample is, and each task of two stores that hold the same tasks.

    Args:
        a: a store.
        b: another.
        layers: of a and of b.
        steps: inner step of a and of b, 0 being before adaptation.
        images: whether whole images are read.
    """
    one, other = _Layer(a, layers[0], steps[0]), _Layer(b, layers[1], steps[1])
    rows = aligned_rows(a, b, layers, steps)
    return rows.samples, _of_two(one, other, rows, images)


def _of_two(one: _Layer, other: _Layer, rows: Aligned, images: bool) -> Iterator[TaskPair]:
    infos = (one.info, other.info)
    raw = None not in (one.store.metadata.raw, other.store.metadata.raw)
    for task in range(one.store.tasks):
        here = np.flatnonzero(rows.x.tasks == task)
        shared = dataclasses.replace(rows, x=taken(rows.x, here), y=taken(rows.y, here))
        used = belonging(one.every_row(task), other.every_row(task), infos) if raw else shared
        eps = (_eps(infos[0], used.x), _eps(infos[1], used.y))
        whole: Pair | str = used.reason
        if not whole and len(used.x.rows) < max(2, used.needed):
            whole = too_few(used, infos) if used.needed else f"{len(used.x.rows)} rows of the task are in the sketches"
        if not whole:
            moments = moments_of(used.x.rows, used.y.rows)
            whole = Pair.of_moments(dataclasses.replace(moments, eps=eps))
        pair = TaskPair(whole, shared.x, shared.y, (_eps(infos[0], shared.x), _eps(infos[1], shared.y)), "")
        yield dataclasses.replace(pair, images=_images(one, other, task, pair)) if images else pair


def _eps(info: LayerInfo, rows: Sketch) -> float:
    return max(info.eps, float(np.finfo(rows.rows.dtype).eps))


def _images(one: _Layer, other: _Layer, task: int, pair: TaskPair) -> Images | str:
    x, y = one.images(task, pair.x), other.images(task, pair.y)
    if isinstance(x, str):
        return x
    return y if isinstance(y, str) else (x, y)
