"""From the stores of two checkpoints to the similarity of their layers, before and after adaptation."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from metaprobe.analyses.aligned import Aligned, aligned_rows, check_same_tasks
from metaprobe.analyses.bootstrap import REPLICATES, task_draws
from metaprobe.analyses.compared import Compared, Over, learner_in, measured_rows, noted
from metaprobe.analyses.image_null import PERMUTATIONS, image_null
from metaprobe.analyses.measures.measure import DEFAULTS, RSA, Measure, Null
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.per_task import mean_over_tasks
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.task_moments import TaskMoments, on_resamples
from metaprobe.analyses.task_pairs import of_two_stores
from metaprobe.probe.moments import JointMoments, moments_of
from metaprobe.probe.store import Store, open_store
from metaprobe.probe.store.metadata import Samples
from metaprobe.probe.store.otherwise import captured_otherwise
from metaprobe.trainers.errors import MetaprobeError, unknown_name

__all__ = [
    "PHASES",
    "Phases",
    "compare",
    "compare_layers",
    "identity_of",
    "phases_named",
]

Phases = tuple[Literal["pre", "post"], Literal["pre", "post"]]

PHASES: dict[str, Phases] = {
    "pre-pre": ("pre", "pre"),
    "pre-post": ("pre", "post"),
    "post-pre": ("post", "pre"),
    "post-post": ("post", "post"),
}
"""By the name in a table: before or after adaptation, of the first checkpoint and of the second."""


def phases_named(names: Sequence[str]) -> tuple[Phases, ...]:
    """Return phases by their names in a table.

    Raises:
        MetaprobeError: a name is unknown; the message lists them.
    """
    for name in names:
        if name not in PHASES:
            raise unknown_name("phase", name, PHASES)
    return tuple(PHASES[name] for name in names)


def compare(
    a: Path | str,
    b: Path | str,
    measures: Sequence[Measure] = (*DEFAULTS, *RSA),
    *,
    phases: Sequence[Phases] = (("pre", "pre"), ("post", "post")),
    layers: Literal["all", "matching"] = "all",
    over: Over = "task",
    replicates: int = REPLICATES,
    permutations: int = PERMUTATIONS,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Compare the representations of two checkpoints on the same query images of the same tasks.

    Rows are those of both sketches that belong together (`analyses.aligned`), of each task by itself
    (`analyses.per_task`); or of all tasks together. Where both stores hold raw activations, a task's rows are all its
    positions. The interval is a bootstrap over tasks; every comparison draws the same tasks. The null exchanges images.

    Args:
        a: an activation store.
        b: another, captured on the same tasks.
        measures: which.
        phases: of a and of b, "pre" or "post" adaptation.
        layers: "all", every layer of a against every layer of b; or "matching", those of the same name.
        over: "task", the mean over tasks of each one's own similarity; or "tasks", that of all tasks' rows together.
        replicates: resamples behind an interval, 0 for none.
        permutations: behind a null, 0 for none. Layers of different names have no null.
        progress: told how many comparisons of two layers are done, and how many there are.

    Returns:
        For each phase, layer of a, layer of b and measure a row, and for layers of one name a row "<measure>_null":
        the mean over permutations, with 2.5 and 97.5 % of them as low and high; and over each task
        "<measure>_calibrated", (value − null) / (max − null).

    Raises:
        MetaprobeError: the stores are not of the same tasks, or no layer has the same name in both.
        UnreadableInput: a store is damaged.
    """
    with threadpool_limits(limits=1), open_store(a) as one, open_store(b) as other:
        check_same_tasks(one, other)
        pairs = [(x, y) for x in one.layers for y in other.layers if layers == "all" or x == y]
        if not pairs:
            told = f"{one.path.name} has {', '.join(one.layers)}, {other.path.name} has {', '.join(other.layers)}"
            raise MetaprobeError(f"no layer has the same name in both: {told}; compare all layers instead")
        rows: list[Row] = []
        for done, (phase, (x, y)) in enumerate(itertools.product(phases, pairs), 1):
            amount = {"replicates": replicates, "permutations": permutations if x == y else 0}
            samples, found = compare_layers(one, other, (x, y), phase, measures, over=over, **amount)
            identity = identity_of(one, other, (x, y), phase, samples, over)
            for measure in measures:
                rows += measured_rows(identity, measure, found[measure.name], one.tasks)
            if progress:
                progress(done, len(phases) * len(pairs))
        return noted(rows, *(captured_otherwise(store.metadata) for store in (one, other)))


def compare_layers(
    a: Store,
    b: Store,
    layers: tuple[str, str],
    phases: Phases,
    measures: Sequence[Measure],
    *,
    over: Over = "task",
    replicates: int,
    permutations: int,
) -> tuple[Samples, Mapping[str, Compared]]:
    """Return what a sample is, and by measure what it says of a layer of one store against a layer of another.

    Args:
        a: a store.
        b: a store of the same tasks (`check_same_tasks`).
        layers: of a and of b.
        phases: of a and of b.
        measures: which.
        over: as in `compare`.
        replicates: resamples of tasks, rows of `task_draws`; 0 for none.
        permutations: behind a null; 0 for none.

    Raises:
        MetaprobeError: no such layer.
        UnreadableInput: a store is damaged.
    """
    steps = tuple(0 if phase == "pre" else store.steps[-1] for store, phase in zip((a, b), phases, strict=True))
    amount = {"replicates": replicates, "permutations": permutations}
    if over == "tasks":
        return _together(a, b, layers, (steps[0], steps[1]), measures, **amount)
    images = any(measure.needs == "images" for measure in measures)
    samples, pairs = of_two_stores(a, b, layers, (steps[0], steps[1]), images=images)
    seed = [a.layers.index(layers[0]), b.layers.index(layers[1]), *steps]
    return samples, mean_over_tasks(pairs, measures, tasks=a.tasks, seed=seed, **amount).found


def _together(
    a: Store,
    b: Store,
    layers: tuple[str, str],
    steps: tuple[int, int],
    measures: Sequence[Measure],
    *,
    replicates: int,
    permutations: int,
) -> tuple[Samples, dict[str, Compared]]:
    """Return what measures say of the rows of all tasks together."""
    rows = aligned_rows(a, b, layers, steps)
    if rows.reason:
        nothing = Compared(None, 0, rows.reason, np.full(replicates, np.nan))
        return rows.samples, dict.fromkeys((measure.name for measure in measures), nothing)
    eps = (a.layer(layers[0]).eps, b.layer(layers[1]).eps)
    tasks = np.unique(rows.x.tasks)
    moments = TaskMoments(lambda place: _moments(rows, rows.x.tasks == tasks[place], eps), len(tasks))
    draws = task_draws(a.tasks, replicates)[:, tasks] if replicates else np.empty((0, len(tasks)), dtype=np.int64)
    resampled = on_resamples(moments, draws, measures)
    nulls: Sequence[Null | None] = [None] * len(measures)
    if permutations:
        generator = np.random.default_rng([a.layers.index(layers[0]), b.layers.index(layers[1]), *steps])
        nulls = image_null(rows.x, rows.y, measures, generator, permutations)
    pair, found = Pair.of_moments(moments.whole), {}
    for place, (measure, null) in enumerate(zip(measures, nulls, strict=True)):
        result = measure.apply(pair)
        found[measure.name] = Compared(result.value, result.n, result.told, resampled[place], null)
    return rows.samples, found


def _moments(rows: Aligned, chosen: np.ndarray, eps: tuple[float, float]) -> JointMoments:
    return dataclasses.replace(moments_of(rows.x.rows[chosen], rows.y.rows[chosen]), eps=eps)


def identity_of(a: Store, b: Store, layers: tuple[str, str], phases: Phases, samples: Samples, over: Over) -> Row:
    """Return the row of a comparison without what was measured: both checkpoints, layers, phases and stores."""
    taken = {store.metadata.adaptation.steps for store in (a, b)}
    return Row(
        **learner_in(a),
        **{f"other_{name}": value for name, value in learner_in(b).items()},
        layer=layers[0],
        other_layer=layers[1],
        phase="-".join(phases),
        inner_steps=taken.pop() if len(taken) == 1 else None,
        samples=samples,
        over=over,
        measure="",
        value=None,
        source=f"{a.sha256[:12]}+{b.sha256[:12]}",
    )
