"""Questions to a study's table about regimes and heads, and the rows that answer them."""

from __future__ import annotations

import dataclasses

from analyses.table import Row, Table
from reports.evidence import Reading, pool
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.runs import HEADLESS
from trainers.config import TrainConfig

__all__ = ["difference_between_heads", "maml_head", "nil_head", "of_regime"]


def of_regime(table: Table, body: TrainConfig, head: TrainConfig | None = None) -> Table:
    """Return what was measured on a headless body, or on a new head for it, as rows of the body's regime.

    Args:
        table: as measured on the run.
        body: the config of the run that trained the body.
        head: the config of the run that trained the new head, where that is what was measured; its tests with the NIL
            head are left out, as the body's run has the same.
    """
    # A network that is never trained has taken no steps, whatever its run counts.
    who = {"algorithm": body.algorithm, "seed": body.seed, "iteration": body.iterations * (body.algorithm != "random")}
    if head is None:
        return Table.of(dataclasses.replace(row, **who) for row in table.rows)
    source = f"{head.algorithm} of {head.iterations} iterations"
    kept = (row for row in table.rows if row.head != "nil")
    return Table.of(dataclasses.replace(row, **who, head=_renamed(row), source=source) for row in kept)


def maml_head(study: StudyTable, regime: str) -> Reading:
    """Return test accuracy (percent) with the regime's own head, or with the MAML head trained on its body."""
    if regime not in HEADLESS:
        return study.test(regime)
    return pool([row for row in study.rows("accuracy", regime) if row.head == "maml"])


def nil_head(study: StudyTable, regime: str) -> Reading:
    """Return test accuracy (percent) with the NIL head on the regime's body."""
    return pool([row for row in study.rows("accuracy", regime) if row.head == "nil"])


def difference_between_heads(study: StudyTable, regime: str) -> Reading:
    """Return MAML head − NIL head in percentage points, paired by task."""
    return pool(study.rows("head_difference", regime))


def _renamed(row: Row) -> str | None:
    return "maml" if row.head == "own" else row.head
