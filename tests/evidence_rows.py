"""Rows and evidence for tests, made in a line each."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from metaprobe.analyses.table import Row, Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Made

MADE = Made("made-up", "glyphs", (), 5, 1, 5, 15, 5, 0.1, layers=("conv1", "conv2", "head"))


def row(measure: str, value: float | None, half: float | None = None, **columns: Any) -> Row:
    """Return a row; `half` is the half-width of its interval."""
    bounds = {} if half is None or value is None else {"low": value - half, "high": value + half}
    return Row(measure=measure, value=value, **(bounds | columns))


def accuracy(value: float | None, half: float | None = None, **columns: Any) -> Row:
    """Return the accuracy of a test after adaptation with the learner's own head."""
    told = {"learner": "maml", "seed": 0, "iteration": 100, "phase": "post", "frozen": "", "head": "own"}
    return row("accuracy", value, half, **(told | {"inner_steps": 5, "n": 600} | columns))


def of_tasks(values: np.ndarray, **columns: Any) -> list[Row]:
    """Return the accuracies of single tasks (seed, task), and the mean of each seed."""
    rows = []
    for seed, per_task in enumerate(values):
        rows.append(accuracy(float(per_task.mean()), 1.0, seed=seed, **columns))
        rows += [accuracy(float(value), seed=seed, task=task, n=None, **columns) for task, value in enumerate(per_task)]
    return rows


def evidence_of(*rows: Row, **made: Any) -> Evidence:
    """Return the evidence of some rows."""
    return Evidence(Table.of(rows), dataclasses.replace(MADE, **made))
