"""From intervals to verdicts on claims, and the table that shows them: what all studies share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    "judge_above",
    "judge_below",
    "judge_lower",
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
    """

    id: str
    title: str
    quantity: str
    paper: str
    where: str
    setting: str
    rule: str


@dataclass(frozen=True)
class Judgement:
    """What a study says about a claim.

    Attributes:
        claim: the claim.
        verdict: holds, does not hold, undecided or not measured.
        ours: our figures with intervals, a line each.
        why: how the verdict follows from them, and what limits it.
    """

    claim: Claim
    verdict: Verdict
    ours: tuple[str, ...]
    why: str


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
            Cell(j.ours[0], j.ours[1:]),
            Cell(j.claim.paper, (f"{j.claim.where}; {j.claim.setting}",)),
            Cell(j.why),
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
    header = ("Claim", "Verdict", "This study", "Paper", "Why")
    return PageTable("claims", caption, header, rows, Rows("claims", behind), rules)
