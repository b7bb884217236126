"""The tidy result table: every analysis returns one, every figure and page is a view of one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaprobe.analyses.csv_file import csv_text, read_csv_rows
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.files import write_text
from metaprobe.trainers.formats.text import visible

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "KNOWN_COLUMNS", "Row", "Table"]


_NOTHING = "none"  # of `frozen` in a file, where an empty cell says that freezing does not apply


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One measured value and what it was measured on; a field that does not apply is None.

    Attributes:
        checkpoint: id of the checkpoint, the first 12 digits of its fingerprint; of an ensemble all, joined by +.
        algorithm: what trained it; "random" for a network never trained.
        update_rule: what makes inner steps of its gradients where they are not plain gradient descent
            (`trainers.update_rules`); empty in tables written before there was this column, too.
        learner: what a study calls it, where one algorithm trains several of its learners.
        seed: of the run.
        iteration: outer steps taken; None of imported weights, of which nobody told.
        layer: conv1 … head.
        phase: "pre" or "post" adaptation, or "pre-post" for a comparison of both; of two checkpoints "pre-pre",
            "pre-post", "post-pre" or "post-post", the first word being of the first.
        step: inner step.
        task: index of the task, where the row is of one.
        frozen: layers kept fixed at test time, comma-separated; "" for none.
        adapts: "all" where every layer that is not frozen took inner steps though the learner was trained otherwise
            (ANIL, a new head on a finished body); None where a learner adapts what it was trained to adapt.
        head: "own", "nil" or "matching"; or "maml", a head trained by `maml_head` on the finished body of another run:
            then algorithm, seed and iteration are that run's, the checkpoint is the one with the head.
        inner_steps: steps that the inner loop took at test time.
        samples: what a sample is, "positions" or "images".
        over: of a similarity, "task" where it is of each task by itself, the mean over tasks; "tasks" where it is of
            the samples of all tasks together. Empty in tables written before there was this column: all tasks together.
        group: the domain that tasks come from (ground truth).
        cluster: the initialisation that tasks are assigned to (found).
        view: what a task is described by: "assignment", the learner's own choice; "all", "body" or "head", its adapted
            parameters; "features", its mean features. Of an accuracy, how queries were normalised where a study asks
            for another norm than the training's: "one-query".
        other_checkpoint: id of the second checkpoint, where a row compares two; the columns above are of the first.
        other_algorithm: what trained the second.
        other_update_rule: what makes its inner steps, as `update_rule`.
        other_learner: what a study calls the second.
        other_seed: of its run.
        other_iteration: outer steps that it took.
        other_layer: the layer of the second.
        measure: what was measured.
        minus: of a measure "…_difference", what was taken off on the same tasks: the columns in which it differs from
            this row, as "frozen=none" or "learner=maml".
        value: in the measure's unit: percent, percentage points, nats, or a similarity.
        low: lower end of the 95 % interval.
        high: upper end.
        n: tasks behind an accuracy or a distance; samples behind a similarity, of the task that has fewest where it is
            a mean over tasks.
        status: "ok" or "undefined".
        reason: why a value is undefined; of one that is not, what to mind about it (few samples, tasks left out).
        source: what holds the evidence: the SHA-256 of a store (first 12 digits; of several joined by +), or a file of
            the run.
    """

    checkpoint: str | None = None
    algorithm: str | None = None
    update_rule: str | None = None
    learner: str | None = None
    seed: int | None = None
    iteration: int | None = None
    layer: str | None = None
    phase: str | None = None
    step: int | None = None
    task: int | None = None
    frozen: str | None = None
    adapts: str | None = None
    head: str | None = None
    inner_steps: int | None = None
    samples: str | None = None
    over: str | None = None
    group: str | None = None
    cluster: int | None = None
    view: str | None = None
    other_checkpoint: str | None = None
    other_algorithm: str | None = None
    other_update_rule: str | None = None
    other_learner: str | None = None
    other_seed: int | None = None
    other_iteration: int | None = None
    other_layer: str | None = None
    measure: str
    minus: str | None = None
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    status: str = "ok"
    reason: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if self.frozen == _NOTHING:
            raise MetaprobeError(
                f"no layer may be called {_NOTHING!r}: in a table's file that says that none was frozen"
            )


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
_RULES = ("update_rule", "other_update_rule")
KNOWN_COLUMNS = tuple(tuple(name for name in COLUMNS if name not in later) for later in ((), _RULES, (*_RULES, "over")))
"""Headings of tables: as written now, before there were columns of update rules, and before there was `over`."""
_REAL: tuple[str, ...] = ("value", "low", "high")
_WHOLE: tuple[str, ...] = ("seed", "iteration", "step", "task", "inner_steps", "cluster", "n")
_WHOLE += ("other_seed", "other_iteration")


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows in the order in which they were measured."""

    rows: tuple[Row, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Table:
        """Return a table of these rows."""
        return cls(tuple(rows))

    def __add__(self, other: Table) -> Table:
        return Table(self.rows + other.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the table as a pandas frame with all columns; what does not apply is missing there."""
        import pandas as pd

        kinds = {name: "Int64" for name in _WHOLE} | {name: "Float64" for name in _REAL}
        columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
        return pd.DataFrame(
            {name: pd.array(values, dtype=kinds.get(name, "object")) for name, values in columns.items()}
        )

    def used_columns(self) -> tuple[str, ...]:
        """Return the columns that some row has a value in, in order; `status` only where some row is not ok."""
        return tuple(
            name
            for name in COLUMNS
            if any(getattr(row, name) is not None for row in self.rows)
            and (name != "status" or any(row.status != "ok" for row in self.rows))
        )

    def write_csv(self, path: Path | str) -> None:
        """Write all columns as CSV, numbers in full; what does not apply is an empty cell, nothing frozen is "none".

        Text that a spreadsheet would run as a formula stands behind an apostrophe; see `analyses.csv_file`.
        """
        lines = ([_written(name, getattr(row, name)) for name in COLUMNS] for row in self.rows)
        write_text(path, csv_text([COLUMNS, *lines]))

    @classmethod
    def read_csv(cls, path: Path | str) -> Table:
        """Read what `write_csv` wrote, also before there were all columns of today.

        Raises:
            UnreadableInput: the file is missing, or no such table.
        """
        rows = read_csv_rows(path)
        found = next(rows, None)
        if found is None:
            raise UnreadableInput(f"{path}: cannot be read as a table: it is empty")
        if tuple(found) not in KNOWN_COLUMNS:
            told = visible(", ".join(found), 500)
            raise UnreadableInput(f"{path}: expected the columns {', '.join(COLUMNS)}; got {told}")
        return cls(tuple(_row(found, cells, path) for cells in rows))


def _written(name: str, value: Any) -> str | float | None:
    """Return a value as its cell holds it: a number as Python's own, so that it is written in full."""
    if value is None or value != value:
        return None
    if name == "frozen":
        return value or _NOTHING
    return int(value) if name in _WHOLE else float(value) if name in _REAL else value


def _row(columns: Sequence[str], cells: Sequence[str], path: Path | str) -> Row:
    try:
        values: dict[str, Any] = {name: _parse(name, text) for name, text in zip(columns, cells, strict=True)}
        return Row(**values)
    except (ValueError, TypeError) as error:
        raise UnreadableInput(f"{path}: a row does not fit the table: {visible(str(error), 200)}") from error


def _parse(name: str, text: str) -> str | int | float | None:
    if text == "":
        if name in ("measure", "status"):
            raise ValueError(f"its {name} is empty")
        return None
    if name == "frozen":
        return "" if text == _NOTHING else text
    if name in _WHOLE:
        return int(text)
    if name not in _REAL:
        return text
    if math.isnan(value := float(text)):
        raise ValueError(f"its {name} is {text!r}, expected a number or an empty cell")
    return value
