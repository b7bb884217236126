"""The tidy table as plain records: what applies has a value, what does not is "" or None."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from trainers.errors import MetaprobeError

__all__ = ["Entry", "entries_of"]

_TEXT = ("checkpoint", "algorithm", "layer", "phase", "frozen", "head", "samples", "group", "view", "measure")
_TEXT += ("adapts", "other_checkpoint", "other_algorithm", "other_layer", "status", "reason", "source")
_WHOLE = ("seed", "iteration", "step", "task", "inner_steps", "cluster", "n", "other_seed", "other_iteration")
_REAL = ("value", "low", "high")
_COLUMNS = (*_TEXT, *_WHOLE, *_REAL)


@dataclass(frozen=True)
class Entry:
    """One row of the tidy table; the names are its columns, `place` is its position in the table."""

    place: int
    checkpoint: str
    algorithm: str
    layer: str
    phase: str
    frozen: str
    head: str
    samples: str
    group: str
    view: str
    measure: str
    adapts: str
    other_checkpoint: str
    other_algorithm: str
    other_layer: str
    status: str
    reason: str
    source: str
    seed: int | None
    iteration: int | None
    step: int | None
    task: int | None
    inner_steps: int | None
    cluster: int | None
    n: int | None
    other_seed: int | None
    other_iteration: int | None
    value: float | None
    low: float | None
    high: float | None


def entries_of(frame: pd.DataFrame) -> tuple[Entry, ...]:
    """Return the rows of a tidy table, in its order.

    Args:
        frame: the table, with the columns of `analyses.table`; None, NaN and "" all mean that nothing applies.

    Raises:
        MetaprobeError: a column is missing, or a number column holds something else.
    """
    lacking = [name for name in _COLUMNS if name not in frame.columns]
    if lacking:
        raise MetaprobeError(
            f"the table of the study has no column {', '.join(lacking)}: it has {', '.join(map(str, frame.columns))}. "
            "Build it with analyses.table.Table."
        )
    columns = {name: frame[name].tolist() for name in (*_TEXT, *_WHOLE, *_REAL)}
    return tuple(_entry(columns, place) for place in range(len(frame)))


def _entry(columns: dict[str, list[object]], place: int) -> Entry:
    fields: dict[str, Any] = {}
    for name in _TEXT:
        value = columns[name][place]
        fields[name] = "" if _blank(value) else str(value)
    for name in _WHOLE:
        number = _number(columns, name, place)
        fields[name] = None if number is None else int(number)
    for name in _REAL:
        fields[name] = _number(columns, name, place)
    return Entry(place=place, **fields)


def _number(columns: dict[str, list[object]], name: str, place: int) -> float | None:
    value = columns[name][place]
    if _blank(value):
        return None
    try:
        number = float(str(value))
    except ValueError:
        raise MetaprobeError(f"row {place} of the study's table: {name} is {value!r}, expected a number.") from None
    return number if math.isfinite(number) else None


def _blank(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or value == "" or value != value
