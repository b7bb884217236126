"""The answer of the study in a few sentences, by stated rules: what is reused and what is relearned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from reports.evidence import Estimate, minus
from reports.studies.raghu2020.claims import ACCURACY_MARGIN, SIMILARITY_THRESHOLD, Verdict, all_of
from reports.studies.raghu2020.judgements import JUDGED, freezing_verdict, similarity_verdict
from reports.studies.raghu2020.study_table import BLOCKS, BODY, FULL, StudyTable
from reports.wording import block_name, listed, number, with_interval

__all__ = ["RULES", "Answer", "Kind", "answer", "classify"]

Kind = Literal["reused", "relearned", "mixed", "mostly reused", "mostly relearned", "undecided"]

RULES = (
    f"Freezing speaks for reuse when freezing conv1–4 in the inner loop costs MAML under {ACCURACY_MARGIN} points "
    "with its whole interval, and for relearning when it costs more with its whole interval. Similarity speaks for "
    f"reuse when every convolution layer stays above {SIMILARITY_THRESHOLD} in CCA and in CKA, and for relearning "
    "when one of them falls below. Both for reuse: reused. Both for relearning: relearned, or mixed where a "
    "shorter block can be frozen within the margin. One against the other: mixed. Only one of them decided: "
    "mostly. Neither: undecided. Untrained features within the margin of the frozen MAML's turn “reused” into "
    "“undecided”: nothing learned is then seen to be reused."
)

_HEADLINES: dict[Kind, str] = {
    "reused": "The body is reused",
    "relearned": "The body is relearned",
    "mixed": "Mixed: part reuse, part relearning",
    "mostly reused": "The body is mostly reused",
    "mostly relearned": "The body is mostly relearned",
    "undecided": "Undecided",
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
    freezing: Verdict, similarity: Verdict, part_free: bool = False, beats_untrained: bool | None = None
) -> Kind:
    """Combine the two kinds of evidence as `RULES` says.

    Args:
        freezing: whether freezing the whole body costs less than the margin.
        similarity: whether every convolution layer keeps its representation.
        part_free: whether a shorter block can be frozen within the margin.
        beats_untrained: whether frozen trained features beat untrained ones; None when that was not measured.
    """
    decided = {"holds": "reused", "does not hold": "relearned"}
    one, other = decided.get(freezing), decided.get(similarity)
    kind: Kind
    if one and other:
        kind = (
            "mixed"
            if one != other or (one == "relearned" and part_free)
            else "reused"
            if one == "reused"
            else "relearned"
        )
    elif one or other:
        kind = "mostly reused" if "reused" in (one, other) else "mostly relearned"
    else:
        kind = "undecided"
    return "undecided" if beats_untrained is False and kind in ("reused", "mostly reused") else kind


def answer(study: StudyTable, data: str, task: str) -> Answer:
    """Answer the study's question from its table.

    Args:
        study: the questions to its table.
        data: name of the data set.
        task: the kind of task, as in "5-way 1-shot".
    """
    freezing = freezing_verdict(study, FULL)
    similarity = all_of(similarity_verdict(study, layer, m) for m in JUDGED for layer in BODY)
    free = [block for block in BLOCKS[:-1] if freezing_verdict(study, block) == "holds"]
    beats = _beats_untrained(study)
    kind = classify(freezing, similarity, bool(free), beats)
    sentences = (
        _cost(study, data, task),
        _similarity(study),
        _tension(kind, freezing, similarity, free),
        _head_steps(study),
        _untrained(study),
    )
    return Answer(kind, _HEADLINES[kind], tuple(sentence for sentence in sentences if sentence))


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


def _tension(kind: Kind, freezing: Verdict, similarity: Verdict, free: list[str]) -> str:
    part = ""
    if free and freezing == "does not hold":
        part = (
            f" Freezing up to {block_name(free[-1])} stays within {ACCURACY_MARGIN} points; the layers above are what "
            "adaptation needs."
        )
    if freezing == "does not hold" and similarity == "holds":
        return (
            "The two kinds of evidence disagree: the representations hardly change by these measures, yet the accuracy "
            "depends on the change." + part
        )
    if freezing == "holds" and similarity == "does not hold":
        return (
            "The two kinds of evidence disagree: adaptation changes the body's representations, yet the accuracy does "
            "not need the change."
        )
    if kind.startswith("mostly"):
        return f"Only one kind of evidence decides: freezing {_said(freezing)}, similarity {_said(similarity)}." + part
    return part.strip()


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
        end = (
            "part of the cost was the head needing more steps"
            if less
            else "more steps of the head do not make up for it"
        )
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
    ours, theirs = study.test("maml", FULL), study.test("random", FULL)
    if isinstance(ours, Estimate) and isinstance(theirs, Estimate):
        gap = with_interval(minus(ours, theirs), signed=True, unit=" points")
        parts.append(f"with conv1–4 frozen, MAML's features are worth {gap} against untrained ones")
    return "; ".join(parts)[:1].upper() + "; ".join(parts)[1:] + "." if parts else ""


def _beats_untrained(study: StudyTable) -> bool | None:
    gap = minus(study.test("maml", FULL), study.test("random", FULL))
    return gap.low > ACCURACY_MARGIN if isinstance(gap, Estimate) and gap.low is not None else None


def _said(verdict: Verdict) -> str:
    return {"holds": "speaks for reuse", "does not hold": "speaks for relearning"}.get(verdict, f"is {verdict}")
