"""The table of a study: which rows answer a question, and which were read, that is which stand behind a number."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metaprobe.analyses.contrasts import contrast, range_of
from metaprobe.analyses.table import Row, Table
from metaprobe.reports.made import Made
from metaprobe.reports.quantities import ANY, Query, says
from metaprobe.reports.wording import in_order

__all__ = ["Evidence"]


class Evidence:
    """The table of a study, and what its learners were trained with.

    From its rows of single tasks differences and means over seeds are made, when they are asked for.
    """

    def __init__(self, table: Table, made: Made) -> None:
        self.made = made
        self.n_way, self.trained_steps = made.n_way, made.trained_steps
        self.test_steps = made.test_steps or made.trained_steps  # of the tests that are judged
        self._place: dict[int, int] = {}
        self.rows: list[Row] = []  # all, those that were made when asked for last
        self._found: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        self._single: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        self._seen: list[dict[int, Row]] = []
        for row in table.rows:
            self._add(row)
        self.seeds = tuple(sorted({row.seed for row in self.rows if row.seed is not None}))
        found = dict.fromkeys(map(_learner, self.rows))
        # those that have rows: in the order of the study, others after them
        self.learners = tuple(k for k in dict.fromkeys((*(one.key for one in made.learners), *found)) if k in found)
        # of the network, in its order; where that is not known, of the rows: by kind and number
        self.layers = made.layers or in_order({row.layer for row in self.rows if row.layer and not _other(row)})
        self.body, self.head = self.layers[:-1], self.layers[-1] if self.layers else "head"
        # of the body, from the first layer on, as `frozen` names them; the last is the whole body
        self.blocks = tuple(",".join(self.body[: size + 1]) for size in range(len(self.body)))
        self.full = ",".join(self.body)

    def _add(self, row: Row) -> None:
        key = (row.measure, _learner(row), _other(row))
        (self._found if row.task is None else self._single)[key].append(row)
        self._place[id(row)] = len(self.rows)
        self.rows.append(row)

    def measured_layers(self, *measures: str) -> tuple[str, ...]:
        """Return the layers that have rows of any of the measures, in their order; layers × layers left out."""
        found = {row.layer for row in self.rows if row.measure in measures and row.layer and not _other(row)}
        every = (*self.body, *in_order(found - {self.head}), self.head)  # of other networks after this one's body
        return tuple(layer for layer in dict.fromkeys(every) if layer in found)

    def distinct(self, column: str, measure: str, learner: str = ANY, **columns: object) -> tuple[Any, ...]:
        """Return what a column says in the rows of a measure, ascending, blanks left out; nothing is noted as read.

        The rows are those of one learner, or with `ANY` of all, in which other `columns` say so.
        """
        found = dict.fromkeys(getattr(row, column) for row in self._said(measure, learner, columns))
        known = [value for value in found if value not in (None, "")]
        return tuple(sorted(known)) if column not in ("group", "view") else tuple(known)

    def where(self, measure: str, learner: str, **columns: object) -> list[Row]:
        """Return the rows of a measure and a learner in which these columns say so, in order; noted as read."""
        return self.note(self._said(measure, learner, columns))

    def _said(self, measure: str, learner: str, columns: Mapping[str, object]) -> list[Row]:
        kept = (rows for (name, who, _), rows in self._found.items() if name == measure and learner in (ANY, who))
        return [row for rows in kept for row in rows if all(says(row, key, value) for key, value in columns.items())]

    def rows_of(self, query: Query, single: bool = False) -> list[Row]:
        """Return the rows that a question asks for: of all its seeds; of single tasks where that is asked for."""
        where = self._single if single else self._found
        every = where.get((query.measure, query.learner, query.other_learner), [])
        rows = [row for row in _at(every, query.at) if query.fits(row, self.test_steps)]
        kinds = {row.samples for row in rows if row.samples}
        if len(kinds) > 1:
            rows = [row for row in rows if row.samples == ("positions" if "positions" in kinds else min(kinds))]
        if query.step == "last":
            taken = [self.test_steps if row.step is None else row.step for row in rows]
            rows = [row for row, step in zip(rows, taken, strict=True) if step == max(taken)]
        return rows if single else self.note(rows)

    def made_from(self, left: Query, right: Query | None, minus: str | None) -> list[Row]:
        """Return the rows over seeds that follow from those of single tasks, made now and kept; none without those."""
        sides = [self.rows_of(side, single=True) for side in (left, right) if side is not None]
        if not all(sides) or (right is None and len({row.seed for row in sides[0]}) < 2):
            return []
        rows = contrast(sides[0], sides[1] if right else None, minus, range_of(left.measure))
        for row in rows:
            self._add(row)
        return self.note(rows)

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Row]]:
        """Note the rows that are read inside the block; the list has them, in the order of the table, after it."""
        seen: dict[int, Row] = {}
        found: list[Row] = []
        self._seen.append(seen)
        try:
            yield found
        finally:
            self._seen.pop()  # not remove: two that noted the same are equal
            found += sorted(seen.values(), key=lambda row: self._place[id(row)])

    def note(self, rows: list[Row]) -> list[Row]:
        """Note rows as read, and return them, without those that are not of this table."""
        rows = [row for row in rows if id(row) in self._place]
        for seen in self._seen:
            seen.update((id(row), row) for row in rows)
        return rows


def _at(rows: Sequence[Row], at: int | str) -> Iterator[Row]:
    """Yield the rows of one iteration, or of each seed's last one."""
    last: dict[int | None, int] = {}
    for row in rows:
        last[row.seed] = max(last.get(row.seed, 0), row.iteration or 0)
    wanted = dict.fromkeys(last, at) if isinstance(at, int) else last
    return (row for row in rows if at == ANY or (row.iteration or 0) == wanted[row.seed])


def _learner(row: Row) -> str:
    return row.learner or row.algorithm or ""


def _other(row: Row) -> str:
    return row.other_learner or row.other_algorithm or ""
