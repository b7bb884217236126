"""The answer of raghu2020 in a few sentences, by stated rules: what is reused and what is relearned."""

from __future__ import annotations

from metaprobe.analyses.readings import Estimate, Undefined
from metaprobe.reports.blocks.declared import Figure
from metaprobe.reports.claims import POINTS, Verdict, above
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.raghu2020.paper import COST, RANGES, SIMILAR
from metaprobe.reports.probing import blocks as shared
from metaprobe.reports.probing.questions import JUDGED, accuracy, cost, further_steps, gains, of_layer
from metaprobe.reports.quantities import ANY, q
from metaprobe.reports.study.study import Answer, Judgements
from metaprobe.reports.verdicts import all_of
from metaprobe.reports.wording import block_name, capital, count, label_of, listed, number, with_interval

# fmt: off
_RULES = (
    f"Freezing speaks for reuse where freezing the body costs MAML under {COST} points, for relearning where it costs "
    f"more; similarity where every layer of the body stays above {SIMILAR} in CCA and CKA, and where one falls below. "
    "Both for reuse: reused. Both for relearning: relearned, or mixed where freezing a shorter block costs MAML under "
    "the margin and the untrained network over it. One against the other: mixed. One of them undecided: undecided. "
    f"Before all that, MAML must be shown to be more than {COST} points above the untrained network, both under the "
    "NIL head, and above chance: else nothing is shown to have been learned, and there is nothing to reuse or relearn.")
_SAID = {"holds": "speaks for reuse", "does not hold": "speaks for relearning"}
_COSTS = {"holds": f"stays within {COST} points", "does not hold": f"costs over {COST}", "undecided": "is undecided"}

def classify(freezing: Verdict, similarity: Verdict, learned: Verdict, part_reused: bool) -> str:
    """Return the headline by the rules: `learned` is the verdict on the gain, `part_reused` is of a shorter block."""
    if learned in ("does not hold", "undecided"):
        return "Nothing is shown to have been learned that could be reused"
    if learned != "holds" or not {freezing, similarity} <= {"holds", "does not hold"}:
        return "Undecided"
    if freezing != similarity or (freezing == "does not hold" and part_reused):
        return "Mixed: part reuse, part relearning"
    return f"The body is {'reused' if freezing == 'holds' else 'relearned'}"

def answer(evidence: Evidence, judged: Judgements) -> Answer:
    """Answer the study's question from its verdicts and numbers."""
    if "maml" not in evidence.learners:
        held = listed([label_of(who) for who in evidence.learners if who != "random"]) or "no learner"
        told = f"The question and its claims are about MAML, and this study holds {held}: what follows has no verdict."
        return Answer("Not judged: no MAML in this study", (told,), _RULES)
    blocks, full = judged["R1"].parts, block_name(evidence.full)
    freezing = all_of(one.verdict for one in blocks[-1:])
    similarity = all_of(one.verdict for one in judged["R2"].parts if one.part.clear_of is not None)
    lead, over_chance = (gain.read(evidence) for gain in gains("maml", evidence).values())
    learned: Verdict = "not measured" if lead is None or over_chance is None else all_of(
        above(COST).judge(gain) for gain in (lead, over_chance))
    untrained = {one.part.name: one.part.rule.judge(one.control) for one in blocks}
    found = {verdict: [one.part.name for one in blocks if one.verdict == verdict] for verdict in _COSTS}
    reused = [name for name in found["holds"] if name != full and untrained[name] == "does not hold"]
    passed = [name for name, verdict in untrained.items() if verdict == "holds"]
    told = [f"freezing {listed(names)} {_COSTS[verdict]}" for verdict, names in found.items()
            if names and freezing == "does not hold" and len(blocks) > 1]
    if reused:
        told.append(f"freezing {listed(reused)} costs the untrained network more, so what is kept there was learned")
    if passed:
        told.append(f"in an untrained network, freezing {listed(passed)} costs as little: it shows nothing there")
    told.append("no untrained network was tested: the costs have nothing to be read against" if lead is None else
                f"under the NIL head, MAML's features are worth {with_interval(lead, **POINTS)} against untrained ones")
    figure = Figure("answer-figure", "What freezing costs, and how alike each layer is before and after adaptation.",
                    (shared.frozen_blocks(evidence, ("maml", "random")),
                     shared.similarities(evidence, "debiased_cka", ("maml",), RANGES)),
                    ("What freezing costs, and what adaptation changes", "The table holds neither for MAML."))
    every = (*_numbers(evidence), *_tension(freezing, similarity, learned), f"{capital('; '.join(told))}.")
    return Answer(classify(freezing, similarity, learned, bool(reused)), every, _RULES, figure)

def _numbers(evidence: Evidence) -> list[str]:
    """Say the reuse index, what freezing the body costs, and how similar its layers stay."""
    found, nil = (q("reuse_index", learner="maml", head=head, frozen=ANY).read(evidence) for head in ("own", "nil"))
    full, name, steps = evidence.full, block_name(evidence.full), evidence.test_steps
    told = [f"The reuse index has no number: {found.reason}."] if isinstance(found, Undefined) else []
    if isinstance(found, Estimate):
        more = f", {with_interval(nil, 2)} with the NIL head" * isinstance(nil, Estimate)
        told = [f"Reuse index {with_interval(found, 2)} with MAML's own head at {count(steps, 'step')}{more}: the "
                f"share of MAML's gain over untrained features left with {name} frozen (1: all reused; 0: none)."]
    change, *levels = (one.read(evidence) for one in (cost("maml", full), accuracy("maml"), accuracy("maml", full)))
    between = " to ".join(number(one.value) for one in levels if isinstance(one, Estimate))
    further = {n: cost("maml", full, steps=n).read(evidence) for n in further_steps(evidence, "maml")[-1:]}
    more = "".join(f"; with {count(n, 'step')} at test by {with_interval(one, **POINTS)}" for n, one in further.items())
    told.append(f"On {evidence.made.data_name}, " + (
        f"freezing {name} in the inner loop changes MAML's {evidence.made.task} accuracy by "
        f"{with_interval(change, **POINTS)}{f', from {between} %' * ('to' in between)}, at "
        f"{count(steps, 'inner step')} (trained with {evidence.trained_steps}){more}."
        if change else "what freezing the body costs MAML was not measured."))
    parts = []
    for measure, short in JUDGED.items():
        layers = (of_layer(measure, k, "maml").read(evidence) for k in evidence.body)
        values = [one.value for one in layers if isinstance(one, Estimate)]
        head = with_interval(of_layer(measure, evidence.head, "maml").read(evidence), 2)
        parts += [f"{short} {number(min(values), 2)} to {number(max(values), 2)} (head {head})"] if values else []
    return [*told, f"Before against after adaptation, the layers of the body have {' and '.join(parts)}." if parts else
            "How similar the representations are before and after adaptation was not measured."]

def _tension(freezing: Verdict, similarity: Verdict, learned: Verdict) -> list[str]:
    """Say where the two kinds of evidence part, and where what speaks for reuse does not count."""
    kinds, told = {"freezing": freezing, "similarity": similarity}, []
    if freezing != similarity:
        said = listed([f"{kind} {_SAID.get(verdict, f'is {verdict}')}" for kind, verdict in kinds.items()])
        both = {*kinds.values()} == {*_SAID}
        told = [f"{'The two kinds of evidence disagree' if both else 'Only one kind of evidence decides'}: {said}."]
    if learned != "holds":
        told.append("None of this counts here: " + {
            "does not hold": f"MAML gained no more than {COST} points over the untrained network or over chance",
            "undecided": f"a gain of MAML by more than {COST} points over the untrained network and over chance is not "
            "shown"}.get(learned, "what MAML gained over an untrained network was not measured") + ".")
    return [" ".join(told)] * bool(told)
