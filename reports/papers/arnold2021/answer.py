"""What the arnold2021 page says first: whether depth, or an external optimiser, makes a network adapt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analyses.readings import Estimate
from reports.blocks.declared import Figure
from reports.claims import Verdict, above
from reports.evidence import Evidence
from reports.papers.arnold2021 import paper
from reports.papers.arnold2021.claims import scalar
from reports.papers.arnold2021.paper import COMPARED, HOWS, MARGIN, RULES, depths, gain, key_of, measured, shallowest
from reports.probing.questions import untaught
from reports.quantities import ANY, q
from reports.study.study import Answer
from reports.verdicts import Judgement
from reports.wording import listed, with_interval

# fmt: off
_SAID: dict[Verdict, str] = {"holds": "helps", "does not hold": "does not help", "undecided": "is undecided"}

def answer(evidence: Evidence, judged: Mapping[str, Judgement]) -> Answer:
    """Answer the study's question by the gains in the shallowest network."""
    least = shallowest(evidence)
    rules = (f"By the gains over plain MAML in CNN({least}), on the same tasks: one helps whose interval lies above 0, "
             "does not where it lies below; else it is undecided.")
    depth, rule = (_SAID.get(above(0).judge(gain("maml", least, how).read(evidence)), "was not measured")
                   for how in ("linnet", "meta_kfo"))
    headline = f"In a shallow network depth by linear layers {depth}; an external optimiser (Meta-KFO) {rule}"
    if told := untaught(evidence, MARGIN, key_of("maml", least), control=False):
        headline = "Nothing is shown to have been learned that depth could improve"
    sentences = (*filter(None, [told]), *_sentences(evidence, least, judged))
    return Answer(headline, sentences, rules, _figure(evidence, least))

def _sentences(evidence: Evidence, least: int, judged: Mapping[str, Judgement]) -> Iterator[str]:
    made, plain = evidence.made, measured("maml", least).read(evidence)
    gained = {name: gain("maml", least, how).read(evidence) for how, name in HOWS.items() if how}
    if told := [f"{name} {with_interval(one, 1, ' points', signed=True)}" for name, one in gained.items() if one]:
        yield (f"On {made.task} tasks of {made.data_name}, MAML in CNN({least}) is right on "
               f"{with_interval(plain, 1, ' %')} of queries. Beside that: {listed(told)}.")
    deeper = depths(evidence, "")
    if len(deeper) > 1 and (found := (measured("maml", deeper[-1]) - measured("maml", least)).read(evidence)):
        yield (f"For comparison, {deeper[-1] - least} more convolutions change it by "
               f"{with_interval(found, 1, ' points', signed=True)}.")
    index = {how: q("reuse_index", learner=key_of("maml", least, how), frozen=ANY).read(evidence) for how in COMPARED}
    if reused := [f"{HOWS[how]} {with_interval(one, 2)}" for how, one in index.items() if isinstance(one, Estimate)]:
        yield f"Of what was learned these shares are in the convolutions as they are (reuse index): {listed(reused)}."
    shallow, deep = (scalar("excess_error", model).read(evidence) for model in ("shallow", "deep"))
    if shallow and deep:
        yield ("In one dimension, where all is known, one step leaves an error of "
               f"{with_interval(shallow, 3)} in the shallow model and of {with_interval(deep, 3)} in the deep one.")
    if against := [name for name, one in judged.items() if one.verdict == "does not hold"]:
        yield f"Of the paper's claims {listed(against)} {'does' if len(against) == 1 else 'do'} not hold here."

def _figure(evidence: Evidence, least: int) -> Figure:
    return Figure("answer-figure", "Test accuracy by depth, and what each adds to MAML in the shallowest network.",
                  (paper.by_depth("Test accuracy (%)", depths(evidence, "") or (least,), HOWS, measured),
                   paper.gains(evidence, f"Gain in CNN({least}) (points, paired)", "maml", ("linnet", *RULES))),
                  ("Depth and update rules", "The table holds no tests of either."))
