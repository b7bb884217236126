"""Result tables as a terminal shows them: what all rows share above, an interval in one cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from probe.show import Cell, Grid

if TYPE_CHECKING:
    from analyses.table import Row, Table

__all__ = ["readable"]

_LEARNER = ("checkpoint", "algorithm", "seed", "iteration", "source")
_LONG = ("reason",)  # a sentence, which may be broken over lines


def readable(table: Table, title: str) -> tuple[Grid, ...]:
    """Return a table in a form for people, one grid a learner; TSV, JSON and CSV hold all of it.

    Args:
        table: the rows.
        title: of each grid.
    """
    columns = [name for name in table.used_columns() if name not in ("low", "high")]
    groups: dict[tuple[Cell, ...], list[Row]] = {}
    for row in table.rows:
        groups.setdefault(tuple(getattr(row, name) for name in _LEARNER), []).append(row)
    return tuple(_grid(rows, columns, title) for rows in groups.values()) or (Grid(title, tuple(columns), ()),)


def _grid(rows: Sequence[Row], columns: Sequence[str], title: str) -> Grid:
    cells: dict[str, list[Cell]] = {name: [_SHOWN.get(name, _plain)(row, name) for row in rows] for name in columns}
    facts = tuple(
        (name, told[0]) for name, told in cells.items() if name not in ("measure", "value") and len(set(told)) == 1
    )
    shared = {name for name, _ in facts}
    kept = tuple(name for name in columns if name not in shared and name != "source")  # ids of many checkpoints
    told = tuple((name, value) for name, value in facts if value is not None)
    return Grid(
        title,
        kept,
        tuple(zip(*(cells[name] for name in kept), strict=True)),
        facts=told,
        unbroken=frozenset(kept) - frozenset(_LONG),
    )


def _plain(row: Row, name: str) -> Cell:
    return getattr(row, name)


def _frozen(row: Row, name: str) -> Cell:
    from reports.wording import block_name

    if row.frozen is None:
        return None
    return block_name(row.frozen) if row.frozen else "none"


def _value(row: Row, name: str) -> Cell:
    if row.value is None:
        return None
    exact = row.measure.startswith("accuracy")

    def told(value: float) -> str:
        return f"{value:.1f}" if exact else f"{round(value, 4):.3g}"

    bounds = row.low is not None and row.high is not None
    return f"{told(row.value)} [{told(row.low or 0.0)}, {told(row.high or 0.0)}]" if bounds else told(row.value)


_SHOWN: dict[str, Callable[[Row, str], Cell]] = {"frozen": _frozen, "value": _value}
