"""The answer of the study in a few sentences, by stated rules: do initialisations by cluster help?"""

from __future__ import annotations

from dataclasses import dataclass

from reports.evidence import Estimate
from reports.studies.verdicts import Verdict, all_of, judge_below
from reports.studies.zhou2021.claims import AGREEMENT, USAGE
from reports.studies.zhou2021.judgements import agreement_verdicts, gain_verdict, usage_verdicts
from reports.studies.zhou2021.learners import BASE, CONTINUED, label_of
from reports.studies.zhou2021.study_table import ZhouTable
from reports.wording import number, with_interval

__all__ = ["RULES", "Answer", "answer"]

RULES = (
    "An initialisation for each cluster helps when claim Z1 holds: the paired gain of TSA-MAML, on all domains "
    "together, lies above 0 with its whole interval, both over the MAML that it starts from and over that MAML trained "
    "on for as many outer steps, and no single domain loses. It does not help when one of these gains lies below 0 "
    "with its whole interval. The clusters are the domains when claim Z4 holds: on every domain, the share of "
    f"tasks that start from its most frequent initialisation lies above {USAGE:g} with its whole interval, and no two "
    "domains share it; they are not when that fails with a whole interval. All else is undecided. Whether adapted "
    f"parameters show the domains better than features do (Z2) is told by the adjusted Rand index, {AGREEMENT:g} being "
    "the bound."
)

_STEADY = 0.9  # share of tasks that keep their cluster under which the order of the labels is worth a sentence

_SHOW: dict[Verdict, str] = {"holds": "show the domains", "does not hold": "do not show them"}
_SHOW |= dict.fromkeys(("undecided", "not measured"), "may or may not")
_OTHER: dict[Verdict, Verdict] = {"holds": "does not hold", "does not hold": "holds"}
_HELPS: dict[Verdict, str] = {
    "holds": "An initialisation for each cluster helps",
    "does not hold": "An initialisation for each cluster does not help",
    "undecided": "Whether an initialisation for each cluster helps is undecided",
    "not measured": "Whether an initialisation for each cluster helps was not measured",
}
_FINDS: dict[Verdict, str] = {
    "holds": "the clusters are the domains",
    "does not hold": "the clusters are not the domains",
    "undecided": "whether the clusters are the domains is undecided",
    "not measured": "whether the clusters are the domains was not measured",
}


@dataclass(frozen=True)
class Answer:
    """What the page says first.

    Attributes:
        helps: whether initialisations by cluster help.
        finds: whether the clusters are the domains.
        headline: both in a few words.
        sentences: the answer with its numbers.
    """

    helps: Verdict
    finds: Verdict
    headline: str
    sentences: tuple[str, ...]


def answer(study: ZhouTable, data: str, task: str) -> Answer:
    """Answer the study's question from its table.

    Args:
        study: the questions to its table.
        data: name of the data set.
        task: the kind of task, as in "5-way 5-shot".
    """
    helps = gain_verdict(study)
    parts = usage_verdicts(study)
    measured = any(part != "not measured" for part in parts.values())
    finds = all_of(parts.values()) if study.favourites_differ() or not measured else "does not hold"
    bridge = ", and " if (helps == "holds") == (finds == "holds") else "; "
    sentences = (_gain(study, data, task), _usage(study), _views(study), _labels(study), _control(study))
    return Answer(helps, finds, _HELPS[helps] + bridge + _FINDS[finds], tuple(s for s in sentences if s))


def _gain(study: ZhouTable, data: str, task: str) -> str:
    gains = [(over, study.gain(study.main, over)) for over in (BASE, CONTINUED)]
    told = [f"{with_interval(g, signed=True, unit=' points')} over {label_of(over)}" for over, g in gains if g]
    if not told:
        return f"On {data}, the accuracy of TSA-MAML beside MAML was not measured."
    own = with_interval(study.accuracy(study.main), unit=" %")
    sentence = (
        f"On {task} tasks of {data}, {label_of(study.main)} is right on {own} of queries over all domains: "
        f"{' and '.join(told)}, each on the same tasks."
    )
    if CONTINUED in study.keys:
        sentence += (
            " Over MAML alone the gain holds what more training brings; only the gain over MAML, continued, is that of "
            "several initialisations."
        )
    return sentence


def _usage(study: ZhouTable) -> str:
    known = [(d, r) for d in study.domains if isinstance(r := study.favourite(d), Estimate)]
    if not known:
        return "Which initialisation the tasks of each domain start from was not counted."
    least = min(known, key=lambda pair: pair[1].value)
    apart = "no two domains share theirs" if study.favourites_differ() else "some domains share theirs"
    return (
        f"Of the tasks of a domain, at least {number(100 * least[1].value)} % ({least[0]}) start from one "
        f"initialisation; {apart}."
    )


def _views(study: ZhouTable) -> str:
    parameters, features = study.agreement("all"), study.agreement("features")
    if parameters is None or features is None:
        return ""
    grouped, mixed = agreement_verdicts(study)
    told = {
        ("holds", "holds"): "adapted parameters show the domains and features do not, as the paper says",
        ("holds", "does not hold"): "both show the domains, so that features would have done as well",
        ("does not hold", "does not hold"): "features show the domains and adapted parameters do not: the contrary of "
        "what the paper says",
        ("does not hold", "holds"): "neither shows the domains",
    }.get((grouped, mixed), f"adapted parameters {_SHOW[grouped]}; features {_SHOW[_OTHER.get(mixed, mixed)]}")
    return (
        f"Clusters of tasks agree with the domains to {with_interval(parameters, 2)} by adapted parameters and to "
        f"{with_interval(features, 2)} by mean features (adjusted Rand index, 0 chance, 1 identity): {told}."
    )


def _labels(study: ZhouTable) -> str:
    """Say how many tasks change cluster when their labels are permuted: what decides there is no domain."""
    stay = study.agreement("all", "unchanged_by_label_order")
    if not isinstance(stay, Estimate) or judge_below(stay, _STEADY) != "holds":
        return ""
    return (
        f"The clusters follow the order of the labels in part: when the labels of a task's classes are permuted, its "
        f"images left as they are, a share of {with_interval(stay, 2)} of tasks stay in their cluster."
    )


def _control(study: ZhouTable) -> str:
    gap = study.gain("large", "first")
    if gap is None:
        return ""
    return (
        f"MAML with a larger network, trained for as many steps, differs from TSA-MAML by "
        f"{with_interval(gap, signed=True, unit=' points')}."
    )
