"""The claims of raghu2020: what is measured, the rule from an interval to a verdict, and what is told beside it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from metaprobe.analyses.readings import Estimate, Reading
from metaprobe.reports.claims import PERCENT, POINTS, Claim, Part, Told, above, below, within
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.raghu2020 import paper
from metaprobe.reports.papers.raghu2020.paper import ANIL, BOTH, COST, GAP, MAML, NAMES, REGIMES, SIMILAR, headed
from metaprobe.reports.probing import questions
from metaprobe.reports.probing.questions import JUDGED, accuracy, cost, lowest, of_layer
from metaprobe.reports.quantities import ANY, Computed, Quantity, q
from metaprobe.reports.wording import block_name, count, listed, number, with_interval

# fmt: off
_MIN = "mini-ImageNet, 5 inner steps in training and 10 at test, 3 seeds"
_SEEDS = "mini-ImageNet, across seeds"
_ONE_SHOT = "5-way 1-shot mini-ImageNet, 3 seeds"
_AHEAD = above(-GAP, f"less than {GAP} points behind, or ahead", f"more than {GAP} points behind")

def claims(evidence: Evidence) -> tuple[Claim, ...]:
    """Return the claims that the study answers, of these layers, steps and stages: the paper's by number, then G1."""
    found = (*_inside(evidence), *_learners(), *_regimes(), *_pairs())
    def taught(claim: Claim) -> Claim:
        if not (who := paper.PRESUPPOSED.get(claim.id, ())):
            return claim
        return replace(claim, presupposes=partial(questions.untaught, learners=who, margin=COST, control=True))
    return tuple(sorted(map(taught, found), key=lambda claim: (claim.id[0] != "R", int(claim.id[1:]))))

def _inside(evidence: Evidence) -> tuple[Claim, ...]:
    """R1, R2, R3, R9 and G1: what the inner loop does to MAML, layer by layer."""
    body, head, full, name = evidence.body, evidence.head, evidence.full, block_name(evidence.full)
    free, kept = above(-COST, f"cost under {COST} points", f"cost over {COST} points"), above(SIMILAR)
    at = found if len(found := questions.stages(evidence, "maml")) > 1 else ()
    moved = {layer: of_layer("euclidean_distance", layer, "maml") for layer in (*body, head)}
    printed = dict(zip(evidence.blocks, paper.COSTS, strict=False))
    def as_it_was(measures: Mapping[str, str]) -> tuple[Part, ...]:
        return tuple(Part(f"{told} of {k}", of_layer(m, k, "maml"), kept, of_layer(f"{m}_null", k, "maml"))
                     for m, told in measures.items() for k in body)
    return (
        Claim("R1", "Freezing the body at test time costs no accuracy", "change of MAML's test accuracy",
              "nothing 46.9, conv1 46.5, conv1–2 46.4, conv1–3 46.3, conv1–4 46.3 (±0.2–0.4)", "Table 1",
              f"5-way 1-shot {_MIN}", f"every frozen block costs under {COST} points, the largest cost that the paper "
              "counts as no effect (63.1 → 61.0, 5-shot)",
              tuple(Part(block_name(block), cost("maml", block), free, None, cost("random", block),
                         printed.get(block, ())) for block in evidence.blocks),
              "The study holds no test of MAML with frozen layers.", ("freezing-figure", "reuse-index"), **POINTS,
              control="an untrained network", lead=f"change with {count(evidence.test_steps, 'step')} at test:",
              beside=tuple(Told(f"{name} with {count(n, 'step')}", cost("maml", full, steps=n))
                           for n in questions.further_steps(evidence, "maml"))),
        Claim("R2", "Adaptation leaves the body's representations as they were, and changes the head's",
              "CCA and CKA of each layer, MAML", "convolution layers above 0.9, head below 0.5", "Figure 2", _MIN,
              f"every layer of the body lies above {SIMILAR} and stands out from its null, and the head lies below "
              f"{paper.CHANGED}, in CCA and in debiased CKA",
              (*as_it_was(JUDGED), *(Part(f"{told} of {head}", of_layer(m, head, "maml"), below(paper.CHANGED))
                                     for m, told in JUDGED.items())),
              "The study holds no similarity of MAML before against after adaptation.", ("similarity-figure",),
              digits=2, counted="captured tasks"),
        Claim("R3", "Both hold from early in training", "R1 and R2 at 1/3, 2/3 and all of training",
              "freezing conv1–4: 61.3 → 59.7, 63.0 → 61.3, 63.1 → 61.0; CCA as in R2", "Figure 3",
              f"5-way 5-shot {_MIN}; iterations 10,000, 20,000, 30,000",
              f"the rules of R1 ({name}) and of R2 (every layer of the body) hold at each of the three",
              (*(Part(f"{name} at {i:,}", cost("maml", full, at=i), free, None, None, figures, digits=1, **POINTS)
                 for i, figures in zip(at, ((-1.6,), (-1.7,), (-2.1,)), strict=False)),
               *(Part(f"{t} at {i:,}", lowest(m, "maml", i, clear_over=SIMILAR), kept)
                 for m, t in JUDGED.items() for i in at),
               *(Part("further checkpoints", Computed(lambda _: None), free) for _ in range(len(at) < 3))),
              "Fewer than two tested checkpoints of MAML's training.", ("over-training",), digits=2,
              lead="CCA and CKA: the lowest of the body"),
        Claim("R9", "Only the head's weights move far", "mean Euclidean distance before to after adaptation",
              "small for all layers but the last", "Figure 6", "mini-ImageNet, over training",
              "every layer of the body moves less than the head on the same tasks, at the end of training",
              tuple(Part(f"{k} − {head}", moved[k] - moved[head], below(0, "closer than the head", "farther"),
                         signed=True) for k in body),
              "The study holds no weight distances of MAML's body and head.", ("weight-distance",), digits=3,
              lead="distances, and those of the body less the head's:",
              beside=(*(Told(k, one) for k, one in moved.items()),
                      *(Told(f"{k}, a weight (root of the mean square)", of_layer("rms_change", k, "maml"), digits=5)
                        for k in moved),
                      *(Told(f"{k}, relative to its norm", of_layer("relative_distance", k, "maml")) for k in moved))),
        Claim("G1", "Which images are alike says the same: adaptation leaves the body as it was",
              "RSA of each layer, MAML: correlation of the dissimilarities of images before and after adaptation",
              "reuse prevails, yet inner steps change representations more broadly than meta-training does",
              "Goerttler and Obermayer (2021), abstract", "few-shot images; a later reading of the question of R2",
              f"every layer of the body lies above {SIMILAR} and stands out from its null, by value and by ranks (the "
              "bound of R2; no figure is printed)", as_it_was(paper.DISSIMILARITIES),
              "The study holds no dissimilarities of images before and after adaptation.", ("similarities",), digits=2,
              beside=tuple(Told(f"{told} of {head}", of_layer(m, head, "maml"))
                           for m, told in paper.DISSIMILARITIES.items())))

def _learners() -> tuple[Claim, ...]:
    """R4, R5, R7 and R11: MAML against ANIL, and ANIL without a head."""
    maml, own, nil = accuracy("maml"), headed("anil"), headed("anil", "nil")
    return (
        Claim("R4", "ANIL is as accurate as MAML", "test accuracy of ANIL and of MAML",
              "46.9 → 46.7 and 63.1 → 61.5 (mini-ImageNet 5-way, 1- and 5-shot); 93.7 → 96.2 and 96.4 → 98.0 (Omniglot "
              "20-way)", "Table 2", "3 seeds each",
              f"ANIL − MAML lies above −{GAP} points, the largest gap that the paper calls comparable",
              (Part("ANIL − MAML", own - maml, _AHEAD, printed=(-0.2, -1.6, 2.5, 1.6)),),
              "The study holds no test of MAML, or none of ANIL.", ("learning-curves", "accuracy"), **POINTS,
              beside=(Told("MAML", maml, **PERCENT), Told("ANIL", own, **PERCENT))),
        Claim("R5", "MAML and ANIL learn along the same curve", "validation accuracy of MAML and ANIL over training",
              "the curves coincide", "Figure 5", "5-way 5-shot mini-ImageNet", "the mean of |ANIL − MAML| over "
              "training is under 5 points (our margin) even with every gap at the far end of its interval; it fails "
              "when over that with every gap at the near end",
              (Part("mean |ANIL − MAML|", _mean_gap("val_accuracy"), below(5, "under 5 points", "over 5 points")),),
              "The study holds no validation accuracies of MAML and ANIL at the same iterations.",
              ("learning-curves",), unit=" points", counted="validation tasks", remark=_largest_gap,
              beside=(Told("mean |ANIL − MAML| of the loss, told and not judged", _mean_gap("val_loss"),
                           digits=2, unit=" nats"),)),
        Claim("R7", "After ANIL training, no head is needed at test time", "test accuracy of ANIL with two heads",
              "own 46.7 and 61.5, NIL 48.0 and 62.2 (mini-ImageNet 5-way, 1- and 5-shot); own 96.2 and 98.0, NIL 96.7 "
              "and 98.0 (Omniglot 20-way)", "Table 4", "3 seeds, ±0.04–0.7",
              f"NIL head − own head lies above −{GAP} points, as in R4",
              (Part("NIL head − own head", nil - own, _AHEAD, printed=(1.3, 0.7, 0.5, 0.0)),),
              "The study holds no test of ANIL with both heads.", ("regimes-figure",), **POINTS,
              beside=(Told("own head", own, **PERCENT), Told("NIL head", nil, **PERCENT))),
        Claim("R11", "ANIL is faster than MAML, in training and far more so at test time", "MAML's time over others'",
              "training: FOMAML 1.69 and 1.7, ANIL 1.79 and 1.84; inference: ANIL 4.15 and 4.87 (1- and 5-shot)",
              "Table 6", "mini-ImageNet, 1 task, target set of 1, mean of 2,000 batches, TensorFlow on one Titan Xp",
              "FOMAML and ANIL train faster and ANIL adapts faster: each ratio lies above 1, under the paper's "
              "conditions and in an ordinary outer step; its size is told, not judged",
              tuple(Part(f"{NAMES[who]} {'trains' if what == 'training' else 'adapts'}{' (paper)' * (view == 'paper')}",
                         q(f"{what}_speedup", learner=who, view=view, steps=ANY), above(1, "faster", "slower"),
                         printed=printed if view == "paper" else ())
                    for view in paper.VIEWS for (what, who), printed in paper.SPEEDUPS.items()),
              "The study holds no timings.", ("timing-figure", "timing-table"), digits=2, counted="rounds",
              lead="times faster than MAML in an outer step of the run, and under the paper's conditions (paper):",
              remark=_in_size))

def _regimes() -> tuple[Claim, ...]:
    """R8, R12 and R13: six ways of training, with two heads."""
    nil = {regime: headed(regime, "nil") for regime in REGIMES}
    three = {(m, regime): paper.alike(m, (regime, "maml"), "first three") for m in JUDGED for regime in paper.ORDER}
    return (
        Claim("R8", "Training with a task head, as MAML and ANIL do, gives the best features",
              "test accuracy with the NIL head", "MAML 48.4, ANIL 48.0, multiclass 39.7, NIL training 38.3, random "
              "features 32.9, multitask 26.5", "Table 5", _ONE_SHOT,
              "MAML and ANIL lie above each of the four others; the order of those four is told, not judged",
              tuple(Part(f"{NAMES[one]} over {NAMES[other]}", nil[one] - nil[other],
                         above(0, "shown", "the other way round"), printed=paper.printed_gaps((one, 1), (other, 1)))
                    for one in ("maml", "anil") for other in paper.HEADLESS),
              "The study holds no tests with the NIL head of MAML or ANIL beside another regime.",
              ("regimes-figure",), **POINTS, remark=_ranking,
              beside=tuple(Told(NAMES[regime], nil[regime], **PERCENT) for regime in REGIMES)),
        Claim("R12", "What counts at test time is the body: the MAML head and the NIL head do not differ",
              "test accuracy with the MAML head minus that with the NIL head",
              "both heads: MAML 46.9 and 48.4, ANIL 46.7 and 48.0, multiclass 38.4 and 39.7, multitask "
              "26.5 and 26.5, random features 32.1 and 32.9", "Table 7", _ONE_SHOT,
              f"the difference lies within ±{GAP} points, the paper's largest gap, in every regime",
              tuple(Part(NAMES[r], headed(r) - nil[r], printed=paper.printed_gaps((r, 0), (r, 1)),
                         rule=within(-GAP, GAP, f"within ±{GAP} points", f"over {GAP} points apart")) for r in REGIMES),
              "The study holds no test of a body with both heads.", ("regimes-figure",), **POINTS,
              lead="MAML head − NIL head:"),
        Claim("R13", "The better the features of a training regime, the more they are like MAML's",
              "similarity with MAML before adaptation, mean over the first three convolutions", "CCA and CKA: MAML "
              ".51, .83; multiclass .48, .79; random features .40, .72; multitask .28, .65", "Table 8", _SEEDS,
              "each difference of neighbours in the paper's order lies above 0, by CCA and by debiased CKA",
              tuple(Part(f"{told}: {NAMES[one]} over {NAMES[other]}", three[m, one] - three[m, other],
                         above(0, "as in the paper", "the other way round"), digits=3, signed=True,
                         printed=(paper.TABLE_8[one][at] - paper.TABLE_8[other][at],))
                    for at, (m, told) in enumerate(JUDGED.items()) for one, other in itertools.pairwise(paper.ORDER)),
              "No two neighbours of the order were compared with MAML.", ("pairs-similar",), digits=2, guard=_one_start,
              beside=tuple(Told(f"{JUDGED[m]} with MAML, {NAMES[r]}", one) for (m, r), one in three.items())))

def _pairs() -> tuple[Claim, ...]:
    """R6 and R10: two trainings side by side."""
    body = {(m, pair): paper.alike(m, pair, "body") for m in JUDGED for pair in paper.TABLE_3}
    least = {m: above(-margin, "not less alike than that", "less alike") for m, margin in paper.MARGINS.items()}
    rules = (("slope", "slope", within(0.9, 1.1)), ("r2_to_identity", "R²", above(0.9)))
    return (
        Claim("R6", "MAML and ANIL learn features as alike as two trainings of one of them",
              "similarity of two networks before adaptation, mean over the body",
              "CCA and CKA: MAML–MAML .51 and .83, ANIL–ANIL .51 and .86, ANIL–MAML .50 and .83", "Table 3", _SEEDS,
              f"ANIL–MAML minus MAML–MAML and minus ANIL–ANIL lie above −{paper.MARGINS['mean_cca']} (CCA) and "
              f"−{paper.MARGINS['debiased_cka']} (debiased CKA), the smallest gaps that the paper calls a difference "
              "(MAML to multiclass, Table 8)",
              tuple(Part(f"{told} against {paper.pair_name(pair)}", body[m, BOTH] - body[m, pair], least[m],
                         printed=(paper.TABLE_3[BOTH][at] - paper.TABLE_3[pair][at],), digits=3, signed=True)
                    for at, (m, told) in enumerate(JUDGED.items()) for pair in (MAML, ANIL)),
              "Two trainings of each learner, with different seeds, are needed.", ("pairs-similar",), digits=2,
              beside=tuple(Told(f"{JUDGED[m]} {paper.pair_name(pair)}", one) for (m, pair), one in body.items())),
        Claim("R10", "Adaptation leaves untouched how alike the features of two trainings are",
              "similarity of two MAML networks, both before adaptation (pre) against one or both after it (post), a "
              "point for each layer of the body and pair of seeds: slope of the best line, and R² about y = x",
              "the best line is almost exactly y = x, R² ≈ 1; with CKA there is more variation", "Figures 7 and 8",
              _SEEDS, "in all three pairings, by CCA and by debiased CKA, the slope lies within 0.9 to 1.1 and R² "
              "about y = x above 0.9 (bounds of this project: the paper gives none)",
              tuple(Part(f"{told} {phase.replace('-', '–')} {short}",
                         paper.alike(f"{m}_{kind}", MAML, "body", phase=phase), rule)
                    for m, told in JUDGED.items() for phase in paper.PAIRINGS for kind, short, rule in rules),
              "Two trainings of MAML, with different seeds, are needed.", ("pairs-lines",), digits=2))

def _gaps(evidence: Evidence, measure: str = "val_accuracy") -> dict[int, Estimate]:
    """Return ANIL − MAML at each validation with its interval, by iteration."""
    maml, anil = (set(evidence.distinct("iteration", measure, learner)) for learner in ("maml", "anil"))
    one, other = ({at: q(measure, learner=who, at=at) for at in sorted(maml & anil)} for who in ("anil", "maml"))
    found = {at: (one[at] - other[at]).read(evidence) for at in one}
    return {at: gap for at, gap in found.items() if isinstance(gap, Estimate) and gap.low is not None}

def _mean_gap(measure: str) -> Quantity:
    """Ask for the mean of |gap|, and what it can be while all are in their intervals: noise makes it too large."""
    def read(evidence: Evidence) -> Reading:
        gaps = _gaps(evidence, measure).values()
        sizes = [(abs(gap.value), max(gap.ends[0], -gap.ends[1], 0.0), max(-gap.ends[0], gap.ends[1])) for gap in gaps]
        if not sizes:
            return None
        mean, least, most = (sum(column) / len(sizes) for column in zip(*sizes, strict=True))
        return Estimate(mean, least, most, unpaired=any(gap.unpaired for gap in gaps))
    return Computed(read)

def _largest_gap(evidence: Evidence) -> str:
    gaps = _gaps(evidence)
    at, gap = max(gaps.items(), key=lambda found: abs(found[1].value))
    told = with_interval(gap, **POINTS)
    return f"Largest gap of {len(gaps)} validations (ANIL − MAML): {told} at iteration {at:,}."

def _ranking(evidence: Evidence) -> str:
    """Say how the regimes rank here: ">" where the intervals of two neighbours do not touch, "≥" where they do."""
    found = {regime: headed(regime, "nil").read(evidence) for regime in REGIMES}
    known = sorted((-one.value, name, *one.ends) for name, one in found.items() if isinstance(one, Estimate))
    told = "".join(f"{NAMES[name]} {number(-value)}" for value, name, _, _ in known[:1])
    for (_, _, floor, _), (value, name, _, top) in itertools.pairwise(known):
        told += f" {'>' if top < floor else '≥'} {NAMES[name]} {number(-value)}"
    theirs = "MAML, ANIL > multiclass > NIL training > random features > multitask"
    return f"Order here (> where intervals do not touch): {told}. The paper's: {theirs}."

def _one_start(evidence: Evidence) -> str:
    """Say that regimes were compared with a MAML that began with the same weights, or ""."""
    seeds = (paper.compared(evidence, (regime, "maml")) for regime in ("multiclass", "random"))
    same = any({one == other for one, other in found} == {True} for found in seeds)
    told = "One seed each: networks that began with the same weights are alike whatever trained them, so this decides "
    return f"{told}nothing; two seeds of each learner or more, compared across seeds, would." if same else ""

def _in_size(evidence: Evidence) -> str:
    """Say how the ratios under the paper's conditions stand to the smaller of its two figures."""
    words, told = {"holds": "above", "does not hold": "below", "undecided": "either side of"}, []
    for (what, who), printed in paper.SPEEDUPS.items():
        ratio = q(f"{what}_speedup", learner=who, view="paper", steps=ANY).read(evidence)
        verdict = above(min(printed)).judge(ratio)
        if verdict in words:
            told.append(f"{what} of {NAMES[who]} {words[verdict]} the paper's {min(printed):g}")
    return f"In size, under the paper's conditions: {listed(told)}." if told else ""
