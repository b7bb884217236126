"""What measures give on images that have nothing to do with each other, at the positions where they were.

The rows of a convolution are positions of images, and what lies at the edge looks alike in every image. A null that
exchanges rows singly breaks that up, too, and comes out too low: what it then calls similarity is in part that both
networks know the position. So whole images are exchanged: all rows of an image move together, and each stands where a
row of the same position stood. Images can replace each other when a sketch holds the same positions of them; they are
put in random order, and each is given the next one's rows. No image keeps its own, as one of ten would in a random
permutation of ten.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from metaprobe.analyses.measures.measure import Measure, Null
from metaprobe.analyses.measures.pair import Pair
from metaprobe.probe.moments import moments_of
from metaprobe.probe.store import Sketch

__all__ = ["PERMUTATIONS", "image_classes", "image_null", "image_orders", "null_ends", "ring_orders"]

PERMUTATIONS = 40
"""How many orders a null takes by default: enough for 2.5 and 97.5 % of them, see `null_ends`."""

_FEWEST = 39  # orders: the smallest of 39 values is their quantile 1/40

_NEEDED = 0.9  # of the rows


def image_null(
    x: Sketch, y: Sketch, measures: Sequence[Measure], generator: np.random.Generator, permutations: int = PERMUTATIONS
) -> tuple[Null, ...]:
    """Return what measures give when no image of x belongs to the image of y beside it (see the top of the file).

    Every value of a similarity is to be read against this one. Only XᵀY depends on the order, so each permutation
    costs one matrix product. Images that no other can replace are left out.

    Args:
        x: rows of one representation.
        y: the same rows of the other.
        measures: any; all are taken on the same permutations.
        generator: source of the orders.
        permutations: how many.

    Returns:
        One null a measure, in the order given; undefined, with the reason, where under 90 % of the rows are of images
        that can be replaced.

    Raises:
        ValueError: `permutations` is not positive, or the rows of x and y are not of the same images and positions.
    """
    if permutations < 1:
        raise ValueError(f"image null: permutations must be at least 1, got {permutations}")
    for name in ("tasks", "samples", "positions"):
        if not np.array_equal(getattr(x, name), getattr(y, name)):
            raise ValueError(f"image null: the {name} of the rows of x and y differ; align the sketches first")
    found = image_orders(x, generator, permutations)
    if isinstance(found, str):
        return tuple(Null(None, None, (), found) for _ in measures)
    own, orders, _ = found
    results = [[measure.apply(pair) for measure in measures] for pair in _pairs(x.rows[own], y.rows[own], orders)]
    return tuple(Null.of([row[i] for row in results]) for i in range(len(measures)))


def image_orders(
    sketch: Sketch, generator: np.random.Generator, permutations: int
) -> tuple[Int[np.ndarray, " row"], Iterator[Int[np.ndarray, " row"]], float] | str:
    """Return the rows of images that can be exchanged, and orders of these in each of which every image is another.

    Args:
        sketch: rows of either side.
        generator: source of the orders.
        permutations: how many.

    Returns:
        The rows; orders, as places among them; and the natural logarithm of how many different orders there are. Or,
        in one line, why there are none: under 90 % of the rows are of images that can be replaced.
    """
    classes = image_classes(sketch)
    kept = sum(rows.size for rows in classes)
    if kept < _NEEDED * len(sketch.rows) or not kept:
        return (
            f"image null: {kept} of {len(sketch.rows)} rows are of images that another image can replace (same "
            f"positions in the sketch), {_NEEDED:.0%} are needed; capture again, with at least two query images a task"
        )
    amount = sum(math.lgamma(len(rows)) for rows in classes)  # k images can be put in (k−1)! rings
    return np.concatenate([rows.ravel() for rows in classes]), _others(classes, generator, permutations), amount


def ring_orders(images: int, generator: np.random.Generator, permutations: int) -> Iterator[Int[np.ndarray, " image"]]:
    """Yield orders of so many images, in each of which every image is another."""
    return _others([np.arange(images)[:, None]], generator, permutations)


def null_ends(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Return the quantiles at 2.5 and 97.5 % of a null's values, where there are enough of them to have such.

    Of k values, q at share p is the one of rank p(k+1) (Davison and Hinkley 1997, section 2.4), which is among them for
    k ≥ 39; of fewer the smallest and the largest are quantiles at 1/(k+1) and k/(k+1), of six 14 and 86 %, and would be
    called something that they are not.

    Args:
        values: one an order, all finite.

    Returns:
        Both ends; None for both of fewer than 39 values.
    """
    if len(values) < _FEWEST:
        return None, None
    low, high = np.quantile(values, [0.025, 0.975], method="weibull")
    return float(low), float(high)


def image_classes(sketch: Sketch) -> list[Int[np.ndarray, "image row"]]:
    """Return the rows of images that can replace each other: a matrix a class, one image a row of it.

    Images (a task's query samples) are in one class when the sketch holds the same positions of them, in the same
    order. Classes of a single image are left out.
    """
    order = np.lexsort((np.arange(len(sketch.tasks)), sketch.samples, sketch.tasks))
    tasks, samples = sketch.tasks[order], sketch.samples[order]
    firsts = np.flatnonzero(np.r_[True, (np.diff(tasks) != 0) | (np.diff(samples) != 0)][: len(order)])
    lengths = np.diff(np.r_[firsts, len(order)])
    classes: list[tuple[int, np.ndarray]] = []
    for length in np.unique(lengths):
        images = order[firsts[lengths == length, None] + np.arange(length)]
        kind = np.unique(sketch.positions[images], axis=0, return_inverse=True)[1].ravel()
        for one in np.unique(kind):
            alike = np.flatnonzero(kind == one)
            if len(alike) > 1:
                classes.append((int(np.flatnonzero(lengths == length)[alike[0]]), images[alike]))
    return [images for _, images in sorted(classes, key=lambda found: found[0])]


def _others(
    classes: Sequence[Int[np.ndarray, "image row"]], generator: np.random.Generator, permutations: int
) -> Iterator[Int[np.ndarray, " row"]]:
    """Yield for each permutation the place, among all rows of all classes, of the row that each row is given."""
    sizes = np.array([len(rows) for rows in classes])
    lengths = np.repeat([rows.shape[1] for rows in classes], sizes)  # rows of each image
    firsts = np.cumsum(lengths) - lengths
    image = np.repeat(np.arange(len(lengths)), lengths)  # of each row
    within = np.arange(len(image)) - firsts[image]
    before = np.cumsum(sizes) - sizes
    alike = [before[sizes == size, None] + np.arange(size) for size in np.unique(sizes)]  # (class, image)
    given = np.empty(len(lengths), dtype=np.int64)
    for _ in range(permutations):
        for images in alike:
            order = generator.permuted(images, axis=1)
            given[order] = np.roll(order, -1, axis=1)
        yield firsts[given][image] + within


def _pairs(
    x: Float[np.ndarray, "row feature"], y: Float[np.ndarray, "row other"], orders: Iterable[Int[np.ndarray, " row"]]
) -> Iterator[Pair]:
    """Yield `Pair.of_moments` of x and reordered y; whatever is of one side alone is computed once."""
    moments, p = moments_of(x, y), x.shape[1]
    left, right = _with_square(x, moments.mean[:p]), _with_square(y, moments.mean[p:])
    exchanged = np.empty_like(right)
    for order in orders:
        products = left.T @ np.take(right, order, axis=0, out=exchanged, mode="clip")  # "raise" would copy twice
        scatter, cubic, quartic = moments.scatter.copy(), moments.cubic.copy(), moments.quartic.copy()
        scatter[:p, p:], scatter[p:, :p] = products[:-1, :-1], products[:-1, :-1].T
        cubic[0, p:], cubic[1, :p], quartic[1] = products[-1, :-1], products[:-1, -1], products[-1, -1]
        yield Pair.of_moments(dataclasses.replace(moments, scatter=scatter, cubic=cubic, quartic=quartic))


def _with_square(
    rows: Float[np.ndarray, "row feature"], mean: Float[np.ndarray, " feature"]
) -> Float[np.ndarray, "row column"]:
    """Return the centred rows with their squared lengths as a last column, in float64."""
    centred = rows.astype(np.float64) - mean
    return np.column_stack([centred, np.einsum("ij,ij->i", centred, centred)])
