"""Claims as data: a claim is made of parts, a part is a quantity and a rule; `reports.verdicts` judges them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from metaprobe.analyses.readings import Estimate, Reading
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.quantities import Quantity
from metaprobe.reports.wording import with_interval

__all__ = ["PERCENT", "POINTS", "Claim", "Part", "Rule", "Told", "Verdict", "above", "below", "within"]

POINTS: dict[str, Any] = {"unit": " points", "signed": True}  # how differences of accuracies are written
PERCENT: dict[str, Any] = {"unit": " %", "signed": False}  # and accuracies beside them

Verdict = Literal["holds", "does not hold", "undecided", "not applicable", "not measured"]


@dataclass(frozen=True)
class Rule:
    """When a part holds, by its whole interval; `above`, `below` and `within` make them."""

    region: tuple[float, float]  # (low, high) in which the interval must lie
    holds: str  # words for the parts that hold, "under 2.1 points"
    fails: str  # words for those that do not
    lenient: bool = False  # whether a part holds, too, whose interval reaches across a bound

    def judge(self, reading: Reading) -> Verdict:
        """Judge a reading by its whole interval, never by its value alone."""
        if not isinstance(reading, Estimate):
            return "not measured" if reading is None else "undecided"
        low, high = self.region
        if reading.low is not None and reading.high is not None:
            if (reading.low > low or low == -math.inf) and (reading.high < high or high == math.inf):
                return "holds"
            if reading.high < low or reading.low > high:
                return "does not hold"
        return "holds" if self.lenient else "undecided"


def above(bound: float, holds: str = "", fails: str = "", *, lenient: bool = False) -> Rule:
    """Return the rule that the whole interval lies above a bound; a `lenient` one fails only where it lies below."""
    return Rule((bound, math.inf), holds or f"over {bound:g}", fails or f"under {bound:g}", lenient)


def below(bound: float, holds: str = "", fails: str = "") -> Rule:
    """Return the rule that the whole interval lies below a bound."""
    return within(-math.inf, bound, holds or f"under {bound:g}", fails or f"over {bound:g}")


def within(low: float, high: float, holds: str = "", fails: str = "") -> Rule:
    """Return the rule that the whole interval lies between two bounds."""
    return Rule((low, high), holds or f"within {low:g} to {high:g}", fails or f"not within {low:g} to {high:g}")


@dataclass(frozen=True)
class Told:
    """A number that is told beside a claim and not judged."""

    name: str  # what it is of, as sentences say it
    quantity: Quantity  # the number
    # as in the claim where None: decimals, unit (parts of another have a scale of their own), whether with a sign
    digits: int | None = field(default=None, kw_only=True)
    unit: str | None = field(default=None, kw_only=True)
    signed: bool | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class Part(Told):
    """One thing that must hold for a claim to hold."""

    rule: Rule  # when it holds
    clear_of: Quantity | None = None  # its null: where the part holds but does not stand out from it, it is undecided
    control: Quantity | None = None  # the same of the control (an untrained network), for which it should not hold
    printed: tuple[float, ...] = ()  # the paper's figures for it


@dataclass(frozen=True)
class Claim:
    """One claim of a paper as things to measure."""

    id: str  # its number in this project
    title: str  # the claim in a few words
    quantity: str  # what is measured, in the paper's terms
    paper: str  # the paper's figures as printed
    where: str  # where in the paper
    setting: str  # data and set-up of the paper's figures
    rule: str  # when the claim counts as holding, and where its bounds come from
    parts: tuple[Part, ...]  # all of which must hold
    needs: str  # said where nothing was measured: "The study holds no test of MAML with frozen layers."
    # names of the figures, tables or sections of the page that show what it is judged by
    evidence: tuple[str, ...] = ()
    digits: int = 1  # decimals of its numbers
    unit: str = ""  # of its numbers, " points"
    signed: bool = False  # whether they are written with their sign
    lead: str = ""  # words before our figures
    beside: tuple[Told, ...] = ()  # numbers that are told and not judged, before those of the parts
    control: str = ""  # what the parts' controls are of, as in "an untrained network"; "" for none
    guard: Callable[[Evidence], str] | None = None  # from the evidence, why a verdict counts for nothing here, or ""
    # from the evidence, why what the claim is about is not there, as where nothing was learned, or ""
    presupposes: Callable[[Evidence], str] | None = None
    remark: Callable[[Evidence], str] | None = None  # from the evidence, a sentence that no rule gives, or ""
    counted: str = "tasks"  # what n counts, for what would decide it

    def unit_of(self, one: Told) -> str:
        """Return the unit of a number: its own, or that of the claim."""
        return self.unit if one.unit is None else one.unit

    def words(self, one: Told, found: Reading) -> str:
        """Return a reading of one of its numbers as its sentences say it: "conv1: −0.8 points [−1.2, −0.4]"."""
        digits = self.digits if one.digits is None else one.digits
        signed = self.signed if one.signed is None else one.signed
        return f"{one.name}: {with_interval(found, digits, self.unit_of(one), signed=signed)}"
