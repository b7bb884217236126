"""The learners in a table: each with a name that tells it from the others, and with the look that pages give it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from metaprobe.analyses.readings import pool
from metaprobe.analyses.table import Row
from metaprobe.reports.wording import GROUP_MARKS, capital, colour_of, count, label_of, look_of, with_interval

__all__ = ["Learner", "bars_of", "learners_of", "of", "said"]

_OTHERWISE: tuple[Callable[[Row], str], ...] = (  # what tells learners of one name apart, the first that does
    lambda row: "" if row.seed is None else f"seed {row.seed}",
    lambda row: "" if row.iteration is None else f"iteration {row.iteration:,}",
    lambda row: row.source or "" if row.algorithm == "random" else "",  # "adapted as maml 0123456789ab"
    lambda row: (row.checkpoint or "")[:6],
    lambda row: "" if row.inner_steps is None else count(row.inner_steps, "step"),
    lambda row: (row.source or "")[:12],
)


@dataclass(frozen=True)
class Learner:
    """A learner that rows are of."""

    label: str  # in legends and sentences
    colour: str  # of its marks
    marker: str  # matplotlib's name of them
    rows: tuple[Row, ...]  # those of it, in order

    @property
    def title(self) -> str:
        """Its name at the beginning of a title."""
        return capital(self.label)


def learners_of(rows: Iterable[Row]) -> list[Learner]:
    """Return the learners that rows are of: one a checkpoint, and where it was tested in several ways, one a way."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        key = (row.checkpoint, row.algorithm, row.update_rule, row.seed, row.iteration, row.source)
        found.setdefault(key, []).append(row)
    groups = list(found.values())
    labels = [_name(rows[0]) for rows in groups]
    for told in _OTHERWISE:
        counts = Counter(labels)
        alike = {
            label
            for label, times in counts.items()
            if times > 1 and len({told(rows[0]) for rows, own in zip(groups, labels, strict=True) if own == label}) > 1
        }
        labels = [
            f"{label}, {own}" if label in alike and (own := told(rows[0])) else label
            for label, rows in zip(labels, groups, strict=True)
        ]
    return [
        Learner(label, *_look(place, groups), tuple(rows))
        for place, (label, rows) in enumerate(zip(labels, groups, strict=True))
    ]


def _name(row: Row) -> str:
    if row.algorithm is None:
        return f"checkpoint {(row.checkpoint or '')[:6]}".strip()
    return label_of(row.algorithm) + (f" with {row.update_rule}" if row.update_rule else "")


def _look(place: int, groups: list[list[Row]]) -> tuple[str, str]:
    """Return colour and marker: a learner's own, and of further ones of that kind others that nobody else has."""
    kinds = [rows[0].algorithm or "" for rows in groups]
    kind, own = kinds[place], {colour_of(kind) for kind in kinds}
    again = [at for at in range(len(kinds)) if kinds[at] in kinds[:at]]
    if place not in again:
        return look_of(kind)[1:]
    free = [look for look in GROUP_MARKS if look[0] not in own] or list(GROUP_MARKS)
    return free[again.index(place) % len(free)]


def of(rows: Iterable[Row], **columns: object) -> Row | None:
    """Return the first row in which columns say so; None where there is none."""
    return next((row for row in rows if all(getattr(row, name) == told for name, told in columns.items())), None)


def said(row: Row, digits: int = 1, unit: str = "", *, signed: bool = False) -> str:
    """Return the number of a row with its interval, as in a sentence."""
    return with_interval(pool([row]), digits, unit, signed=signed).replace("\N{NO-BREAK SPACE}", " ")


def bars_of(rows: Iterable[Row]) -> str:
    """Return what a caption says of the bars of rows that it draws; nothing where no row has an interval."""
    sizes = [row.n for row in rows if row.value is not None and row.low is not None]
    if not sizes:
        return ""
    return f" Bars: 95 % intervals over {count(sizes[0] or 0, 'task')}."
