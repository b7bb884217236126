"""The verdicts on R6, R10 and R13, by the rules that `claims.py` states."""

from __future__ import annotations

import itertools

from reports.studies.raghu2020.pairs.claims import (
    LEARNER_PAIRS,
    MARGINS,
    MEASURES_JUDGED,
    PAIR_CLAIMS,
    PAIRINGS,
    R2_BOUND,
    REGIME_ORDER,
    SLOPE_BAND,
)
from reports.studies.raghu2020.pairs.readings import fit, gap, similar, trainings
from reports.studies.raghu2020.pairs.trainings import Learners
from reports.studies.raghu2020.regimes.claims import NAMES
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.verdicts import Claim, Judgement, Verdict, all_of, judge_above, judge_below
from reports.wording import capital, listed, with_interval

__all__ = ["pair_judgements"]

_CLAIMS: dict[str, Claim] = {claim.id: claim for claim in PAIR_CLAIMS}


def pair_judgements(study: StudyTable) -> tuple[Judgement, ...]:
    """Return the verdicts on R6, R10 and R13."""
    return (_learners(study), _lines(study), _regimes(study))


def _learners(study: StudyTable) -> Judgement:
    across = ("anil", "maml")
    parts: dict[str, Verdict] = {}
    ours = []
    for measure, name in MEASURES_JUDGED.items():
        for pair in LEARNER_PAIRS:
            ours.append(f"{name} {_pair(pair)} {with_interval(similar(study, measure, pair, 'body'), 2)}")
        for within in (("maml", "maml"), ("anil", "anil")):
            found = gap(study, measure, across, within, "body")
            parts[f"{name} against {_pair(within)}"] = judge_above(found, -MARGINS[measure])
            ours.append(f"{_pair(across)} − {_pair(within)} {with_interval(found, 3, signed=True)}")
    if (verdict := all_of(parts.values())) == "not measured":
        seeds = max((len(set(itertools.chain(*trainings(study, pair)))) for pair in LEARNER_PAIRS), default=0)
        return _unmeasured(
            "R6", f"Two trainings of each learner, with different seeds, are needed; there {_are(seeds)}."
        )
    told = _grouped(
        parts,
        {
            "holds": "not less alike than the margin allows: {}",
            "does not hold": "less alike: {}",
            "undecided": "the interval reaches across the margin: {}",
            "not measured": "not measured: {}",
        },
    )
    why = f"{capital(told)}. {_seeds(study, across)}"
    return Judgement(_CLAIMS["R6"], verdict, tuple(ours), why, _decide(verdict, parts, study, across))


def _lines(study: StudyTable) -> Judgement:
    parts: dict[str, Verdict] = {}
    ours = []
    for measure, name in MEASURES_JUDGED.items():
        for phase, words in PAIRINGS.items():
            slope, close = fit(study, measure, "slope", phase), fit(study, measure, "r2_to_identity", phase)
            slopes = (judge_above(slope, SLOPE_BAND[0]), judge_below(slope, SLOPE_BAND[1]))
            parts[f"{name}, {words}"] = all_of((*slopes, judge_above(close, R2_BOUND)))
            ours.append(f"{name}, {words}: slope {with_interval(slope, 2)}, R² about y = x {with_interval(close, 2)}")
    if (verdict := all_of(parts.values())) == "not measured":
        found = trainings(study, ("maml", "maml"))
        return _unmeasured(
            "R10", f"Two trainings of MAML with different seeds are needed; there {_are(len(found) + 1)} at most."
        )
    told = _grouped(
        parts,
        {
            "holds": "on y = x: {}",
            "does not hold": "off y = x: {}",
            "undecided": "undecided: {}",
            "not measured": "not measured: {}",
        },
    )
    count = len(trainings(study, ("maml", "maml")))
    seeds = f"{count} pair{'s' * (count != 1)} of seeds; the intervals are over test tasks, of these trainings alone."
    decide = _decide(verdict, parts, study, ("maml", "maml"))
    return Judgement(_CLAIMS["R10"], verdict, tuple(ours), f"{capital(told)}. {seeds}", decide)


def _regimes(study: StudyTable) -> Judgement:
    parts: dict[str, Verdict] = {}
    ours = []
    for measure, name in MEASURES_JUDGED.items():
        for regime in REGIME_ORDER:
            found = similar(study, measure, (regime, "maml"), "first three")
            ours.append(f"{name} with MAML, {NAMES[regime]}: {with_interval(found, 2)}")
        for one, other in itertools.pairwise(REGIME_ORDER):
            found = gap(study, measure, (one, "maml"), (other, "maml"), "first three")
            parts[f"{name} of {NAMES[one]} over {NAMES[other]}"] = judge_above(found, 0.0)
            ours.append(f"{NAMES[one]} − {NAMES[other]} {with_interval(found, 3, signed=True)}")
    if (verdict := all_of(parts.values())) == "not measured":
        return _unmeasured("R13", "No two neighbours of the order were compared with MAML.")
    told = _grouped(
        parts,
        {
            "holds": "as in the paper: {}",
            "does not hold": "the other way round: {}",
            "undecided": "not told apart: {}",
            "not measured": "not measured: {}",
        },
    )
    learners = ("multiclass", "maml")
    if _same_start(study, learners) or _same_start(study, ("random", "maml")):
        verdict = "undecided"  # a network is like what it began as, whatever trained it
    why = f"{capital(told)}. {_seeds(study, learners)}"
    return Judgement(_CLAIMS["R13"], verdict, tuple(ours), why, _decide(verdict, parts, study, learners))


def _unmeasured(claim: str, needed: str) -> Judgement:
    return Judgement(_CLAIMS[claim], "not measured", ("\N{EM DASH}",), needed)


def _decide(verdict: Verdict, parts: dict[str, Verdict], study: StudyTable, learners: Learners) -> str:
    """Say what would decide an undecided claim."""
    if verdict != "undecided":
        return ""
    if "undecided" not in parts.values() or _same_start(study, learners):
        return "Two seeds of each learner or more, compared across seeds, would decide it."
    if len({frozenset(pair) for pair in trainings(study, learners)}) < 2:
        return "More test tasks would narrow the interval; three seeds or more would say what other trainings give."
    return "More seeds would narrow the interval most; more test tasks a little."


def _same_start(study: StudyTable, learners: Learners) -> bool:
    """Return whether all pairs are of one seed, so of networks that began with the same weights."""
    pairs = trainings(study, learners)
    return bool(pairs) and all(one == other for one, other in pairs)


def _are(seeds: int) -> str:
    return "is one" if seeds == 1 else f"are {seeds or 'none'}"


def _pair(learners: Learners) -> str:
    return "–".join(NAMES[name] for name in learners)


def _grouped(parts: dict[str, Verdict], phrases: dict[Verdict, str]) -> str:
    """Join the parts of each verdict into its phrase."""
    told = []
    for verdict, phrase in phrases.items():
        names = [name for name, part in parts.items() if part == verdict]
        told += [phrase.format(listed(names))] if names else []
    return "; ".join(told)


def _seeds(study: StudyTable, learners: Learners) -> str:
    """Say which seeds were compared, and what that leaves open."""
    if _same_start(study, learners):
        return (
            "One seed each: those networks began with the same weights, which makes them alike whatever trained them, "
            "so this decides nothing."
        )
    pairs = {frozenset(pair) for pair in trainings(study, learners)}
    if not pairs:
        return ""
    if len(pairs) == 1:
        return "One pair of seeds: the interval is over test tasks and says nothing of other trainings."
    return f"{len(pairs)} pairs of seeds: the intervals hold the spread between trainings, too."
