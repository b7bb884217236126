"""From intervals to verdicts on claims, and the table that shows them: what all studies share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from reports.evidence import Estimate, Reading, Undefined
from reports.page import Cell, Mark, PageTable, Rows

__all__ = [
    "Claim",
    "Judgement",
    "Verdict",
    "all_of",
    "claims_table",
    "first_undecided",
    "judge_above",
    "judge_below",
    "judge_lower",
    "what_would_decide",
]

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]

_MARKS: dict[str, Mark] = {"holds": "good", "does not hold": "bad", "undecided": "open", "not measured": "none"}


@dataclass(frozen=True)
class Claim:
    """One claim of the paper as a thing to measure.

    Attributes:
        id: its number in this project.
        title: the claim in a few words.
        quantity: what is measured, in the paper's terms.
        paper: the paper's figures as printed.
        where: where in the paper.
        setting: data and set-up of the paper's figures.
        rule: when the claim counts as holding.
        evidence: names of the figures, tables or sections of the page that show what it is judged by.
    """

    id: str
    title: str
    quantity: str
    paper: str
    where: str
    setting: str
    rule: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """What a study says about a claim.

    Attributes:
        claim: the claim.
        verdict: holds, does not hold, undecided or not measured.
        ours: our figures with intervals, a line each.
        why: how the verdict follows from them, and what limits it.
        decide: where it is undecided, what would decide it.
    """

    claim: Claim
    verdict: Verdict
    ours: tuple[str, ...]
    why: str
    decide: str = ""


def judge_above(reading: Reading, threshold: float) -> Verdict:
    """Judge "the quantity exceeds a threshold": by its whole interval, never by its value alone."""
    if reading is None:
        return "not measured"
    if isinstance(reading, Undefined) or reading.low is None or reading.high is None:
        return "undecided"
    if reading.low > threshold:
        return "holds"
    return "does not hold" if reading.high < threshold else "undecided"


def judge_below(reading: Reading, threshold: float) -> Verdict:
    """Judge "the quantity stays under a threshold": by its whole interval."""
    if isinstance(reading, Estimate):
        low, high = reading.low, reading.high
        reading = Estimate(-reading.value, None if high is None else -high, None if low is None else -low)
    return judge_above(reading, -threshold)


def judge_lower(left: Reading, right: Reading) -> Verdict:
    """Judge "left is below right" by two intervals that must not touch."""
    if left is None or right is None:
        return "not measured"
    if not isinstance(left, Estimate) or not isinstance(right, Estimate) or right.low is None or right.high is None:
        return "undecided"
    if judge_below(left, right.low) == "holds":
        return "holds"
    return "does not hold" if judge_above(left, right.high) == "holds" else "undecided"


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Judge a claim of several parts: one part that fails decides, and it holds only when every part was measured."""
    parts = tuple(verdicts)
    if "does not hold" in parts:
        return "does not hold"
    if all(part == "not measured" for part in parts):
        return "not measured"
    return "holds" if all(part == "holds" for part in parts) else "undecided"


def what_would_decide(found: Reading, bound: float, fixed: Reading = None, what: str = "tasks") -> str:
    """Say what would decide "the quantity is above (or below) a bound"; "" where its interval decides already.

    An interval shrinks with the root of the number of tasks, so d the distance of the value from the bound and h the
    half-width on that side, (h/d)² times as many tasks would do if nothing else were uncertain.

    Args:
        found: the quantity.
        bound: the rule's.
        fixed: the same of these seeds alone, where there are several.
        what: what its n counts.
    """
    if isinstance(found, Undefined):
        return f"Undefined, so nothing of this kind decides it: {found.reason}."
    if found is None or found.low is None or found.high is None or not found.low <= bound <= found.high:
        return ""
    if isinstance(fixed, Estimate) and fixed.low is not None and fixed.high is not None:
        decided = not fixed.low <= bound <= fixed.high
        if decided:
            return "More seeds would decide it: for those at hand the tasks suffice."
    distance = abs(found.value - bound)
    half = found.value - found.low if found.value > bound else found.high - found.value
    if distance < half / 10:
        return "The value is so near the bound that hardly any number of tasks would decide it."
    factor = (half / distance) ** 2
    count = f" (about {_rounded(factor * found.n)} instead of {found.n})" if found.n and fixed is None else ""
    return f"More {what}{count} would decide it" + (", and more seeds." if fixed is not None else ".")


def first_undecided(parts: Mapping[str, tuple[Verdict, str]]) -> str:
    """Return what would decide the first part of a claim that is undecided, with its name; "" where none is.

    Args:
        parts: by name: the verdict on the part, and what would decide it.
    """
    for name, (verdict, told) in parts.items():
        if verdict == "undecided":
            return f"{name}: {told}" if told else f"{name}: more tasks, or more seeds, would narrow the interval."
    return ""


def _rounded(number: float) -> str:
    """Return a number that is a guess, so with two digits."""
    size = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / size) * size:,.0f}"


def claims_table(judged: Sequence[Judgement], *remarks: str) -> PageTable:
    """Return the overview: each claim, the paper's figures, ours, the verdict and why.

    Args:
        judged: the claims, in order.
        remarks: said under the table, after the rules.
    """
    rows = tuple(
        (
            Cell(j.claim.id, (j.claim.title,)),
            Cell(j.verdict, mark=_MARKS[j.verdict]),
            Cell(j.ours[0], j.ours[1:], links=j.claim.evidence),
            Cell(j.claim.paper, (f"{j.claim.where}; {j.claim.setting}",)),
            Cell(j.why, (j.decide,) if j.decide and j.verdict == "undecided" else ()),
        )
        for j in judged
    )
    behind = pd.DataFrame(
        [
            {
                "claim": j.claim.id,
                "title": j.claim.title,
                "quantity": j.claim.quantity,
                "paper": j.claim.paper,
                "where": j.claim.where,
                "setting": j.claim.setting,
                "ours": "; ".join(j.ours),
                "verdict": j.verdict,
                "why": j.why,
                "decide": j.decide if j.verdict == "undecided" else "",
                "rule": j.claim.rule,
            }
            for j in judged
        ]
    )
    caption = (
        "The paper's claims, its figures, ours with 95 % intervals, and the verdict. The paper's figures come from "
        "other data and other training: they stand here for comparison, and the verdict is on the direction of the "
        "claim."
    )
    rules = (*(f"{j.claim.id} holds when {j.claim.rule}." for j in judged), *remarks)
    header = ("Claim", "Verdict", "This study, 95 % intervals", "Paper", "Why, and what would decide it")
    return PageTable("claims", caption, header, rows, Rows("claims", behind), rules, stacked=True)
