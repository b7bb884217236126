"""The study's verdict on each claim of raghu2020, by the rules that `claims.py` states."""

from __future__ import annotations

from reports.evidence import Estimate, Reading, Undefined, minus, pool
from reports.studies.raghu2020.claims import (
    ACCURACY_MARGIN,
    ANIL_MARGIN,
    CLAIMS,
    CURVE_MARGIN,
    SIMILARITY_THRESHOLD,
    Judgement,
    Verdict,
    all_of,
    judge_above,
    judge_below,
)
from reports.studies.raghu2020.pairs.judgements import pair_judgements
from reports.studies.raghu2020.regimes.judgements import regime_judgements
from reports.studies.raghu2020.study_table import BLOCKS, BODY, FULL, StudyTable
from reports.studies.raghu2020.timing.judgements import timing_judgements
from reports.studies.verdicts import first_undecided, judge_lower, what_would_decide
from reports.wording import block_name, capital, listed, number, with_interval

__all__ = ["JUDGED", "freezing_verdict", "judgements", "similarity_verdict"]

JUDGED: dict[str, str] = {"mean_cca": "CCA", "debiased_cka": "CKA"}
"""Measures that the verdicts on similarity read: the paper's CCA, and CKA in its debiased form."""


def freezing_verdict(
    study: StudyTable, frozen: str, *, algorithm: str = "maml", steps: int | None = None, iteration: int | None = None
) -> Verdict:
    """Judge "freezing these layers costs less than the margin" by the paired difference to nothing frozen."""
    cost = study.test(algorithm, frozen, steps=steps, iteration=iteration, measure="accuracy_difference")
    return judge_above(cost, -ACCURACY_MARGIN)


def similarity_verdict(study: StudyTable, layer: str, measure: str, iteration: int | None = None) -> Verdict:
    """Judge "adaptation leaves this layer's representation as it was"; a value inside its null says nothing."""
    found = study.similarity(measure, "maml", layer, iteration=iteration)
    null = study.similarity(f"{measure}_null", "maml", layer, iteration=iteration)
    verdict = judge_above(found, SIMILARITY_THRESHOLD)
    return "undecided" if verdict == "holds" and _inside(found, null) else verdict


def judgements(study: StudyTable) -> tuple[Judgement, ...]:
    """Return the verdict on each claim of the study, in the order of their numbers."""
    judges = (_freezing, _similarity, _over_training, _anil, _curves, _weights)
    found = [judge(study) for judge in judges]
    found += [*regime_judgements(study), *pair_judgements(study), *timing_judgements(study)]
    return tuple(sorted(found, key=lambda judgement: int(judgement.claim.id.removeprefix("R"))))


def _freezing(study: StudyTable) -> Judgement:
    costs = {block: study.test("maml", block, measure="accuracy_difference") for block in BLOCKS}
    parts: dict[str, Verdict] = {block: freezing_verdict(study, block) for block in BLOCKS}
    verdict = all_of(parts.values())
    if verdict == "not measured":
        return _unmeasured("R1", "no test of MAML with frozen layers")
    ours = tuple(f"{block_name(b)}: {with_interval(c, signed=True)}" for b, c in costs.items())
    why = [_by_part(parts, f"cost under {ACCURACY_MARGIN} points", f"cost over {ACCURACY_MARGIN} points")]
    free = [block_name(b) for b in BLOCKS if freezing_verdict(study, b, algorithm="random") == "holds"]
    if study.test("random", FULL, measure="accuracy_difference") is None:
        why.append("No untrained network was tested, so these costs have nothing to be read against.")
    elif free:
        why.append(f"An untrained network passes the same test for {listed(free)}: there it is no evidence of reuse.")
    for steps in study.cost_steps():
        cost = study.test("maml", FULL, steps=steps, measure="accuracy_difference")
        why.append(f"With {steps} steps at test, freezing conv1–4 changes it by {with_interval(cost, signed=True)}.")
    decide = ""
    if verdict == "undecided":
        first = next(block for block, part in parts.items() if part == "undecided")
        fixed = study.of_these_seeds("maml", first)
        decide = f"{block_name(first)}: {what_would_decide(costs[first], -ACCURACY_MARGIN, fixed)}"
    told = (f"change in points, {study.trained_steps} steps:", *ours)
    return Judgement(CLAIMS["R1"], verdict, told, " ".join(why), decide)


def _similarity(study: StudyTable) -> Judgement:
    measured = [m for m in JUDGED if any(study.similarity(m, "maml", layer) is not None for layer in (*BODY, "head"))]
    if not measured:
        return _unmeasured("R2", "no similarity of MAML before against after adaptation")
    ours, why, parts = [], [], []
    for measure in measured:
        values = {layer: study.similarity(measure, "maml", layer) for layer in BODY}
        head = study.similarity(measure, "maml", "head")
        kept: dict[str, Verdict] = {layer: similarity_verdict(study, layer, measure) for layer in BODY}
        changed = all_of(judge_lower(head, value) for value in values.values())
        parts += [*kept.values(), changed]
        name = JUDGED[measure]
        ours += [f"{name}: {_lowest(values)}", f"{name}: head {with_interval(head, 2)}"]
        body = _by_part(kept, f"over {SIMILARITY_THRESHOLD}", f"under {SIMILARITY_THRESHOLD}")
        phrase = {"holds": "the head is below every layer", "does not hold": "the head is not below every layer"}
        why.append(f"{name}: {body[:-1]}; {phrase.get(changed, 'head against body: ' + changed)}.")
    absent = [JUDGED[m] for m in JUDGED if m not in measured]
    if absent:
        why.append(f"{listed(absent)} was not measured.")
        parts.append("not measured")
    verdict = all_of(parts)
    return Judgement(
        CLAIMS["R2"], verdict, tuple(ours), " ".join(why), _decide_similarity(study) if verdict == "undecided" else ""
    )


def _decide_similarity(study: StudyTable) -> str:
    """Say what would decide the first layer that is undecided."""
    for measure, name in JUDGED.items():
        for layer in BODY:
            if similarity_verdict(study, layer, measure) == "undecided":
                found = study.similarity(measure, "maml", layer)
                if judge_above(found, SIMILARITY_THRESHOLD) == "holds":
                    return f"{name} of {layer}: it does not stand out from its null."
                several = "and more seeds, " if len(study.seeds()) > 1 else ""
                return f"{name} of {layer}: more captured tasks, {several}would narrow its interval."
    return ""


def _over_training(study: StudyTable) -> Judgement:
    stages = study.iterations("maml", "accuracy_difference", *JUDGED)
    if len(stages) < 2:
        return _unmeasured("R3", "fewer than two tested checkpoints of MAML's training")
    ours, patterns, parts = ["conv1–4 frozen; CCA:"], [], []
    for stage in stages:
        cost = study.test("maml", FULL, iteration=stage, measure="accuracy_difference")
        freeze = freezing_verdict(study, FULL, iteration=stage)
        values = {layer: study.similarity("mean_cca", "maml", layer, iteration=stage) for layer in BODY}
        kept = all_of(similarity_verdict(study, layer, m, stage) for m in JUDGED for layer in BODY)
        parts += [freeze, kept]
        patterns.append((freeze, kept))
        ours.append(f"{stage:,}: {with_interval(cost, signed=True)} points; {_lowest(values)}")
    why = "; ".join(f"at {s:,} freezing {f}, similarity {k}" for s, (f, k) in zip(stages, patterns, strict=True))
    same = (
        "the pattern is the same at every checkpoint" if len(set(patterns)) == 1 else "the pattern changes on the way"
    )
    few = ""
    if len(stages) < 3:
        few = f" Only {len(stages)} of three checkpoints were tested."
        parts.append("not measured")
    verdict = all_of(parts)
    decide = "More test tasks and captured tasks, or more seeds, would narrow the intervals that are undecided."
    told = decide if verdict == "undecided" and "undecided" in parts else ""
    return Judgement(CLAIMS["R3"], verdict, tuple(ours), f"{capital(why)}: {same}.{few}", told)


def _anil(study: StudyTable) -> Judgement:
    maml, anil = study.test("maml"), study.test("anil")
    if maml is None or anil is None:
        return _unmeasured("R4", f"no test of {listed([n for n, r in (('MAML', maml), ('ANIL', anil)) if r is None])}")
    gap = study.gap("anil", "maml")
    ours = (
        f"MAML {with_interval(maml, unit=' %')}",
        f"ANIL {with_interval(anil, unit=' %')}",
        f"difference {with_interval(gap, signed=True, unit=' points')}",
    )
    verdict = judge_above(gap, -ANIL_MARGIN)
    why = {
        "holds": f"ANIL is less than {ANIL_MARGIN} points behind, or ahead.",
        "does not hold": f"ANIL is more than {ANIL_MARGIN} points behind.",
    }.get(verdict, f"The interval of the difference reaches across −{ANIL_MARGIN} points.")
    decide = what_would_decide(gap, -ANIL_MARGIN, study.between("anil", "maml", fixed=True))
    return Judgement(CLAIMS["R4"], verdict, ours, f"{why} {_seeds(maml, anil)}", decide)


def _curves(study: StudyTable) -> Judgement:
    shared = sorted(set(study.iterations("maml", "val_accuracy")) & set(study.iterations("anil", "val_accuracy")))
    gaps = [
        minus(*(pool(study.rows("val_accuracy", algorithm, stage)) for algorithm in ("anil", "maml")))
        for stage in shared
    ]
    known = [gap for gap in gaps if isinstance(gap, Estimate) and gap.low is not None and gap.high is not None]
    if not known:
        return _unmeasured("R5", "no validation accuracies of MAML and ANIL at the same iterations")
    # Noise makes a mean of |gap| too large, so it is judged by what it can be while every gap is in its interval.
    ends = [(gap.low or 0.0, gap.high or 0.0) for gap in known]
    least = sum(max(low, -high, 0.0) for low, high in ends) / len(ends)
    most = sum(max(-low, high) for low, high in ends) / len(ends)
    bounds = Estimate(sum(abs(gap.value) for gap in known) / len(known), least, most)
    widest = max(range(len(shared)), key=lambda i: abs(value.value) if isinstance(value := gaps[i], Estimate) else -1.0)
    largest = gaps[widest]
    ours = (f"mean |gap| between {number(least)} and {number(most)} points", f"over {len(known)} validations")
    why = f"Largest gap (ANIL − MAML): {with_interval(largest, signed=True)} points at iteration {shared[widest]:,}."
    verdict = judge_below(bounds, CURVE_MARGIN)
    decide = "More validation tasks, or more seeds, would narrow the bounds." if verdict == "undecided" else ""
    return Judgement(CLAIMS["R5"], verdict, ours, why, decide)


def _weights(study: StudyTable) -> Judgement:
    values = {layer: study.distance("euclidean_distance", "maml", layer) for layer in BODY}
    head = study.distance("euclidean_distance", "maml", "head")
    if head is None or all(value is None for value in values.values()):
        return _unmeasured("R9", "no weight distances of MAML's body and head")
    parts: dict[str, Verdict] = {layer: judge_lower(value, head) for layer, value in values.items()}
    ours = tuple(f"{layer}: {with_interval(value, 3)}" for layer, value in [*values.items(), ("head", head)])
    why = _by_part(parts, "closer than the head", "farther than the head")
    relative = {layer: study.distance("relative_distance", "maml", layer) for layer in (*BODY, "head")}
    if all(isinstance(r, Estimate) for r in relative.values()):
        shares = ", ".join(f"{k} {number(100 * r.value, 1)} %" for k, r in relative.items() if isinstance(r, Estimate))
        why += f" Relative to each layer's norm: {shares}."
    decide = first_undecided({layer: (part, "") for layer, part in parts.items()})
    return Judgement(CLAIMS["R9"], all_of(parts.values()), ours, why, decide)


def _unmeasured(claim: str, reason: str) -> Judgement:
    return Judgement(CLAIMS[claim], "not measured", ("—",), f"The study holds {reason}.")


def _inside(found: Reading, null: Reading) -> bool:
    if isinstance(null, Undefined):
        return True  # without a null there is nothing to stand out from
    if not isinstance(found, Estimate) or not isinstance(null, Estimate):
        return False
    return (found.value if found.low is None else found.low) <= (null.value if null.high is None else null.high)


def _lowest(values: dict[str, Reading]) -> str:
    known = {layer: value for layer, value in values.items() if isinstance(value, Estimate)}
    if not known:
        return f"convolutions {with_interval(next(iter(values.values())), 2)}"
    layer = min(known, key=lambda name: known[name].value)
    return f"lowest convolution {layer} {with_interval(known[layer], 2)}"


def _by_part(parts: dict[str, Verdict], good: str, bad: str) -> str:
    phrases = {"holds": good, "does not hold": bad, "undecided": "undecided", "not measured": "not measured"}
    groups = {phrase: [block_name(p) for p, v in parts.items() if v == verdict] for verdict, phrase in phrases.items()}
    return "; ".join(f"{listed(names)}: {phrase}" for phrase, names in groups.items() if names) + "."


def _seeds(*readings: Reading) -> str:
    count = min((len(r.per_seed) for r in readings if isinstance(r, Estimate)), default=0)
    if count > 1:
        return f"{count} seeds each."
    return "One seed each: the interval is over test tasks and says nothing of another training."
