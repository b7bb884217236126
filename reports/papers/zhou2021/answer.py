"""What the zhou2021 page says first: whether initialisations by cluster help, and whether clusters are the domains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from analyses.readings import Estimate
from reports.blocks.declared import Dots, Figure
from reports.claims import Verdict, above, below
from reports.evidence import Evidence
from reports.papers.zhou2021 import claims as of
from reports.papers.zhou2021.claims import BASE, CONTINUED, LARGE, gain, label_of, main_of, plain_of, series
from reports.probing.clusters import of_one_domain
from reports.probing.questions import accuracy
from reports.quantities import q
from reports.study.study import Answer
from reports.verdicts import Judgement
from reports.wording import capital, number, with_interval

# fmt: off
_OPEN = {"undecided": "is undecided", "not measured": "was not measured"}
_GAINS = {"holds": "gains", "does not hold": "loses"}

def answer(evidence: Evidence, judged: Mapping[str, Judgement]) -> Answer:
    """Answer the study's question: what helps, what the clusters are, and what speaks against it."""
    alone = of_one_domain(evidence)
    decides = "Z6" if alone else "Z1"
    helps, finds = judged[decides].verdict, judged["Z4"].verdict
    headline = capital(_outcome("an initialisation for each cluster", "helps", "does not help", helps))
    rules = f"Claim {decides} decides whether initialisations by cluster help"
    if "not applicable" in (helps, finds):
        headline = "Nothing is shown to have been learned that initialisations could improve"
        rules = judged[decides].why
    elif alone:
        headline, rules = f"{headline}, on one domain", f"{rules}: on data of one domain, transductive."
    else:
        bridge = ", and " if (helps == "holds") == (finds == "holds") else "; "
        headline += bridge + _outcome("the clusters", "are the domains", "are not the domains", finds)
        rules += ", claim Z4 whether the clusters are the domains."
    return Answer(headline, tuple(_sentences(evidence, judged)), rules, _figure(evidence))

def _outcome(subject: str, yes: str, no: str, verdict: Verdict) -> str:
    if verdict in _OPEN:
        return f"whether {subject} {yes} {_OPEN[verdict]}"
    return f"{subject} {yes if verdict == 'holds' else no}"

def _sentences(evidence: Evidence, judged: Mapping[str, Judgement]) -> Iterator[str]:
    main, made = main_of(evidence), evidence.made
    gains = {label_of(over): gain(main, over).read(evidence) for over in (BASE, CONTINUED)}
    told = [f"{with_interval(found, 1, ' points', signed=True)} over {over}" for over, found in gains.items() if found]
    own = with_interval(accuracy(main).read(evidence), 1, " %")
    over = "" if of_one_domain(evidence) else " over all domains"
    several = " Only the gain over MAML, continued, is that of several initialisations alone." * (len(told) > 1)
    yield f"On {made.task} tasks of {made.data_name}, " + (
        f"{label_of(main)} is right on {own} of queries{over}: {' and '.join(told)}.{several}" if told
        else "the accuracy of TSA-MAML beside MAML was not measured.")
    *domains, apart = judged["Z4"].parts
    if known := [(one.reading.value, one.part.name) for one in domains if isinstance(one.reading, Estimate)]:
        (share, domain), which = min(known), "no two" if apart.verdict == "holds" else "some"
        yield (f"Of the tasks of a domain, at least {number(100 * share)} % ({domain}) start from one initialisation; "
               f"{which} domains share theirs.")
    by, verdict = [one.reading for one in judged["Z2"].parts if one.reading], judged["Z2"].verdict
    if len(by) == 2 and verdict != "not applicable":
        yield (f"Clusters of tasks agree with the domains to {with_interval(by[0], 2)} by adapted parameters and to "
               f"{with_interval(by[1], 2)} by mean features (adjusted Rand index, 0 chance, 1 identity): that only the "
               f"former show the domains, as the paper says, {_OPEN.get(verdict, verdict)}.")
    order = "unchanged_by_label_order"
    stay, chance = (q(name, learner=main, view="all").read(evidence) for name in (order, f"{order}_null"))
    if below(0.9).judge(stay) == "holds":  # else the order of the labels is not worth a sentence
        yield (f"A share of {with_interval(stay, 2)} of tasks stay in their cluster when only the labels of their "
               f"classes are permuted{f', {with_interval(chance, 2)} by chance' * bool(chance)}: the clusters depend "
               "on the order of the labels.")
    yield from _symmetric(evidence)
    if gap := gain(LARGE, main).read(evidence):
        yield ("MAML with a larger network, trained for as many steps, differs from TSA-MAML by "
               f"{with_interval(gap, 1, ' points', signed=True)}.")

def _symmetric(evidence: Evidence) -> Iterator[str]:
    told = []
    for key, by in ((main := main_of(evidence), "the paper's clusters"), (main + of.SYMMETRIC, "a symmetric head's")):
        over = gain(key, CONTINUED).read(evidence)
        rand = q("adjusted_rand", learner=key, view="assignment").read(evidence)
        if over is None:
            return
        word = _GAINS.get(above(0).judge(over), "neither gains nor loses clearly")
        agrees = f" (clusters agree with the domains to {with_interval(rand, 2)})" * isinstance(rand, Estimate)
        told.append(f"with {by} it {word}, {with_interval(over, 1, ' points', signed=True)}{agrees}")
    yield (f"TSA-MAML against MAML trained on for as long: {'; '.join(told)}. The latter, where the order of labels "
           "cannot count, are not in the paper.")

def _figure(evidence: Evidence) -> Figure:
    main, places = main_of(evidence), ("", *evidence.distinct("group", "accuracy"))
    keys = dict.fromkeys((BASE, plain_of(evidence), main, main + of.SYMMETRIC, LARGE))
    names, keys = tuple(place or "all" for place in places), [key for key in keys if key in evidence.learners]
    levels = [series(key, label_of(key), (accuracy(key, group=at) for at in places)) for key in keys]
    gains = [series(key, f"over {label_of(key)}", (gain(main, key, at) for at in places)) for key in (CONTINUED, BASE)]
    return Figure(
        "accuracy-figure", "Test accuracy of each learner, and the gain of TSA-MAML, on all domains together and each.",
        (Dots("Test accuracy (%)", names, tuple(levels)),
         Dots("Gain of TSA-MAML (points, paired)", names, tuple(gains), line=(0.0, ""))),
        ("Accuracy by domain", "The table holds no test accuracies."))
