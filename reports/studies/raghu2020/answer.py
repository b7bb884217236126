"""The answer of the study in a few sentences, by stated rules: what is reused and what is relearned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.evidence import Estimate, minus
from reports.studies.raghu2020.claims import ACCURACY_MARGIN, SIMILARITY_THRESHOLD, Verdict, all_of, judge_above
from reports.studies.raghu2020.judgements import JUDGED, freezing_verdict, similarity_verdict
from reports.studies.raghu2020.study_table import BLOCKS, BODY, FULL, StudyTable
from reports.wording import ALGORITHM_NAMES, block_name, capital, listed, number, with_interval

__all__ = ["RULES", "Answer", "Kind", "answer", "classify"]

Kind = Literal["reused", "relearned", "mixed", "mostly reused", "mostly relearned", "undecided", "not judged"]

RULES = (
    f"Freezing speaks for reuse when freezing conv1–4 in the inner loop costs MAML under {ACCURACY_MARGIN} points "
    "with its whole interval, and for relearning when it costs more with its whole interval. Similarity speaks for "
    f"reuse when every convolution layer stays above {SIMILARITY_THRESHOLD} in CCA and in CKA, and for relearning "
    "when one of them falls below. The untrained network is the control: either kind speaks for reuse only where, "
    f"with conv1–4 frozen in both, MAML is shown to be more than {ACCURACY_MARGIN} points above the untrained network, "
    "so that what is kept was learned. Both for reuse: reused. Both for relearning: relearned, or mixed where a "
    "shorter block is shown to be reused: freezing it costs MAML under the margin and the untrained network over it "
    "(a lead in accuracy does not count there, as the unfrozen layers may be what earns it). One against the other: "
    "mixed. Only one of them decided: mostly. Neither: undecided. Where a kind would speak for reuse and "
    "the control fails, is undecided or was not measured: undecided."
)

_HEADLINES: dict[Kind, str] = {
    "reused": "The body is reused",
    "relearned": "The body is relearned",
    "mixed": "Mixed: part reuse, part relearning",
    "mostly reused": "The body is mostly reused",
    "mostly relearned": "The body is mostly relearned",
    "undecided": "Undecided",
    "not judged": "Not judged: no MAML in this study",
}


@dataclass(frozen=True)
class Answer:
    """What the page says first.

    Attributes:
        kind: the outcome of the rules.
        headline: the outcome in a few words.
        sentences: the answer with its numbers, then what speaks against it or limits it.
    """

    kind: Kind
    headline: str
    sentences: tuple[str, ...]


def classify(
    freezing: Verdict, similarity: Verdict, *, learned: Verdict = "not measured", part_reused: bool = False
) -> Kind:
    """Combine the two kinds of evidence as `RULES` says.

    Args:
        freezing: whether freezing the whole body costs less than the margin.
        similarity: whether every convolution layer keeps its representation.
        learned: whether the frozen trained body beats the frozen untrained one by more than the margin.
        part_reused: whether a shorter block freezes within the margin where it does not in the untrained network.
    """
    found = {freezing, similarity} & {"holds", "does not hold"}
    if not found or ("holds" in found and learned != "holds"):
        return "undecided"
    if len(found) == 2:
        return "mixed"
    if freezing != similarity:
        return "mostly reused" if "holds" in found else "mostly relearned"
    if "holds" in found:
        return "reused"
    return "mixed" if part_reused else "relearned"


def answer(study: StudyTable, data: str, task: str) -> Answer:
    """Answer the study's question from its table.

    Args:
        study: the questions to its table.
        data: name of the data set.
        task: the kind of task, as in "5-way 1-shot".
    """
    if not any(entry.algorithm == "maml" for entry in study.entries):
        return Answer("not judged", _HEADLINES["not judged"], (_no_maml(study),))
    freezing = freezing_verdict(study, FULL)
    similarity = all_of(similarity_verdict(study, layer, m) for m in JUDGED for layer in BODY)
    learned = judge_above(study.gap("maml", "random", FULL), ACCURACY_MARGIN)
    reused = [block for block in BLOCKS[:-1] if _part_reused(study, block)]
    kind = classify(freezing, similarity, learned=learned, part_reused=bool(reused))
    sentences = (
        _reuse(study),
        _cost(study, data, task),
        _similarity(study),
        _tension(kind, freezing, similarity, learned),
        _parts(study, freezing, reused),
        _head_steps(study),
        _untrained(study),
    )
    return Answer(kind, _HEADLINES[kind], tuple(sentence for sentence in sentences if sentence))


def _no_maml(study: StudyTable) -> str:
    known = {entry.algorithm for entry in study.entries} - {"random"}
    held = listed([name for algorithm, name in ALGORITHM_NAMES.items() if algorithm in known] or ["no learner"])
    return f"The question and its claims are about MAML, and this study holds {held}: what follows has no verdict."


def _part_reused(study: StudyTable, block: str) -> bool:
    untrained = freezing_verdict(study, block, algorithm="random")
    return freezing_verdict(study, block) == "holds" and untrained == "does not hold"


def _cost(study: StudyTable, data: str, task: str) -> str:
    cost, full, frozen = (
        study.test("maml", FULL, measure="accuracy_difference"),
        study.test("maml"),
        study.test("maml", FULL),
    )
    if cost is None:
        return f"On {data}, what freezing the body costs MAML was not measured."
    steps = f"{study.trained_steps} inner step{'s' * (study.trained_steps != 1)}"
    levels = ""
    if isinstance(full, Estimate) and isinstance(frozen, Estimate):
        levels = f", from {number(full.value)} to {number(frozen.value)} %"
    return (
        f"On {data}, freezing all four convolution layers in the inner loop changes MAML's {task} accuracy by "
        f"{with_interval(cost, signed=True, unit=' points')}{levels}, at the {steps} it was trained with."
    )


def _reuse(study: StudyTable) -> str:
    """Say in one sentence what share of what was learned is there without touching the body."""
    found, nil = study.reuse("maml"), study.reuse("maml", head="nil")
    if not isinstance(found, Estimate):
        return "" if found is None else f"The reuse index has no number: {found.reason}."
    told = f"{with_interval(found, 2)} with MAML's own head at {study.trained_steps} steps"
    if isinstance(nil, Estimate):
        told += f", {with_interval(nil, 2)} with the NIL head"
    return (
        f"Reuse index {told}: the share of MAML's gain over untrained features that is there with conv1–4 frozen "
        "(1: all reused; 0: all relearned)."
    )


def _similarity(study: StudyTable) -> str:
    parts = []
    for measure, name in JUDGED.items():
        values = [study.similarity(measure, "maml", layer) for layer in BODY]
        known = [value.value for value in values if isinstance(value, Estimate)]
        head = study.similarity(measure, "maml", "head")
        if known:
            parts.append(f"{name} {number(min(known), 2)} to {number(max(known), 2)} (head {with_interval(head, 2)})")
    if not parts:
        return "How similar the representations are before and after adaptation was not measured."
    return f"Before against after adaptation, the convolution layers have {' and '.join(parts)}."


def _tension(kind: Kind, freezing: Verdict, similarity: Verdict, learned: Verdict) -> str:
    if freezing == "does not hold" and similarity == "holds":
        told = (
            "The two kinds of evidence disagree: the representations hardly change by these measures, yet the accuracy "
            "depends on the change."
        )
    elif freezing == "holds" and similarity == "does not hold":
        told = (
            "The two kinds of evidence disagree: adaptation changes the body's representations, yet the accuracy does "
            "not need the change."
        )
    elif (freezing == "holds") != (similarity == "holds") or kind.startswith("mostly"):
        told = f"Only one kind of evidence decides: freezing {_said(freezing)}, similarity {_said(similarity)}."
    else:
        told = ""
    if "holds" in (freezing, similarity) and learned != "holds":
        why = {"does not hold": "does not lead by that much", "not measured": "was not compared"}
        told += (
            f" What speaks for reuse does not count here: with conv1–4 frozen, MAML should be shown to lead the "
            f"untrained network by more than {ACCURACY_MARGIN} points, and {why.get(learned, 'the lead is undecided')}."
        )
    return told.strip()


def _parts(study: StudyTable, freezing: Verdict, reused: list[str]) -> str:
    """Say block by block what freezing a part shows, where freezing the whole body costs accuracy."""
    if freezing != "does not hold":
        return ""
    judged = {block: freezing_verdict(study, block) for block in BLOCKS}
    phrases: dict[Verdict, str] = {
        "holds": f"stays within {ACCURACY_MARGIN} points",
        "does not hold": f"costs more than {ACCURACY_MARGIN}",
        "undecided": "is undecided",
    }
    if sum(verdict in phrases for verdict in judged.values()) < 2:
        return ""  # the whole body alone: said before
    told = []
    for verdict, phrase in phrases.items():
        names = [block_name(block) for block in BLOCKS if judged[block] == verdict]
        told += [f"freezing {listed(names)} {phrase}"] if names else []
    if reused:
        names = listed([block_name(block) for block in reused])
        told.append(f"freezing {names} costs the untrained network more, so what is kept there was learned")
    return capital("; ".join(told)) + "."


def _head_steps(study: StudyTable) -> str:
    """Say what more steps of the head alone do: a cost that goes away was the head's, not the body's."""
    found = {step: study.test("maml", FULL, steps=step, measure="accuracy_difference") for step in study.cost_steps()}
    known = {step: cost for step, cost in found.items() if isinstance(cost, Estimate)}
    now = study.test("maml", FULL, measure="accuracy_difference")
    if not known or not isinstance(now, Estimate) or freezing_verdict(study, FULL) == "holds":
        return ""
    step = max(known)
    verdict, cost = freezing_verdict(study, FULL, steps=step), with_interval(known[step], signed=True, unit=" points")
    if verdict == "holds":
        end = "what freezing cost was the head needing more steps"
    else:
        gain = minus(known[step], now)
        less = isinstance(gain, Estimate) and gain.low is not None and gain.low > 0
        kept = "so far, more steps of the head do not make up for it" if verdict == "does not hold" else "undecided"
        end = "part of the cost was the head needing more steps" if less else kept
    return f"With {step} steps at test the change is {cost}: {end}."


def _untrained(study: StudyTable) -> str:
    if study.test("random") is None:
        return "No untrained network was tested: the costs above have nothing to be read against."
    free = [block for block in BLOCKS if freezing_verdict(study, block, algorithm="random") == "holds"]
    parts = []
    if free:
        parts.append(
            f"In an untrained network, freezing {listed([block_name(b) for b in free])} costs less than "
            f"{ACCURACY_MARGIN} points too, so a small cost there shows nothing by itself"
        )
    gap = study.gap("maml", "random", FULL)
    if isinstance(gap, Estimate):
        told = with_interval(gap, signed=True, unit=" points")
        parts.append(f"with conv1–4 frozen, MAML's features are worth {told} against untrained ones")
    return capital("; ".join(parts)) + "." if parts else ""


def _said(verdict: Verdict) -> str:
    return {"holds": "speaks for reuse", "does not hold": "speaks for relearning"}.get(verdict, f"is {verdict}")
