"""The sections of raghu2020: shared ones beside the paper's figures; regimes, pairs of trainings, and time."""

from __future__ import annotations

from collections.abc import Iterator

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks import declared
from metaprobe.reports.blocks.declared import BLANK, Cell, Dots, Figure, Grid, Line, Map, Point, Said, Scatter, Series
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.raghu2020 import paper
from metaprobe.reports.papers.raghu2020.paper import COMPARED, COST, GAP, MAML, NAMES, REGIMES, alike, headed
from metaprobe.reports.probing import blocks as shared
from metaprobe.reports.probing.curves import learning_curves, weights
from metaprobe.reports.probing.questions import JUDGED, accuracy, headings
from metaprobe.reports.quantities import ANY, Quantity, q
from metaprobe.reports.study.study import Cite, Section
from metaprobe.reports.wording import DASH, INK, block_name, capital, count, label_of, layer_colour, listed, number

# fmt: off
_MEASURES = {"mean_cca": "CCA", "debiased_cka": "CKA, debiased", "linear_cka": "CKA, as in the paper"}

def sections(evidence: Evidence, cite: Cite) -> tuple[Section, ...]:
    """Return the sections after the claims."""
    who, costs = paper.adapting(evidence), [at_1_shot for at_1_shot, _ in paper.COSTS]
    return (_learning(evidence),
            shared.freezing(evidence, (*who, "random"), "maml", "claim R1", COST, costs, _table_1()),
            shared.similarity(evidence, cite, who, "claim R2", paper.RANGES),
            shared.training(evidence, "maml", "claim R3"), weights(evidence, who, "maml", "claim R9"),
            shared.moving(evidence, who, "maml"),
            _reusing(evidence), _regimes(evidence), _pairs(evidence), _timing(evidence))

def _printed(value: float, spread: float, *under: str) -> Cell:
    return Cell(number(value), (f"±{spread}", *under), number=True)

def _table_1() -> Iterator[Line]:
    for what, (free, *frozen) in paper.TABLE_1.items():
        cells = (_printed(*one, f"Δ {number(one[0] - free[0], signed=True)}") for one in frozen)
        yield Line("Paper: MAML", (_printed(*free), *cells), (what, "10 steps at test (trained with 5)"))

def _learning(evidence: Evidence) -> Section:
    learners, maml, anil = paper.adapting(evidence), accuracy("maml"), accuracy("anil")
    more = [who for who in learners if who not in ("maml", "anil") and evidence.distinct("head", "accuracy", who)]
    return Section("learning", "Learning: MAML and ANIL",
        ("Does the inner loop of the body matter in training? ANIL does without it (claims R4 and R5).",),
        (("MAML", "trains an initialisation from which a few gradient steps on a task's support images solve the task"),
         ("ANIL", "the same, but those inner steps change the last layer (the head) alone, never the body before it")),
        (learning_curves(evidence, learners),),
        (Grid("accuracy", f"Test accuracy in percent after {count(evidence.test_steps, 'inner step')}.",
              ("", "MAML", "ANIL", "ANIL − MAML (points)", *map(label_of, more)),
              (Line("This study", (Said(maml), Said(anil), Said(anil - maml, signed=True),
                                   *(Said(accuracy(who)) for who in more))),
               *(Line(f"Paper: {setting}", (_printed(*a), _printed(*b), Cell(number(b[0] - a[0], signed=True),
                                                                            number=True), *[BLANK] * len(more)))
                 for setting, (a, b) in paper.TABLE_2.items())),
              ("Accuracy of MAML and ANIL", "The table holds no test accuracies of either.")),))

def _reusing(evidence: Evidence) -> Section:
    blocks, learners = ("", *evidence.blocks), dict.fromkeys((*paper.adapting(evidence), *REGIMES))
    new = "new head, trained on the frozen body"
    return Section("reusing", "What the body holds: the reuse index",
        ("How much of what training gained is in the body as training left it? (A − U) / (F − U), of test accuracies: "
         "F with all layers adapting, A with the body frozen, U of the NIL head on the untrained body; 1: the frozen "
         "body does all that the adapted one does, 0: no more than random features. (Pages made before took U of the "
         "untrained network's own head, which cannot read its features: their indices are higher.)",), (),
        (shared.learned(evidence, {who: NAMES.get(who, who) for who in learners if who != "random"}, COST, headed),
         shared.reuse_index(evidence, learners, NAMES)),
        (Grid("freezing-regimes",
              "Test accuracy in percent when learners that were trained to adapt the head alone adapt all layers but "
              f"the frozen ones, at {count(evidence.test_steps, 'step')}; Δ: change against nothing frozen.",
              ("Regime", *headings(blocks)),
              tuple(Line(capital(NAMES[who]), shared.by_block(blocks, who, head=head, adapts="all"), (told,))
                    for who, head, told in (("anil", "own", "own head"),
                                           *((one, "maml", new) for one in paper.HEADLESS))),
              ("Freezing in other regimes", "The table holds no test of another regime with all layers adapting."),
              (f"The column {block_name(evidence.full)} is how they were trained.",)),))

def _regimes(evidence: Evidence) -> Section:
    names = tuple(capital(NAMES[regime]) for regime in REGIMES)
    maml, nil = (tuple(headed(regime, head) for regime in REGIMES) for head in ("maml", "nil"))
    apart = tuple(one - other for one, other in zip(maml, nil, strict=True))
    gaps = [paper.printed_gaps((regime, 0), (regime, 1)) for regime in REGIMES]
    own = ["its own head" if regime not in paper.HEADLESS else "new head, body frozen" for regime in REGIMES]
    def figures(regime: str, gap: tuple[float, ...]) -> tuple[Cell, ...]:
        heads = ([f"{number(one[0])} ±{one[1]}" for one in shots if one]
                 for shots in zip(*paper.TABLE_7[regime], strict=True))
        every = (*heads, [number(one, signed=True) for one in gap])
        return tuple(Cell(one[0], tuple(one[1:]), number=True) if one else BLANK for one in every)
    return Section("regimes", "Training regimes",
        ("Is it the way of training that makes features worth reusing (claims R7, R8 and R12)? A new head, which is "
         "meta-trained on the frozen body (Appendix D.1), may lie below the NIL head for want of training.",),
        (("MAML head", "a last layer that takes gradient steps on the support set from a meta-trained start"),
         ("multiclass", "the body learns to tell all training classes apart; that head is thrown away"),
         ("NIL training", "the body learns with the NIL head in place, as matching networks do"),
         ("multitask", "one head learns all training tasks at once, though each labels its classes as it likes")),
        (Figure("regimes-figure", f"Grey: ±{GAP} points, the paper's largest gap between two heads.",
                (Dots("Test accuracy (%)", names, lying=True, series=(
                      Series("MAML head", INK, maml), Series("NIL head", shared.OTHER, nil, "D")),
                       line=(100 / evidence.n_way, "chance")),
                 Dots("MAML head − NIL head (points)", names, (Series("", INK, apart),), lying=True,
                      bands=((-GAP, GAP),), printed=tuple((at, gap[0]) for at, gap in enumerate(gaps) if gap))),
                ("Training regimes", "The table holds no test with the NIL head or the MAML head.")),),
        (Grid("regimes-table", "Test accuracy in percent; last: the paper's Tables 5 and 7, mini-ImageNet (mIN).",
              ("Regime", "MAML head", "NIL head", "MAML head − NIL head (points)"),
              (*(Line(name, (Said(one), Said(other), Said(gap, signed=True)), (f"MAML head: {whose}",))
                 for name, one, other, gap, whose in zip(names, maml, nil, apart, own, strict=True)),
               *(Line(f"Paper: {NAMES[regime]}", figures(regime, gap), ("mIN 5-way 1-shot, below it 5-shot",))
                 for regime, gap in zip(REGIMES, gaps, strict=True)))),))

def _pairs(evidence: Evidence) -> Section:
    layers, seeds = evidence.layers, sorted(paper.compared(evidence, MAML))
    parts = {"body": "body", "first three": block_name(",".join(evidence.body[:3]))}
    printed = [paper.TABLE_3[two] if part == "body" else paper.TABLE_8.get(two[0], ()) for part, two in COMPARED]
    found = {pair: paper.compared(evidence, pair) for _, pair in COMPARED}
    which = ", ".join(f"{paper.pair_name(pair)} {len(every)}{' (of one seed)' * all(a == b for a, b in every)}"
                      for pair, every in found.items() if every)
    alone = " Pairs of one seed began with the same weights, which makes them more alike." * ("of one" in which)
    def point(m: str, phase: str, k: str, one: int, other: int) -> Point:
        at = {"layer": k, "other_layer": k, "seed": one, "other_seed": other}
        x, y = (q(m, learner="maml", other_learner="maml", phase=when, **at) for when in ("pre-pre", phase))
        head = k == evidence.head
        return Point(x, y, k + " (not in the line)" * head, layer_colour(k, layers), open=head,
                     told=f"{k}, seeds {one} and {other}")
    def best(m: str, kind: str, phase: str) -> Quantity:
        return alike(f"{m}_{kind}", MAML, "body", phase=phase)
    def similar(at: int, m: str) -> Dots:
        values, nulls = (tuple(alike(name, pair, part) for part, pair in COMPARED) for name in (m, f"{m}_null"))
        places = tuple(f"{paper.pair_name(pair)}, {parts[part]}" for part, pair in COMPARED)
        return Dots(f"{JUDGED[m]}, before adaptation", places, (Series("", INK, values, nulls=nulls),), lying=True,
                    limits=(-0.03, 1.03), printed=tuple((place, two[at]) for place, two in enumerate(printed) if two))
    return Section("pairs", "Two trainings side by side",
        ("Are the features of MAML and ANIL as alike as those of two MAML networks (claim R6), those of other regimes "
         "less like MAML's, the worse they serve (R13), and does adaptation change how alike two networks are (R10)?"
         f"{f' Pairs compared: {which}.{alone}' * bool(which)}",
         "Similarities of few tasks come out too high; the interval takes that off, and may lie below them."), (),
        (Figure("pairs-similar", "Mean over the layers of the body, or its first three. The paper's CKA is biased.",
                tuple(similar(at, m) for at, m in enumerate(JUDGED)),
                ("Similarity of two trainings", "The table compares no two trainings.")),
         Figure("pairs-lines", "Two MAML networks of different seeds, before adaptation (across), and with the first, "
                "the second, or both after it (up). On the dotted line adaptation changes nothing.",
                tuple(Scatter(told, ("both before", words),
                              tuple(point(m, phase, k, *two) for k in layers for two in seeds), True,
                              (best(m, "slope", phase), best(m, "intercept", phase)))
                      for m, told in JUDGED.items() for phase, words in paper.PAIRINGS.items()),
                ("Similarity across seeds, before and after adaptation", "Two trainings of MAML are needed."), 3)),
        (Grid("pairs-table", "Similarity of two trainings before adaptation, and the paper's Tables 3 and 8.",
              ("Pair", *_MEASURES.values(), "Paper: CCA, CKA"),
              tuple(Line(paper.pair_name(pair), (*(Said(alike(m, pair, part), 2) for m in _MEASURES),
                                                 Cell(", ".join(number(v, 2) for v in two) or DASH, number=True)),
                         (f"mean over {'the body' if part == 'body' else 'its first three layers'}",))
                    for (part, pair), two in zip(COMPARED, printed, strict=True))),
         Figure("pairs-maps", "Before adaptation, mean over pairs of seeds; coarser maps are repeated to finer ones.",
                tuple(Map(f"{told}, {paper.pair_name(pair)}", told, f"{NAMES[pair[0]]}, one seed",
                          f"{NAMES[pair[1]]}, another", {(a, b): alike(m, pair, a, b) for a in layers for b in layers})
                      for m, told in JUDGED.items() for pair in (MAML, paper.BOTH)),
                ("Layers against layers", "The table compares no two trainings.")),
         Grid("pairs-lines-table", "Lines of best fit through the points of the figure above, the head left out.",
              ("Similarity", "Slope", "Intercept", "R² of the line", "R² about y = x"),
              tuple(Line(told, tuple(Said(best(m, kind, phase), 2)
                                     for kind in ("slope", "intercept", "r2", "r2_to_identity")), (words,))
                    for m, told in _MEASURES.items() for phase, words in paper.PAIRINGS.items()), notes=(
              "R² about y = x is 1 − Σ(y−x)²/Σ(y−ȳ)²: below 0, y = x fits worse than a constant.",))))

def _timing(evidence: Evidence) -> Section:
    doing, learners = ("training", "inference"), ("fomaml", "anil")
    columns = [(view, what) for view in paper.VIEWS for what in doing]
    rounds, how = (sorted({one for what in doing for one in evidence.distinct(column, f"{what}_seconds")})
                   for column in ("n", "source"))
    def times(view: str, what: str, who: str) -> Quantity:
        return q(f"{what}_speedup", learner=who, view=view, steps=ANY)
    def cell(view: str, what: str, who: str) -> Said:
        time = q(f"{what}_seconds", learner=who, view=view, steps=ANY)
        long = isinstance(found := time.read(evidence), Estimate) and found.value >= 0.1
        return Said(time, 0 if long else 1, unit=" ms", scale=1000,
                    under=(declared.Under(times(view, what, who), "×", 2, interval=True),))
    def figure(view: str, what: str, who: str, at: int) -> Cell:
        found, ratio = paper.SECONDS.get((what, who)), paper.SPEEDUPS.get((what, who))
        if view != "paper" or not found:
            return BLANK
        return Cell(f"{number(1000 * found[at], 0)} ms", (f"× {ratio[at]:g}",) if ratio else (), number=True)
    def faster(what: str) -> Dots:
        series = (Series(paper.VIEWS[view], colour, tuple(times(view, what, who) for who in learners), mark)
                  for view, colour, mark in (("paper", INK, "o"), ("ordinary", shared.OTHER, "s")))
        printed = ((at, one) for at, who in enumerate(learners) for one in paper.SPEEDUPS.get((what, who), ()))
        return Dots(f"{capital(what)}: times faster than MAML", tuple(NAMES[who] for who in learners), tuple(series),
                    lying=True, log=True, line=(1.0, ""), printed=tuple(printed))
    return Section("timing", "Time",
        ("What does an inner loop of the head alone save (claim R11)? MAML, FOMAML (which adapts as MAML does) and "
         "ANIL compute the same tasks in turn, in another order each round; ratios are taken within a round. Times are "
         "the one thing on this page that the same commands do not give again to the byte.",),
        (("training time", "one meta-gradient: forward and backward through the inner loop, images in memory"),
         ("inference time", "the inner loop on a support set, and the logits of the query set"),
         (paper.VIEWS["paper"], "the paper's conditions; the one image is of the first class"),
         (paper.VIEWS["ordinary"], "as many tasks and query images as the runs of this study train on at a time")),
        (Figure("timing-figure", "Median over rounds, on a logarithmic scale. Diamonds: 1- and 5-shot.",
                tuple(map(faster, doing)), ("Training and inference time", "The table holds no timings.")),),
        (Grid("timing-table", "Median times; last: the paper's Table 6, mini-ImageNet (mIN), with ratios of means.",
              ("Learner", *(f"{capital(what)}: {paper.VIEWS[view]}" for view, what in columns)),
              (*(Line(NAMES[who], tuple(cell(view, what, who) for view, what in columns)) for who in paper.BASES),
               *(Line(f"Paper: {NAMES[who]}", tuple(figure(view, what, who, at) for view, what in columns),
                      (f"mIN 5-way {shot}",))
                 for at, shot in enumerate(("1-shot", "5-shot")) for who in paper.BASES)),
              ("Times", "The table holds no timings."),
              (f"{listed([str(n) for n in rounds])} rounds, after one to warm up; intervals by order statistics. "
               f"Computed: {'; '.join(how)}.",)),))
