"""The verdicts on R7, R8 and R12, by the rules that `claims.py` states."""

from __future__ import annotations

import dataclasses
import itertools

from reports.evidence import Estimate, Reading, pool
from reports.studies.raghu2020.derived import FIXED
from reports.studies.raghu2020.regimes.claims import HEAD_MARGIN, NAMES, ORDER, REGIME_CLAIMS, REGIMES
from reports.studies.raghu2020.regimes.readings import difference_between_heads, maml_head, nil_head
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.verdicts import (
    Claim,
    Judgement,
    Verdict,
    all_of,
    first_undecided,
    judge_above,
    judge_below,
    judge_lower,
    what_would_decide,
)
from reports.wording import capital, listed, number, with_interval

__all__ = ["regime_judgements"]

_CLAIMS: dict[str, Claim] = {claim.id: claim for claim in REGIME_CLAIMS}
_BEST = ("maml", "anil")


def regime_judgements(study: StudyTable) -> tuple[Judgement, ...]:
    """Return the verdicts on R7, R8 and R12."""
    return (_no_head(study), _best(study), _heads(study))


def _no_head(study: StudyTable) -> Judgement:
    gap = _negative(difference_between_heads(study, "anil"))
    if gap is None:
        return _unmeasured("R7", "no test of ANIL with both heads")
    verdict = judge_above(gap, -HEAD_MARGIN)
    ours = (
        f"own head {with_interval(maml_head(study, 'anil'), unit=' %')}",
        f"NIL head {with_interval(nil_head(study, 'anil'), unit=' %')}",
        f"NIL − own {with_interval(gap, signed=True, unit=' points')}",
    )
    why = {
        "holds": f"With the NIL head ANIL is less than {HEAD_MARGIN} points behind, or ahead.",
        "does not hold": f"With the NIL head ANIL is more than {HEAD_MARGIN} points behind.",
    }.get(verdict, f"The interval of the difference reaches across −{HEAD_MARGIN} points.")
    return Judgement(_CLAIMS["R7"], verdict, ours, why, _decide_gap(study, "anil", HEAD_MARGIN))  # of own − NIL


def _best(study: StudyTable) -> Judgement:
    found = {regime: nil_head(study, regime) for regime in REGIMES}
    others = [regime for regime in REGIMES if regime not in _BEST]
    pairs: dict[tuple[str, str], Verdict] = {
        (best, other): _above(study, best, other) for best in _BEST for other in others
    }
    verdict = all_of(pairs.values())
    if verdict == "not measured":
        return _unmeasured("R8", "no tests with the NIL head of MAML or ANIL beside another regime")
    ours = [f"{NAMES[regime]} {with_interval(value, unit=' %')}" for regime, value in found.items()]
    why = []
    for best in _BEST:
        told = _grouped(
            {other: pairs[best, other] for other in others},
            {"holds": "above {}", "does not hold": "below {}", "undecided": "not told apart from {}"},
        )
        why.append(f"{NAMES[best]}: {told or 'not measured'}.")
    lacking = [NAMES[regime] for regime, value in found.items() if value is None]
    if lacking:
        why.append(f"Not measured: {listed(lacking)}.")
    decide = first_undecided(
        {
            f"{NAMES[best]} against {NAMES[other]}": (part, _decide_pair(study, best, other))
            for (best, other), part in pairs.items()
        }
    )
    return Judgement(_CLAIMS["R8"], verdict, tuple(ours), " ".join([*why, _order(found)]), decide)


def _above(study: StudyTable, best: str, other: str) -> Verdict:
    """Judge "better than the other" by the difference on the same tasks; without it, by intervals that must part."""
    gap = study.between(best, other, head="nil")
    return judge_lower(nil_head(study, other), nil_head(study, best)) if gap is None else judge_above(gap, 0.0)


def _heads(study: StudyTable) -> Judgement:
    gaps = {regime: difference_between_heads(study, regime) for regime in REGIMES}
    parts: dict[str, Verdict] = {regime: _within(gap) for regime, gap in gaps.items()}
    verdict = all_of(parts.values())
    if verdict == "not measured":
        return _unmeasured("R12", "no test of a body with both heads")
    ours = [f"{NAMES[regime]} {with_interval(gap, signed=True)}" for regime, gap in gaps.items()]
    told = _grouped(
        parts,
        {
            "holds": f"within ±{HEAD_MARGIN} points: {{}}",
            "does not hold": f"more than {HEAD_MARGIN} points apart: {{}}",
            "undecided": "undecided: {}",
            "not measured": "not measured: {}",
        },
    )
    decide = first_undecided({NAMES[r]: (part, _decide_gap(study, r, _nearer(gaps[r]))) for r, part in parts.items()})
    return Judgement(_CLAIMS["R12"], verdict, ("MAML head − NIL head, points:", *ours), f"{capital(told)}.", decide)


def _nearer(gap: Reading) -> float:
    """Return the bound that a difference is nearer to."""
    return -HEAD_MARGIN if isinstance(gap, Estimate) and gap.value < 0 else HEAD_MARGIN


def _decide_gap(study: StudyTable, regime: str, bound: float) -> str:
    """Say what would decide a claim about own or MAML head − NIL head."""
    gap, fixed = difference_between_heads(study, regime), pool(study.rows("head_difference" + FIXED, regime))
    return what_would_decide(gap, bound, fixed)


def _decide_pair(study: StudyTable, best: str, other: str) -> str:
    fixed = study.between(best, other, head="nil", fixed=True)
    return what_would_decide(study.between(best, other, head="nil"), 0.0, fixed)


def _within(gap: Reading) -> Verdict:
    return all_of((judge_above(gap, -HEAD_MARGIN), judge_below(gap, HEAD_MARGIN)))


def _grouped(parts: dict[str, Verdict], phrases: dict[Verdict, str]) -> str:
    """Join the regimes of each verdict into its phrase; a verdict without a phrase is left out."""
    told = []
    for verdict, phrase in phrases.items():
        names = [NAMES[regime] for regime, part in parts.items() if part == verdict]
        told += [phrase.format(listed(names))] if names else []
    return "; ".join(told)


def _order(found: dict[str, Reading]) -> str:
    """Say how the regimes rank here: ">" where the intervals of two neighbours do not touch, "≥" where they do."""
    known = [(regime, value) for regime, value in found.items() if isinstance(value, Estimate)]
    known.sort(key=lambda pair: -pair[1].value)
    if len(known) < 2:
        return ""
    told = f"{NAMES[known[0][0]]} {number(known[0][1].value)}"
    for (_, above), (regime, value) in itertools.pairwise(known):
        sign = ">" if judge_lower(value, above) == "holds" else "≥"
        told += f" {sign} {NAMES[regime]} {number(value.value)}"
    return f"Order here (> where intervals do not touch): {told}. The paper's: {ORDER}."


def _negative(reading: Reading) -> Reading:
    if not isinstance(reading, Estimate):
        return reading
    low, high = (None if end is None else -end for end in (reading.high, reading.low))
    each = tuple((seed, -value) for seed, value in reading.per_seed)
    return dataclasses.replace(reading, value=-reading.value, low=low, high=high, per_seed=each)


def _unmeasured(claim: str, reason: str) -> Judgement:
    return Judgement(_CLAIMS[claim], "not measured", ("\N{EM DASH}",), f"The study holds {reason}.")
