"""From what was measured to verdicts: of each part, of the claim, in words, and what would decide it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import get_args

from metaprobe.analyses.readings import Estimate, Reading, Undefined
from metaprobe.reports.claims import Claim, Part, Verdict
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.wording import DASH, capital, listed

__all__ = ["REFUTED", "Judged", "Judgement", "all_of", "judge"]

REFUTED = (
    "A claim holds when every part does, each by its own 95 % interval. It does not hold where a part misses its bound "
    "by an interval that is simultaneous over the claim’s parts (Bonferroni: 1 − 0.05/parts, by Student’s t), so that "
    "a claim of many parts is not refuted by chance; a part that misses it by its own interval alone is undecided. "
    "Where what a claim is about was not learned, it is not applicable."
)


@dataclass(frozen=True)
class Judged:
    """A part with what was found."""

    part: Part  # the part
    reading: Reading  # of its quantity
    verdict: Verdict  # on it
    alone: bool  # whether it fails by its own interval, and not by one that is simultaneous over the claim's parts
    control: Reading  # reading of the control


@dataclass(frozen=True)
class Judgement:
    """What a study says about a claim."""

    claim: Claim  # the claim
    verdict: Verdict  # on it
    parts: tuple[Judged, ...]  # what was found of each
    ours: tuple[str, ...]  # our figures with intervals, a line each
    why: str  # how the verdict follows from them, and what limits it
    decide: str = ""  # where it is undecided, what would decide it


def all_of(verdicts: Iterable[Verdict]) -> Verdict:
    """Judge a claim of several parts: one part that fails decides, and it holds only when every part was measured."""
    parts = tuple(verdicts)
    if "does not hold" in parts:
        return "does not hold"
    if all(part == "not measured" for part in parts):
        return "not measured"
    return "holds" if all(part == "holds" for part in parts) else "undecided"


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """Return the verdict on a claim, with its words."""
    readings = [part.quantity.read(evidence) for part in claim.parts]
    measured = sum(reading is not None for reading in readings)
    parts = tuple(_judged(*each, measured, evidence) for each in zip(claim.parts, readings, strict=True))
    verdict = all_of(part.verdict for part in parts)
    if verdict == "not measured":
        return Judgement(claim, verdict, parts, (DASH,), claim.needs)
    if lacking := claim.presupposes(evidence) if claim.presupposes else "":
        return Judgement(claim, "not applicable", parts, _ours(claim, parts, evidence), lacking)
    if guard := claim.guard(evidence) if claim.guard else "":
        verdict = "undecided"
    remark = claim.remark(evidence) if claim.remark else ""
    alone = [one for one in parts if one.alone]
    unpaired = [one for one in parts if isinstance(one.reading, Estimate) and one.reading.unpaired]
    why = [f"{capital(_grouped(parts))}."]
    why += [_of("By its own interval {} would fail, by one that is simultaneous over all parts not.", alone)]
    why += [_control(claim, parts), _of("Taken as independent, for want of a paired difference: {}.", unpaired)]
    why += [guard, remark]
    decide = _decide(claim, parts, evidence) if verdict == "undecided" and not guard else ""
    return Judgement(claim, verdict, parts, _ours(claim, parts, evidence), " ".join(filter(None, why)), decide)


def _judged(part: Part, reading: Reading, of: int, evidence: Evidence) -> Judged:
    """Judge one part `of` so many: it holds by its own interval, and fails by one that is simultaneous over them."""
    verdict, alone = part.rule.judge(reading), False
    if verdict == "does not hold" and isinstance(reading, Estimate):
        alone = part.rule.judge(reading.simultaneous(of, len(evidence.seeds))) != "does not hold"
        verdict = "undecided" if alone else verdict
    null = part.clear_of.read(evidence) if part.clear_of is not None and verdict == "holds" else None
    if isinstance(null, Undefined):
        verdict = "undecided"
    elif isinstance(null, Estimate) and isinstance(reading, Estimate) and reading.ends[0] <= null.ends[1]:
        verdict = "undecided"  # it does not stand out from its null
    control = None if part.control is None else part.control.read(evidence)
    return Judged(part, reading, verdict, alone, control)


def _ours(claim: Claim, parts: Iterable[Judged], evidence: Evidence) -> tuple[str, ...]:
    told = [claim.lead] if claim.lead else []
    beside = ((one, one.quantity.read(evidence)) for one in claim.beside)
    told += [claim.words(one, found) for one, found in beside if found is not None]
    told += [claim.words(one.part, one.reading) for one in parts]
    return tuple(dict.fromkeys(told))


def _grouped(parts: Iterable[Judged]) -> str:
    """Join the parts of each verdict and rule: "conv1 and conv2: under 2.1 points; conv1–3: undecided"."""
    groups: dict[tuple[Verdict, str], dict[str, None]] = {}
    for one in sorted(parts, key=lambda one: get_args(Verdict).index(one.verdict)):
        words = {"holds": one.part.rule.holds, "does not hold": one.part.rule.fails}.get(one.verdict, one.verdict)
        groups.setdefault((one.verdict, words), {})[one.part.name] = None
    return "; ".join(f"{listed([*names])}: {words}" for (_, words), names in groups.items())


def _of(sentence: str, parts: Iterable[Judged]) -> str:
    """Return a sentence with the names of parts in it; "" where there are none."""
    names = [one.part.name for one in parts]
    return sentence.format(listed(names)) * bool(names)


def _control(claim: Claim, parts: tuple[Judged, ...]) -> str:
    if not claim.control:
        return ""
    if all(one.control is None for one in parts):
        return f"{capital(claim.control)} was not tested, so these numbers have nothing to be read against."
    passed = (one for one in parts if one.part.rule.judge(one.control) == "holds")
    return _of(f"{capital(claim.control)} passes the same test for {{}}: there it shows nothing.", passed)


def _decide(claim: Claim, parts: Iterable[Judged], evidence: Evidence) -> str:
    """Say what would decide the first part that is undecided, or is missing."""
    for one in parts:
        if one.verdict == "undecided":
            more = f"more {claim.counted}, or more seeds, would narrow the interval."
            return f"{capital(one.part.name)}: {_what_would_decide(one, claim.counted, evidence) or more}"
    return _of("What is missing: {}.", (one for one in parts if one.verdict == "not measured"))


def _what_would_decide(one: Judged, counted: str, evidence: Evidence) -> str:
    """Say what would decide a part; "" where its interval decides already.

    An interval shrinks with the root of the number of tasks, so d the distance of the value from the bound and h the
    half-width on that side, (h/d)² times as many tasks would do if nothing else were uncertain.
    """
    found = one.reading
    if isinstance(found, Undefined):
        return f"Undefined, so nothing of this kind decides it: {found.reason}."
    if found is None or found.low is None or found.high is None or one.alone:
        return ""
    bounds = [bound for bound in one.part.rule.region if math.isfinite(bound)]
    bound = min(bounds, key=lambda bound: abs(bound - found.value), default=math.inf)
    if not found.low <= bound <= found.high:
        return "it does not stand out from its null." if one.part.clear_of is not None else ""
    fixed = one.part.quantity.fixed(evidence)
    if isinstance(fixed, Estimate) and fixed.low is not None and not fixed.low <= bound <= fixed.ends[1]:
        return "More seeds would decide it: for those at hand the tasks suffice."
    distance = abs(found.value - bound)
    half = found.value - found.low if found.value > bound else found.high - found.value
    if half == 0.0:  # as of a count over all of something, which no sample stands behind
        return "The value is exact and stands on the bound."
    if distance <= half / 10:
        return f"The value is so near the bound that hardly any number of {counted} would decide it."
    if fixed is not None:
        return f"More {counted} would decide it, and more seeds."
    number = f" (about {_rounded((half / distance) ** 2 * found.n)} instead of {found.n:,})" if found.n else ""
    return f"More {counted}{number} would decide it."


def _rounded(number: float) -> str:
    """Return a number that is a guess, so with two digits."""
    size = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / size) * size:,.0f}"
