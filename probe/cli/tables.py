"""Result tables as a terminal shows them: what all rows share above, an interval in one cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from metaprobe.probe.show import Cell, Grid

if TYPE_CHECKING:
    from metaprobe.analyses.table import Row, Table

__all__ = ["readable"]

_LEARNER = ("checkpoint", "algorithm", "update_rule", "seed", "iteration", "source")
_ELSEWHERE = ("low", "high", "minus", "status", "reason")  # told in other columns' cells, or below the table


def readable(table: Table, title: str) -> tuple[Grid, ...]:
    """Return a table in a form for people, one grid a learner; TSV, JSON and CSV hold all of it.

    Args:
        table: the rows.
        title: of each grid.
    """
    columns = [name for name in table.used_columns() if name not in (*_ELSEWHERE, "value")]
    columns += ["value"] * bool(table.rows)
    groups: dict[tuple[Cell, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(getattr(row, name) for name in _LEARNER), []).append(row)
    return tuple(_grid(rows, columns, title) for rows in groups.values()) or (Grid(title, tuple(columns), ()),)


def _grid(rows: Sequence[Row], columns: Sequence[str], title: str) -> Grid:
    cells: dict[str, list[Cell]] = {name: [_cell(row, name) for row in rows] for name in columns}
    from metaprobe.trainers.intervals import too_few

    rough = {told for row in rows if (told := too_few(row.n or 0))}  # of every interval here: below the table, no mark
    reasons = list(dict.fromkeys(row.reason for row in rows if row.reason and row.reason not in rough))
    if "value" in cells:  # a reason is a sentence: a mark leads to it
        marked = zip(rows, cells["value"], strict=True)
        cells["value"] = [
            f"{cell} ({reasons.index(row.reason) + 1})" if row.reason in reasons else cell for row, cell in marked
        ]
    facts = tuple(
        (name, told[0]) for name, told in cells.items() if name not in ("measure", "value") and len(set(told)) == 1
    )
    shared = {name for name, _ in facts}
    kept = tuple(name for name in columns if name not in shared and name != "source")  # ids of many checkpoints
    return Grid(
        title,
        kept,
        tuple(zip(*(cells[name] for name in kept), strict=True)),
        facts=tuple((name, value) for name, value in facts if value is not None),
        unbroken=frozenset(kept),
        notes=(*(f"({number}) {reason}" for number, reason in enumerate(reasons, 1)), *sorted(rough)),
    )


def _cell(row: Row, name: str) -> Cell:
    """Return a cell; of a difference "A − B" stands in the column in which the two differ."""
    cell = _SHOWN.get(name, _plain)(row, name)
    taken_off = dict(part.split("=", 1) for part in (row.minus or "").split(", ") if part)
    return f"{cell} − {taken_off[name]}" if name in taken_off else cell


def _plain(row: Row, name: str) -> Cell:
    return getattr(row, name)


def _frozen(row: Row, name: str) -> Cell:
    from metaprobe.reports.wording import block_name

    if row.frozen is None:
        return None
    return block_name(row.frozen) if row.frozen else "none"


def _value(row: Row, name: str) -> Cell:
    if row.value is None:
        return row.status
    exact = row.measure.startswith("accuracy")

    def told(value: float) -> str:
        return f"{value:.1f}" if exact else f"{round(value, 4):.3g}"

    bounds = row.low is not None and row.high is not None
    return f"{told(row.value)} [{told(row.low or 0.0)}, {told(row.high or 0.0)}]" if bounds else told(row.value)


_SHOWN: dict[str, Callable[[Row, str], Cell]] = {"frozen": _frozen, "value": _value}
