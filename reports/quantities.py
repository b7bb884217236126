"""The one language in which the table of a study is asked.

    q("accuracy", learner="maml", frozen="conv1,conv2") - q("accuracy", learner="maml")

is what freezing two layers changes: paired where the table has both on the same tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from metaprobe.analyses.contrasts import DIFFERENCE, FIXED, minus_of, range_of
from metaprobe.analyses.readings import Reading, definite, mapped, pool, quadrature
from metaprobe.analyses.table import Row

if TYPE_CHECKING:
    from metaprobe.reports.evidence import Evidence

__all__ = ["ANY", "Computed", "Difference", "Quantity", "Query", "q", "says"]

ANY = "any"  # as the value of a column: whatever it says
# columns that say nothing in a row that is asked for, unless the question names them
_BLANK = ("layer", "frozen", "adapts", "group", "cluster", "view", "other_layer")
# what `q` is asked by name beside the learner; all else that it is asked are columns of the row
_OWN = ("other_learner", "at", "steps", "step", "head")


class Quantity:
    """A number to be read off the evidence: one question, or what follows from several."""

    def read(self, evidence: Evidence) -> Reading:
        """Return the number with its interval, or why it has none; None where it was not measured."""
        return definite(self._read(evidence))

    def fixed(self, evidence: Evidence) -> Reading:
        """Return the same with an interval of these seeds alone; None where there is none, or no other to be."""
        return definite(self._read(evidence, FIXED))

    def _read(self, evidence: Evidence, ending: str = "") -> Reading:
        """Return the reading; `ending` is "" or, of these seeds alone, `FIXED`, as in the name of the measure."""
        raise NotImplementedError

    def __sub__(self, other: Quantity | float) -> Quantity:
        return Difference(self, other) if isinstance(other, Quantity) else _Mapped(self, -other, 1.0)

    def __neg__(self) -> Quantity:
        return 0.0 - self

    def __rsub__(self, other: float) -> Quantity:
        return _Mapped(self, other, -1.0)


@dataclass(frozen=True)
class Query(Quantity):
    """A question to the table; see `q`."""

    measure: str  # what was measured
    learner: str  # what the study calls the learner
    other_learner: str = ""  # what it calls the second, of two that are compared
    at: int | str = "last"  # the training iteration; "last" for each seed's last one that has the measure
    steps: int | str = "test"  # inner steps of the test; "test" for the number that verdicts rest on
    step: int | str = "last"  # the inner step that is looked at; "last" for the last one there is
    head: str = "own"  # "own", "nil", or "maml" for a head trained on the finished body
    columns: tuple[tuple[str, object], ...] = ()  # what other columns say

    def fits(self, row: Row, test_steps: int) -> bool:
        """Return whether a row answers this, but for its iteration and, where the last step is asked for, its step."""
        asked = dict.fromkeys(_BLANK, "") | dict(self.columns)
        if not all(says(row, name, value) for name, value in asked.items()):
            return False
        if (row.head or "own") != self.head and self.head != ANY:
            return False
        free = self.head == "nil" or isinstance(self.step, int)  # no steps with this head; each step has its own
        if "phase" not in asked and not free and self.steps != 0 and row.phase == "pre":
            return False
        taken, looked_at = (test_steps if told is None else told for told in (row.inner_steps, row.step))
        if not free and taken != (test_steps if self.steps == "test" else self.steps) and self.steps != ANY:
            return False
        return not isinstance(self.step, int) or looked_at == self.step

    def _read(self, evidence: Evidence, ending: str = "") -> Reading:
        if ending:
            return pool(evidence.rows_of(_renamed(self, self.measure + ending)))
        rows = evidence.rows_of(self)
        if len({row.seed for row in rows}) > 1 and all(row.seed is not None for row in rows):
            rows = rows + evidence.made_from(self, None, None)[:1]
        return pool(rows, range_of(self.measure))


@dataclass(frozen=True)
class Difference(Quantity):
    """left − right: paired where the table has that, or both on the same tasks; else as if independent."""

    left: Quantity
    right: Quantity

    def _read(self, evidence: Evidence, ending: str = "") -> Reading:
        paired = self._paired(evidence, "")  # which makes the rows of both endings
        if ending:
            return self._paired(evidence, ending)
        return quadrature(self.left.read(evidence), self.right.read(evidence)) if paired is None else paired

    def _paired(self, evidence: Evidence, ending: str) -> Reading:
        if not (isinstance(self.left, Query) and isinstance(self.right, Query)):
            return None
        for left, right, sign in ((self.left, self.right, 1.0), (self.right, self.left, -1.0)):
            minus = minus_of(_differing(left, right))
            asked = _renamed(left, left.measure + DIFFERENCE + ending, minus=minus)
            rows = evidence.rows_of(asked)
            # (a single row is that of one seed's own test, whose interval is made in the same way)
            if sign > 0 and not ending and len(rows) != 1 and all(row.seed is not None for row in rows):
                rows = rows + evidence.made_from(left, right, minus)[:1]
            if rows:
                return mapped(pool(rows), 0.0, sign)
        return None


@dataclass(frozen=True)
class Computed(Quantity):
    """What follows from several readings by a rule of its own."""

    function: Callable[[Evidence], Reading]

    def _read(self, evidence: Evidence, ending: str = "") -> Reading:
        return None if ending else self.function(evidence)


@dataclass(frozen=True)
class _Mapped(Quantity):
    """offset + sign · quantity."""

    quantity: Quantity
    offset: float
    sign: float

    def _read(self, evidence: Evidence, ending: str = "") -> Reading:
        found = self.quantity.fixed(evidence) if ending else self.quantity.read(evidence)
        return mapped(found, self.offset, self.sign)


def q(measure: str, *, learner: str, **asked: Any) -> Query:
    """Ask for a number of the table: of all seeds, with its interval.

    What is `asked` are further fields of a `Query` (`ANY` in `steps` and `head`: whatever they are), and what other
    columns of the row say. Of those that are not named, `layer`, `frozen`, `adapts`, `group`, `cluster`, `view` and
    `other_layer` say nothing, and `phase` does not say "pre".
    """
    own = {name: asked.pop(name) for name in _OWN if name in asked}
    return Query(measure, learner, **own, columns=tuple(asked.items()))


def _renamed(query: Query, measure: str, **columns: object) -> Query:
    return replace(query, measure=measure, columns=tuple((dict(query.columns) | columns).items()))


def _differing(left: Query, right: Query) -> Mapping[str, object]:
    """Return what the right side says in the columns in which the two differ."""
    if left.measure != right.measure:
        return {"measure": right.measure}
    sides = [{n: getattr(side, n) for n in ("learner", *_OWN)} | dict(side.columns) for side in (left, right)]
    if "nil" in (left.head, right.head):
        sides = [{name: value for name, value in side.items() if name != "steps"} for side in sides]
    names = dict.fromkeys((*sides[0], *sides[1]))
    return {name: sides[1].get(name, "") for name in names if sides[0].get(name, "") != sides[1].get(name, "")}


def says(row: Row, column: str, value: object) -> bool:
    """Return whether a column of a row says so; None and "" say the same, and `ANY` asks for nothing."""
    said = getattr(row, column)
    return value == ANY or (said == value) or (said in (None, "") and value in (None, ""))
