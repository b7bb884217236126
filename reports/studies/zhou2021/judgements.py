"""The study's verdict on each claim of zhou2021, by the rules that `claims.py` states."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from reports.evidence import Estimate, Reading, minus, pool
from reports.studies.verdicts import Judgement, Verdict, all_of, judge_above, judge_below
from reports.studies.zhou2021.claims import (
    AGREEMENT,
    CLAIMS,
    FLAT_MARGIN,
    PAPER_FIRST_STEPS,
    PAPER_FLAT,
    USAGE,
)
from reports.studies.zhou2021.learners import BASE, CONTINUED, LARGE, label_of
from reports.studies.zhou2021.study_table import ZhouTable, lowest
from reports.wording import capital, listed, number, with_interval

__all__ = ["DISTANCES", "agreement_verdicts", "gain_verdict", "judgements", "usage_verdicts"]

DISTANCES = {
    "estimated_squared_distance": "own optimum",
    "estimated_squared_distance_to_common_optimum": "common optimum",
}
"""The two estimates that Z9 reads."""


def judgements(study: ZhouTable) -> tuple[Judgement, ...]:
    """Return the verdict on each claim of the study, in the order of the paper."""
    first = (_accuracy(study), _agreement(study), _steps(study), _usage(study))
    return (*first, _cifar("Z5"), _cifar("Z6"), _sweep(study), _larger(study), _distance(study), _growth(study))


def gain_verdict(study: ZhouTable) -> Verdict:
    """Judge Z1: a gain over both MAMLs on all domains together, and no domain that loses."""
    means: list[Verdict] = [judge_above(study.gain(study.main, over), 0) for over in (CONTINUED, BASE)]
    lost = [d for d in study.domains for over in (CONTINUED, BASE) if _loses(study.gain(study.main, over, d))]
    return "does not hold" if lost else all_of(means)


def agreement_verdicts(study: ZhouTable) -> tuple[Verdict, Verdict]:
    """Judge the parts of Z2: clusters by parameters are the domains; clusters by features are not."""
    return judge_above(study.agreement("all"), AGREEMENT), judge_below(study.agreement("features"), AGREEMENT)


def usage_verdicts(study: ZhouTable) -> dict[str, Verdict]:
    """Judge for each domain whether nearly all its tasks start from one initialisation."""
    return {domain: judge_above(study.favourite(domain), USAGE) for domain in study.domains}


def _accuracy(study: ZhouTable) -> Judgement:
    if study.gain(study.main, BASE) is None and study.gain(study.main, CONTINUED) is None:
        return _unmeasured("Z1", "no accuracy of TSA-MAML and MAML on the same tasks")
    ours = [f"{label_of(key)}: {with_interval(study.accuracy(key))} %" for key in (BASE, CONTINUED, study.main)]
    why = []
    for over in (CONTINUED, BASE):
        told = with_interval(study.gain(study.main, over), signed=True)
        ours.append(f"gain over {label_of(over)}: {told}")
        values = {domain: study.gain(study.main, over, domain) for domain in study.domains}
        if any(value is not None for value in values.values()):
            parts = [f"{domain} {with_interval(value, signed=True)}" for domain, value in values.items()]
            why.append(f"Gain over {label_of(over)} by domain: {'; '.join(parts)}.")
        else:
            why.append(f"Against {label_of(over)} it was not measured.")
    lost = [d for d in study.domains if any(_loses(study.gain(study.main, over, d)) for over in (CONTINUED, BASE))]
    why += [f"It loses on {listed(lost)}."] if lost else []
    return Judgement(CLAIMS["Z1"], gain_verdict(study), tuple(ours), f"{' '.join(why)} {_seeds(study)}")


def _agreement(study: ZhouTable) -> Judgement:
    names = {"all": "adapted parameters", "features": "mean features"}
    values = {name: study.agreement(view) for view, name in names.items()}
    if all(value is None for value in values.values()):
        return _unmeasured("Z2", "no clusters of tasks beside their domains")
    ours = ["adjusted Rand index of clusters by", *(f"{name}: {with_interval(v, 2)}" for name, v in values.items())]
    grouped, mixed = agreement_verdicts(study)
    why = [f"Adapted parameters in groups by domain: {grouped}; features mixed: {mixed}."]
    share = pool(study.rows("unchanged_by_label_order", study.main, view="all"), top=1.0)
    if share is not None:
        why.append(
            f"Share of tasks that stay in their cluster of adapted parameters when the labels are permuted: "
            f"{with_interval(share, 2)}; the rest follow the order of the labels."
        )
    return Judgement(CLAIMS["Z2"], all_of((grouped, mixed)), tuple(ours), " ".join(why))


def _steps(study: ZhouTable) -> Judgement:
    plain, main = study.plain, study.main
    curves = {
        key: [study.at_step("query_loss", key, s) for s in study.steps("query_loss", key)] for key in (plain, main)
    }
    if not all(curves.values()):
        return _unmeasured("Z3", "no curves of MAML and TSA-MAML over the inner steps")
    ours, parts, why = ["change of the query loss (nats)"], [], []
    for key, curve in curves.items():
        low, early = lowest(curve), min(PAPER_FIRST_STEPS, len(curve) - 1)
        if low is None:
            return Judgement(CLAIMS["Z3"], "undecided", ("undefined",), "No value of a curve is a number.")
        fall, rise = minus(curve[early], curve[0]), minus(curve[-1], curve[low])
        falls, rises = judge_below(fall, 0), judge_above(rise, 0)
        parts += [falls, rises]
        ours.append(f"{label_of(key)}: {with_interval(fall, 2, signed=True)} up to step {early}")
        ours.append(f"from its lowest (step {low}) to step {len(curve) - 1}: {with_interval(rise, 2, signed=True)}")
        why.append(f"{label_of(key)} falls at first: {falls}, rises later: {rises}.")
    at = study.trained_steps
    gap = minus(study.at_step("query_loss", main, at), study.at_step("query_loss", plain, at))
    parts.append(judge_below(gap, 0))
    ours.append(f"TSA-MAML − MAML at step {at}: {with_interval(gap, 2, signed=True)}")
    why.append(f"TSA-MAML below {label_of(plain)} at step {at}: {parts[-1]}.")
    return Judgement(CLAIMS["Z3"], all_of(parts), tuple(ours), " ".join(why))


def _usage(study: ZhouTable) -> Judgement:
    parts = usage_verdicts(study)
    if not parts or all(part == "not measured" for part in parts.values()):
        return _unmeasured("Z4", "no count of the initialisations that tasks start from")
    ours = tuple(f"{domain}: {with_interval(study.favourite(domain), 2)}" for domain in study.domains)
    apart = study.favourites_differ()
    verdict = all_of(parts.values()) if apart else "does not hold"
    why = f"{_by_part(parts, f'over {USAGE:g}', f'under {USAGE:g}')} "
    why += "Each domain has another one." if apart else "Some domains share theirs."
    if (m := study.m_of(study.main)) < len(study.domains):
        why += f" With {m} initialisations for {len(study.domains)} domains some have to."
    return Judgement(CLAIMS["Z4"], verdict, ("most frequent initialisation:", *ours), why)


def _cifar(claim: str) -> Judgement:
    return _unmeasured(
        claim, "no CIFAR-FS: a set of one domain, while this one needs several. `metaprobe train` and `evaluate` can"
    )


def _sweep(study: ZhouTable) -> Judgement:
    low, high = PAPER_FLAT
    flat = [key for key in study.sweep if low <= study.m_of(key) <= high]
    gains = {key: study.gain(key, CONTINUED) for key in flat}
    if not any(gain is not None for gain in gains.values()):
        return _unmeasured("Z7", f"no m from {low} to {high} beside m = 1")
    ours = [f"{label_of(key)}: {with_interval(gain, signed=True)} over m = 1" for key, gain in gains.items()]
    better: list[Verdict] = [judge_above(gain, 0) for gain in gains.values()]
    others = [key for key in flat if key != study.main]
    stable: list[Verdict] = [_within(study.gain(key, "first")) for key in others]
    ours += [
        f"{label_of(k)} − {label_of(study.main)}: {with_interval(study.gain(k, 'first'), signed=True)}" for k in others
    ]
    parts: list[Verdict] = [*better, *(stable or ["not measured"])]
    why = f"Better than m = 1: {_counted(better)}. Stable: {_counted(stable) if stable else 'one such m only'}."
    return Judgement(CLAIMS["Z7"], all_of(parts), tuple(ours), why)


def _larger(study: ZhouTable) -> Judgement:
    gap = study.gain(LARGE, "first")
    if gap is None:
        return _unmeasured("Z8", "no MAML with a larger network")
    ratio = study.parameters(LARGE) / max(1, study.parameters(BASE))
    ours = (
        f"{label_of(LARGE)}: {with_interval(study.accuracy(LARGE), unit=' %')}",
        f"{label_of(LARGE)} − {label_of(study.main)}: {with_interval(gap, signed=True, unit=' points')}",
    )
    why = f"It has {number(ratio)} times the parameters and was trained for as many outer steps as both trainings."
    return Judgement(CLAIMS["Z8"], judge_below(gap, 0), ours, why)


def _distance(study: ZhouTable) -> Judgement:
    plain, main = study.plain, study.main
    found = {m: [pool(study.rows(m, key)) for key in (plain, main)] for m in DISTANCES}
    if all(value is None for pair in found.values() for value in pair):
        return _unmeasured("Z9", "no estimate of the distance to a task's optimum")
    ours, parts, why = [], [], []
    for measure, (ours_plain, ours_main) in found.items():
        parts.append(judge_below(minus(ours_main, ours_plain), 0) if ours_main and ours_plain else "not measured")
        ours.append(f"{DISTANCES[measure]}: {label_of(plain)} {with_interval(ours_plain, 2)}, ")
        ours[-1] += f"TSA-MAML {with_interval(ours_main, 2)}"
        why.append(f"To the {DISTANCES[measure]}: {parts[-1]}.")
    why.append("Estimates: an optimum that is found from an initialisation is near it for that reason alone.")
    return Judgement(CLAIMS["Z9"], all_of(parts), tuple(ours), " ".join(why))


def _growth(study: ZhouTable) -> Judgement:
    key = study.main if study.rows("estimated_first_term", study.main) else study.plain
    steps = [q for q in study.steps("estimated_first_term", key) if q]
    values = [study.at_step("estimated_first_term", key, q) for q in steps]
    known = [value for value in values if isinstance(value, Estimate)]
    if not known:
        return _unmeasured("Z10", "no estimate of the bound's terms")
    growing = all(b.value > a.value for a, b in itertools.pairwise(known))
    endless = len(values) - len(known)
    lost = f" {endless} of {len(values)} steps give no finite number." if endless else ""
    smooth = pool(study.rows("estimated_smoothness", key))
    why = f"By its formula it grows wherever L > 0.{lost}"
    if isinstance(smooth, Estimate):
        why += f" Estimated L at least {number(smooth.value)}, α = {study.inner_lr:g}: "
        broken = smooth.value * study.inner_lr > 1
        why += "the theorem's α ≤ 1/L fails, so the bound itself says nothing here." if broken else "α ≤ 1/L stands."
    ends = f"{_short(known[0].value)} at step {steps[0]}, {_short(known[-1].value)} at step {steps[len(known) - 1]}"
    ours = (f"{label_of(key)}: {ends}",)
    return Judgement(CLAIMS["Z10"], "holds" if growing else "does not hold", ours, why)


def _unmeasured(claim: str, reason: str) -> Judgement:
    return Judgement(CLAIMS[claim], "not measured", ("—",), f"The study holds {reason}.")


def _short(value: float) -> str:
    return f"{value:,.0f}" if 1000 <= value < 1e6 else f"{value:.3g}"


def _loses(gain: Reading) -> bool:
    return judge_below(gain, 0) == "holds"


def _within(gap: Reading) -> Verdict:
    return all_of((judge_above(gap, -FLAT_MARGIN), judge_below(gap, FLAT_MARGIN)))


def _by_part(parts: dict[str, Verdict], good: str, bad: str) -> str:
    phrases = {"holds": good, "does not hold": bad, "undecided": "undecided", "not measured": "not measured"}
    groups = {phrase: [p for p, v in parts.items() if v == verdict] for verdict, phrase in phrases.items()}
    return capital("; ".join(f"{listed(names)}: {phrase}" for phrase, names in groups.items() if names)) + "."


def _counted(verdicts: Sequence[Verdict]) -> str:
    return listed([f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts)])


def _seeds(study: ZhouTable) -> str:
    if (count := len(study.seeds)) > 1:
        return f"{count} seeds."
    return "One seed: the interval is over test tasks and says nothing of another training."
