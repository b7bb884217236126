"""Two files of activations of the same samples: every layer of one against those of the other.

Arrays that fit are compared as they are; larger ones stream by, and their joint moments are kept, which tell all
measures but those of whole images. Samples are what is independent, or groups of them where those are given: intervals
are over these (`analyses.arrays.resampling`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from metaprobe.analyses.arrays.array import ArrayFile, Samples
from metaprobe.analyses.arrays.resampling import MOST_GROUPS, Part, resampled, summed
from metaprobe.analyses.arrays.view import Together, View
from metaprobe.analyses.bootstrap import REPLICATES
from metaprobe.analyses.compared import Compared, measured_rows
from metaprobe.analyses.image_null import PERMUTATIONS, image_null, ring_orders
from metaprobe.analyses.measures.measure import DEFAULTS, Measure, Null
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.table import Row, Table
from metaprobe.probe.store import Sketch
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["similarity_of_arrays"]

_NULL_ROWS = 20_000  # of a null, as of a store's sketch
_COPIES = 3  # of an array in float64 that comparing it takes, about


def similarity_of_arrays(
    a: ArrayFile,
    b: ArrayFile,
    measures: Sequence[Measure] = DEFAULTS,
    *,
    layers: Literal["all", "matching"] = "all",
    samples: Samples = "positions",
    channel_axis: int | None = None,
    groups: np.ndarray | None = None,
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Compare the layers of two files, or of one with itself.

    Args:
        a: activations (sample, …) by layer.
        b: of the same samples in the same order; `a` itself compares its layers with each other.
        measures: which.
        layers: "all", every layer of a against every layer of b; or "matching", those of the same name.
        samples: of arrays of more than two axes, every position is a sample and the channels are its features
            ("positions"), or the whole of it, flattened ("images").
        channel_axis: where features are then; None for 1 of four axes and −1 of three.
        groups: of each sample, counted from 0: all samples of a group are drawn together.
        replicates: halves of the samples behind an interval, 0 for none. More than `MOST_GROUPS` samples are dealt to
            so many groups, at random, and halves of these are drawn.
        permutations: behind a null, in which samples are exchanged; 0 for none.
        progress: told how many comparisons of two layers are done, and how many there are.

    Returns:
        For each layer of a, layer of b and measure a row, and "<measure>_null": the mean over permutations, with 2.5
        and 97.5 % of them as low and high. `source` is the beginning of both files' SHA-256.

    Raises:
        MetaprobeError: the files do not hold equally many samples, no layer has the same name in both, or there is no
            position whose features could be along `channel_axis`.
        UnreadableInput: an entry is NaN or infinite, or a file is damaged.
    """
    first = a.arrays[0]
    for other in (*a.arrays, *b.arrays):
        if other.samples != first.samples:
            raise MetaprobeError(
                f"{first.where} holds {first.samples:,} samples and {other.where} {other.samples:,}; arrays are "
                "compared on the same samples in the same order, along their first axis"
            )
    if first.samples < 2:
        raise MetaprobeError(f"{first.where} holds one sample; a similarity needs at least two")
    if channel_axis is not None and (samples == "images" or all(len(one.shape) < 3 for one in (*a.arrays, *b.arrays))):
        why = "a sample is the whole of an array" if samples == "images" else "no array has more than two axes"
        told = f"--channel-axis {channel_axis} says where the features of a position are"
        raise MetaprobeError(f"{told}, and {why}; leave it out")
    pairs = [(x, y) for x in a.arrays for y in b.arrays if layers == "all" or x.name == y.name]
    if not pairs:
        names = [", ".join(one.name for one in file.arrays) for file in (a, b)]
        raise MetaprobeError(f"{a.path} has {names[0]} and {b.path} {names[1]}: no name is in both; ask for all layers")
    view, rows = View(samples, channel_axis), list[Row]()
    with threadpool_limits(limits=1):
        for done, (x, y) in enumerate(pairs, 1):
            found = _compared(Together(x, y, view), measures, groups, replicates, permutations)
            identity = Row(
                layer=x.name,
                other_layer=y.name,
                samples=view.called(x, y),
                measure="",
                value=None,
                source=f"{a.digest[:12]}+{b.digest[:12]}",
            )
            for measure, (compared, drawn) in zip(measures, found, strict=True):
                rows += measured_rows(identity, measure, compared, drawn)
            if progress:
                progress(done, len(pairs))
    return Table.of(rows)


def _compared(
    pair: Together, measures: Sequence[Measure], groups: np.ndarray | None, replicates: int, permutations: int
) -> list[tuple[Compared, int]]:
    """Return what each measure says of two layers, and how many groups of samples its interval is over."""
    if reason := pair.unlike:
        return [(Compared(None, pair.samples, reason, np.empty(0)), 1)] * len(measures)
    room, fits = memory() // 4, 8 * _COPIES * pair.rows * pair.columns <= memory() // 4
    drawn = _groups_of(pair.samples, groups, direct=fits and pair.rows <= pair.columns)
    if fits and pair.rows <= pair.columns:
        part = Part.of_rows(pair, drawn)
    elif (need := 16 * pair.columns**2) > room:
        told = f"its {pair.columns:,} features take {need / 1e9:,.1f} GB of moments; compare fewer features"
        raise MetaprobeError(f"{pair.x.where} and {pair.y.where}: too wide for this machine's memory: {told}")
    else:
        part = summed(pair, drawn if replicates else np.zeros(pair.samples, np.int64), room, keep=fits)
    positions = pair.view.called(pair.x, pair.y) == "positions"
    results = [
        _of_images(measure) if positions and measure.needs == "images" else measure.apply(part.whole)
        for measure in measures
    ]
    values, told = resampled(part, measures, results, replicates)
    nulls: Sequence[Null | None] = _nulls(pair, measures, permutations) if permutations else [None] * len(measures)
    found = []
    for measure, result, replicate, null in zip(measures, results, values, nulls, strict=True):
        about = told
        if measure.needs == "images" and part.rows is None and replicates:
            about = f"no interval: {measure.name} is not told by moments, of which halves are taken here"
        reason = "; ".join(filter(None, (result.told, about if result.value is not None else "")))
        rows = pair.null_samples(_NULL_ROWS)[1]
        found.append((Compared(result.value, result.n, reason, replicate, null, rows), part.groups))
    return found


def _of_images(measure: Measure) -> Similarity:
    reason = f"{measure.name} compares whole samples, not their positions; ask for --samples images"
    return Similarity(None, "undefined", reason, 0, (0, 0))


def _groups_of(samples: int, groups: np.ndarray | None, direct: bool) -> np.ndarray:
    """Return the group of each sample: as given, its own, or one of `MOST_GROUPS` that are drawn at random."""
    if groups is not None:
        return groups
    if samples <= MOST_GROUPS or direct:
        return np.arange(samples)
    return np.random.default_rng([samples, MOST_GROUPS]).permutation(samples) % MOST_GROUPS


def _nulls(pair: Together, measures: Sequence[Measure], permutations: int) -> list[Null]:
    """Return what measures give when no sample of x belongs to the sample of y beside it, on at most 20,000 rows."""
    chosen, count = pair.null_samples(_NULL_ROWS)
    if len(chosen) < 2:
        return [Null(None, None, (), "a sample has too many positions for a null")] * len(measures)
    x, y = pair.of_samples(chosen)
    generator, positions = np.random.default_rng([pair.samples, *pair.x.shape[1:2]]), count // len(chosen)
    if count > x.shape[1] + y.shape[1] and all(measure.needs == "moments" for measure in measures):
        one = np.zeros(count, np.int64)
        sample, position = np.divmod(np.arange(count), positions)
        left, right = (Sketch(rows, one, sample, position, sample, one) for rows in (x, y))
        return list(image_null(left, right, measures, generator, permutations))
    own = Pair.of_arrays(x, y, eps=pair.eps, reduced=False)
    results = []
    for order in ring_orders(len(chosen), generator, permutations):
        rows = (order[:, None] * positions + np.arange(positions)).ravel()
        results.append([measure.apply(other) for other in (own.exchanged(rows),) for measure in measures])
    return [Null.of([row[place] for row in results]) for place in range(len(measures))]


def memory() -> int:
    """Return the bytes of this machine's memory."""
    return psutil.virtual_memory().total
