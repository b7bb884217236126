"""What a measure says of two layers, and the rows of a table that tell it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.bootstrap import over_seeds
from metaprobe.analyses.image_null import null_ends
from metaprobe.analyses.measures.measure import Measure, Null
from metaprobe.analyses.table import Row, Table
from metaprobe.probe.store import Store
from metaprobe.trainers.otherwise import told_iteration

__all__ = ["CALIBRATED", "CALIBRATED_RANGE", "Compared", "Over", "learner_in", "measured_rows", "noted", "null_row"]

Over = Literal["task", "tasks"]
"""What a similarity is over: each task by itself, the mean over tasks; or the samples of all tasks together."""

CALIBRATED = "_calibrated"
CALIBRATED_RANGE = (-math.inf, 1.0)  # below its null a value has no least


def learner_in(store: Store) -> dict[str, Any]:
    """Return what a row says of the learner that a store is of, by column; None where the store does not know."""
    made = store.metadata.checkpoint
    return {
        "checkpoint": store.fingerprint[:12],
        "algorithm": str(made.config["algorithm"]) if made else None,
        "update_rule": store.metadata.adaptation.learned_rule,
        "seed": int(made.config["seed"]) if made else None,
        "iteration": told_iteration(made.iteration, made.provenance) if made else None,
    }


@dataclass(frozen=True, eq=False)
class Compared:
    """What one measure says of two layers.

    Attributes:
        value: the similarity; None where it is undefined.
        n: samples; where it is a mean over tasks, of the task that has fewest.
        reason: why it is undefined; of one that is defined, what to mind about it, or empty.
        replicates: the same on each resample of tasks, NaN where undefined there; empty when none were asked for.
        null: the same after whole images were exchanged; None when that was not asked for.
        null_n: samples behind the null; None where they are the value's.
        calibrated: the share of the way from the null to the largest value; None when that was not asked for.
    """

    value: float | None
    n: int
    reason: str
    replicates: Float[np.ndarray, " replicate"]
    null: Null | None = None
    null_n: int | None = None
    calibrated: Compared | None = None


def measured_rows(identity: Row, measure: Measure, found: Compared, tasks: int) -> Iterator[Row]:
    """Yield the row of a measure with its interval, that of its null and that of its calibrated value, as there are.

    Args:
        identity: a row with all columns but the measured ones.
        measure: which.
        found: what it says.
        tasks: how many were resampled.
    """
    row = dataclasses.replace(identity, measure=measure.name, n=found.n)
    yield _valued(row, found, tasks, measure.range)
    if found.null is not None:
        n = found.n if found.null_n is None else found.null_n
        yield null_row(dataclasses.replace(row, n=n), found.null)
    if found.calibrated is not None:
        row = dataclasses.replace(row, measure=measure.name + CALIBRATED, n=found.calibrated.n)
        yield _valued(row, found.calibrated, tasks, CALIBRATED_RANGE)


def noted(rows: Iterable[Row], *remarks: str) -> Table:
    """Return a table of rows whose reasons begin with remarks on all of them, those that are not empty."""
    said = list(dict.fromkeys(filter(None, remarks)))
    if not said:
        return Table.of(rows)
    reasons = ((row, "; ".join(filter(None, (*said, row.reason)))) for row in rows)
    return Table.of(dataclasses.replace(row, reason=reason) for row, reason in reasons)


def null_row(row: Row, null: Null) -> Row:
    """Return the row of a null beside that of its value: mean, and 2.5 and 97.5 % as low and high where they are known.

    Args:
        row: that of the value, with the n of the null.
        null: what was found.
    """
    row = dataclasses.replace(row, measure=f"{row.measure}_null", reason=null.reason or None)
    if null.mean is None:
        return dataclasses.replace(row, status="undefined", value=None, low=None, high=None)
    low, high = null_ends(null.values)
    return dataclasses.replace(row, value=null.mean, low=low, high=high)


def _valued(row: Row, found: Compared, tasks: int, range: tuple[float, float]) -> Row:
    row = dataclasses.replace(row, reason=found.reason or None)
    if found.value is None:
        return dataclasses.replace(row, status="undefined")
    interval = over_seeds(np.array([found.value]), found.replicates[None], tasks=tasks, range=range)
    return dataclasses.replace(row, value=found.value, low=interval.low, high=interval.high)
