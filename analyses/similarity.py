"""From a store to the similarity of each layer before and after adaptation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats
from threadpoolctl import threadpool_limits

from analyses.measures.measure import MEASURES, Measure, shuffled_nulls
from analyses.measures.pair import Pair
from analyses.table import Row, Table
from probe.moments import JointMoments, pool
from probe.store import Store, open_store
from trainers.errors import unknown_name

__all__ = ["ALIASES", "measures_named", "similarity"]

ALIASES = {"cca": "mean_cca", "cka": "linear_cka"}
"""Short names that the command line takes."""

_GROUPS = 20  # of tasks, for the jackknife
_NULL_REPEATS = 5


def measures_named(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return measures by name or alias.

    Raises:
        MetaprobeError: a name is unknown; the message lists them.
    """
    known = MEASURES | {alias: MEASURES[name] for alias, name in ALIASES.items()}
    for name in names:
        if name not in known:
            raise unknown_name("measure", name, known)
    return tuple(known[name] for name in names)


def similarity(path: Path | str, measures: Sequence[Measure] = tuple(MEASURES.values())) -> Table:
    """Compare each layer's activations before and after adaptation (Raghu et al. 2020, §3.2.2).

    Query samples are pooled over tasks (and positions, for convolutions). The interval is a delete-a-group jackknife
    over tasks (Kott 2001): the tasks, not the samples, are what is independent. The null exchanges rows of the sketch.

    Args:
        path: an activation store.
        measures: which.

    Returns:
        For each layer, captured step and measure a row, and a row "<measure>_null".

    Raises:
        UnreadableInput: the store is damaged.
    """
    with threadpool_limits(limits=1), open_store(path) as store:  # small matrices: more BLAS threads only wait
        return Table.of(
            row
            for place, layer in enumerate(store.layers)
            for step in store.steps
            for row in _rows(store, layer, step, measures, np.random.default_rng([place, step]))
        )


def _rows(
    store: Store, layer: str, step: int, measures: Sequence[Measure], generator: np.random.Generator
) -> list[Row]:
    metadata = store.metadata
    checkpoint = metadata.checkpoint
    identity = Row(
        checkpoint=metadata.fingerprint[:12],
        algorithm=str(checkpoint.config["algorithm"]) if checkpoint else None,
        seed=int(checkpoint.config["seed"]) if checkpoint else None,
        iteration=checkpoint.iteration if checkpoint else None,
        layer=layer,
        phase="pre-post",
        step=step,
        inner_steps=metadata.adaptation.steps,
        samples=store.layer(layer).samples,
        measure="",
        value=None,
        source=store.sha256[:12],
    )
    groups = _task_groups(store, layer, step)
    whole = Pair.of_moments(pool(groups))
    parts = [Pair.of_moments(pool(groups[:g] + groups[g + 1 :])) for g in range(len(groups))] if groups[1:] else []
    before, after = store.sketch(layer, 0).rows, store.sketch(layer, step).rows
    nulls = shuffled_nulls(measures, before, after, generator, _NULL_REPEATS)
    rows = []
    for measure, null in zip(measures, nulls, strict=True):
        rows.append(_value_row(identity, measure, whole, parts))
        undefined = {"status": "undefined", "reason": null.reason} if null.mean is None else {}
        rows.append(
            dataclasses.replace(identity, measure=f"{measure.name}_null", value=null.mean, n=len(before), **undefined)
        )
    return rows


def _task_groups(store: Store, layer: str, step: int) -> list[JointMoments]:
    """Pool the tasks into at most `_GROUPS` groups of neighbours, whose order means nothing."""
    count = min(_GROUPS, store.tasks)
    return [
        pool(store.moments(layer, step, int(task)) for task in tasks)
        for tasks in np.array_split(np.arange(store.tasks), count)
    ]


def _value_row(identity: Row, measure: Measure, whole: Pair, parts: Sequence[Pair]) -> Row:
    result = measure.apply(whole)
    row = dataclasses.replace(identity, measure=measure.name, value=result.value, n=result.n)
    if result.value is None:
        return dataclasses.replace(row, status="undefined", reason=result.reason)
    left_out = [measure.apply(part).value for part in parts]
    known = np.array([value for value in left_out if value is not None])
    if len(known) < 2 or len(known) < len(left_out):
        return row  # too few tasks for an interval, or the value stands on a single group of them
    groups = len(known)
    spread = math.sqrt((groups - 1) / groups * float(((known - known.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.975, groups - 1)) * spread
    low, high = measure.range
    return dataclasses.replace(row, low=max(low, result.value - half), high=min(high, result.value + half))
