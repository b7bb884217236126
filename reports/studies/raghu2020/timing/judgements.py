"""The verdict on R11, by the rule that `claims.py` states; and the readings that it and the page share."""

from __future__ import annotations

from reports.evidence import Estimate, Reading, pool
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.raghu2020.timing.claims import JUDGED_TIMES, PAPER_SPEEDUPS, TIMING_CLAIMS, VIEWS
from reports.studies.verdicts import Judgement, Verdict, all_of, judge_above, what_would_decide
from reports.wording import ALGORITHM_NAMES, capital, listed, with_interval

__all__ = ["timed", "timing_judgements"]


def timed(study: StudyTable, measure: str, algorithm: str, view: str) -> Reading:
    """Return a time in seconds, or a ratio to MAML's, over the rounds of timing.

    Args:
        study: the questions to its table.
        measure: "training_seconds", "training_speedup", "inference_seconds" or "inference_speedup".
        algorithm: "maml", "fomaml" or "anil".
        view: the condition, of `VIEWS`.
    """
    return pool([row for row in study.every(measure, algorithm) if row.view == view])


def timing_judgements(study: StudyTable) -> tuple[Judgement, ...]:
    """Return the verdict on R11."""
    (claim,) = TIMING_CLAIMS
    found = {
        (view, what, name): timed(study, f"{what}_speedup", name, view) for view in VIEWS for what, name in JUDGED_TIMES
    }
    parts: dict[tuple[str, str, str], Verdict] = {key: judge_above(ratio, 1.0) for key, ratio in found.items()}
    verdict = all_of(parts.values())
    if verdict == "not measured":
        return (Judgement(claim, verdict, ("\N{EM DASH}",), "The study holds no timings."),)
    ours = []
    for view, name in VIEWS.items():
        ours.append(f"{name}, times faster than MAML:")
        ours += [f"{_who(key)} {with_interval(ratio, 2)}" for key, ratio in found.items() if key[0] == view]
    phrases = {
        "holds": "faster: {}",
        "does not hold": "slower: {}",
        "undecided": "not told apart from MAML: {}",
        "not measured": "not measured: {}",
    }
    told = []
    for view, name in VIEWS.items():
        groups = {v: [_who(k) for k, part in parts.items() if k[0] == view and part == v] for v in phrases}
        told.append(f"{capital(name)}: {'; '.join(phrases[v].format(listed(g)) for v, g in groups.items() if g)}.")
    open_ones = [key for key, part in parts.items() if part == "undecided"]
    decide = [f"{_who(k)}, {VIEWS[k[0]]}: {what_would_decide(found[k], 1.0, what='rounds')}" for k in open_ones]
    why = " ".join([*told, _as_large(found)]).strip()
    return (Judgement(claim, verdict, tuple(ours), why, capital(" ".join(decide))),)


def _who(key: tuple[str, str, str]) -> str:
    _, what, name = key
    return f"{what} of {ALGORITHM_NAMES[name]}"


def _as_large(found: dict[tuple[str, str, str], Reading]) -> str:
    """Say how the ratios under the paper's conditions stand to the smaller of its two figures."""
    told = []
    for (view, what, name), ratio in found.items():
        if view != "paper" or not isinstance(ratio, Estimate):
            continue
        least = min(PAPER_SPEEDUPS[what][name])
        how = {"holds": "is above", "does not hold": "is below"}.get(judge_above(ratio, least), "may be either side of")
        told.append(f"{_who((view, what, name))} {how} the paper's {least:g}")
    return f"In size, under the paper's conditions: {'; '.join(told)}." if told else ""
