"""Rows planted from the questions that a study asks: what it claims and shows is turned without knowing it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

from metaprobe.analyses.contrasts import DIFFERENCE, FIXED
from metaprobe.analyses.table import Row, Table
from metaprobe.reports.blocks import figure
from metaprobe.reports.blocks.declared import Block, Custom, Figure, Grid
from metaprobe.reports.claims import Claim, Part, Verdict
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Made
from metaprobe.reports.page import compose
from metaprobe.reports.quantities import ANY, Query
from metaprobe.reports.study.study import Study
from metaprobe.reports.verdicts import judge

VALUE, HALF = 0.5, 0.01  # of what is planted unasked


class _Asking(Evidence):
    """Evidence that keeps the questions it has no rows for."""

    def __init__(self, table: Table, made: Made) -> None:
        super().__init__(table, made)
        self.unanswered: dict[Query, None] = {}

    def rows_of(self, query: Query, single: bool = False) -> list[Row]:
        found = super().rows_of(query, single)
        if not found and not single and not query.measure.endswith(FIXED):
            self.unanswered[query] = None
        return found


def planted(study: Study, rows: Iterable[Row], made: Made) -> Evidence:
    """Return evidence that has a row for every question of the study's claims and blocks."""
    rows = list(rows)
    for _ in range(9):
        evidence = _Asking(Table.of(rows), made)
        for block in blocks_of(study, evidence):
            read(block, evidence)
        if not evidence.unanswered:
            return evidence
        rows = list(dict.fromkeys((*rows, *(_answering(query, evidence) for query in evidence.unanswered))))
    raise AssertionError(f"still without a row: {list(evidence.unanswered)[:3]}")


def blocks_of(study: Study, evidence: Evidence) -> Iterator[Block]:
    """Yield what a page declares, what it says first last, as that takes verdicts."""
    for section in study.sections(evidence, lambda _: ""):
        yield from (*section.blocks, *section.details)
    shown = study.answer(evidence, {claim.id: judge(claim, evidence) for claim in study.claims(evidence)}).figure
    yield from [shown] if shown else []


def read(block: Block, evidence: Evidence) -> list[Row]:
    """Return the rows that a block reads, without drawing it."""
    with evidence.recording() as rows:
        match block:
            case Grid():
                compose.rows_of(block, evidence)
            case Figure():
                figure.sketches(block, evidence)
            case Custom():
                block.draw(evidence)
    return rows


def _answering(query: Query, evidence: Evidence) -> Row:
    columns = {name: value for name, value in query.columns if value != ANY}
    known = [
        row.iteration or 0 for row in evidence.rows if (row.measure, row.learner) == (query.measure, query.learner)
    ]
    steps = query.steps if isinstance(query.steps, int) else evidence.test_steps
    told = {
        "seed": 0, "iteration": query.at if isinstance(query.at, int) else max(known, default=0),
        "head": "own" if query.head == ANY else query.head, "inner_steps": 0 if query.head == "nil" else steps,
        "phase": "pre" if query.head == "nil" or not steps else "post", "n": 400,
        "step": query.step if isinstance(query.step, int) else None, "learner": query.learner,
        "other_learner": query.other_learner or None,
    }  # fmt: skip
    return Row(measure=query.measure, value=VALUE, low=VALUE - HALF, high=VALUE + HALF, **(told | columns))


def verdict_of(part: Part, claim: Claim, evidence: Evidence) -> Verdict:
    """Return the verdict on one part of a claim, as one of all its parts."""
    bare = dataclasses.replace(claim, beside=(), guard=None, remark=None, presupposes=None)
    return judge(bare, evidence).parts[claim.parts.index(part)].verdict


def held(claim: Claim, evidence: Evidence) -> Evidence:
    """Return evidence moved so that each part of a claim holds; without measures that it does not read."""
    with evidence.recording() as read:
        judge(claim, evidence)
    names = {name for row in read for name in (row.measure, row.measure.removesuffix(DIFFERENCE))}
    evidence = Evidence(Table.of(row for row in evidence.rows if row.measure in names), evidence.made)
    for part in (*claim.parts, *claim.parts):  # again, as what one part is compared with may be another part
        evidence = moved(part, claim, evidence, "holds")
    return evidence


def moved(part: Part, claim: Claim, evidence: Evidence, wanted: Verdict) -> Evidence:
    """Return evidence whose rows that a part reads are moved until it has a verdict; as it is where none does."""
    with evidence.recording() as rows:
        part.quantity.read(evidence)
    for move in _moves(part.rule.region, wanted):
        found = _changed(evidence, {row: move(row) for row in rows if not row.measure.endswith("_null")})
        if verdict_of(part, claim, found) == wanted:
            return found
    return evidence


def without(part: Part, evidence: Evidence) -> Evidence:
    """Return evidence that lacks whatever a part is read from."""
    while part.quantity.read(evidence) is not None:
        with evidence.recording() as rows:
            part.quantity.read(evidence)
        evidence = _changed(evidence, dict.fromkeys(rows))
    return evidence


def _changed(evidence: Evidence, changes: Mapping[Row, Row | None]) -> Evidence:
    rows = (changes.get(row, row) for row in evidence.rows)
    return Evidence(Table.of(row for row in rows if row is not None), evidence.made)


def _moves(region: tuple[float, float], wanted: Verdict) -> Iterator[Callable[[Row], Row]]:
    """Yield ways to move rows, the likeliest first: all to a value, perhaps mirrored, or all by a factor."""
    low, high = (bound if math.isfinite(bound) else None for bound in region)
    bound = high if low is None else low
    if bound is None:
        return
    yield lambda row: row
    for step in (max(0.05 * abs(bound), 0.02), 0.5 * abs(bound)):
        inside = bound - step if low is None else bound + step if high is None else (low + high) / 2
        outside = bound + step if low is None else bound - step
        value = {"holds": inside, "does not hold": outside}[wanted]
        for target in (value, -value, 1 - value):
            # (narrow enough for one of many parts, also by two seeds)
            ends = {"low": target - step / 100, "high": target + step / 100}
            yield lambda row, value=target, ends=ends: dataclasses.replace(row, value=value, **ends)
    for factor in (-1.0, 0.5):
        yield lambda row, by=factor: dataclasses.replace(row, **_times(row, by))


def _times(row: Row, factor: float) -> dict[str, float | None]:
    ends = [None if end is None else factor * end for end in (row.low, row.high)]
    low, high = ends if factor > 0 else reversed(ends)
    return {"value": None if row.value is None else factor * row.value, "low": low, "high": high}
