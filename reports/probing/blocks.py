"""Sections and blocks on any learners that adapt; the paper's own figures, margins and claims are handed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.readings import Estimate
from metaprobe.reports import wording
from metaprobe.reports.blocks.declared import BLANK, Cell, Custom, Dots, Figure, Grid, Line, Said, Series, Under
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing import questions
from metaprobe.reports.probing.curves import similarity_by_step
from metaprobe.reports.probing.questions import JUDGED, accuracy, change, cost, headings, lowest, of_layer
from metaprobe.reports.quantities import ANY, Quantity, q
from metaprobe.reports.study.study import Cite, Section
from metaprobe.reports.wording import Look, block_name, capital, count, label_of, layer_colour, look_of

_Test = tuple[str, dict[str, Any]]  # what it is called, and what is asked for
Ranges = tuple[tuple[float, float], tuple[float, float]]  # of similarities of the body, and of the head
_Read = Callable[[str], Iterable[Quantity]]
_FROZEN = "Layers frozen in the inner loop"  # name of an axis
_LIMITS = (-0.03, 1.03)  # of axes of similarities
OTHER = "#cc79a7"  # beside the ink: apart from it in lightness too, for readers who see no colours


# fmt: off
def frozen_blocks(evidence: Evidence, learners: Iterable[str]) -> Dots:
    """Return the panel of test accuracy by frozen block."""
    series = _series(learners, lambda who: (accuracy(who, b) for b in ("", *evidence.blocks)))
    return Dots("Test accuracy (%)", ("none", *map(block_name, evidence.blocks)), series, axis=_FROZEN,
                line=(100 / evidence.n_way, "chance"))

def similarities(evidence: Evidence, measure: str, learners: Iterable[str], ranges: Ranges | None = None,
                 looks: Callable[[str], Look] = look_of, steps: int | str = "test") -> Dots:
    """Return the panel of each layer's similarity and null; `ranges`: the paper's of the body, and of the head."""
    layers = evidence.measured_layers(*JUDGED)
    series = _series(learners, lambda who: (of_layer(measure, k, who, steps=steps) for k in layers), "",
                     lambda who: (of_layer(f"{measure}_null", k, who, steps=steps) for k in layers), looks)
    bands = tuple(ranges[k == evidence.head] for k in layers) if ranges else ()
    return Dots(wording.measure_name(measure), layers, series, bands=bands, limits=_LIMITS,
                band_label="the paper's range" * bool(ranges))

def _series(learners: Iterable[str], read: _Read, line: str = "-", nulls: _Read = lambda _: (),
            looks: Callable[[str], Look] = look_of) -> tuple[Series, ...]:
    return tuple(Series(label, colour, tuple(read(who)), mark, line, tuple(nulls(who)))
                 for who in learners for label, colour, mark in (looks(who),))

def by_block(blocks: Iterable[str], who: str, **how: Any) -> tuple[Said, ...]:
    """Return cells of accuracy with blocks frozen, under each its change against nothing frozen."""
    return tuple(Said(accuracy(who, b, **how), under=(Under(cost(who, b, **how), "Δ", 1, True, True),) * bool(b))
                 for b in blocks)

def freezing(evidence: Evidence, learners: Iterable[str], who: str, claims: str, margin: float,
             printed: Sequence[float], lines: Iterable[Line]) -> Section:
    """Return the section on freezing, more steps of `who` alone; the paper's: `margin` of no effect, changes, lines."""
    tests, trained, full, blocks = evidence.test_steps, evidence.trained_steps, evidence.full, ("", *evidence.blocks)
    learners = [one for one in learners if evidence.distinct("head", "accuracy", one)]
    tested = [one for one in learners if evidence.distinct("frozen", "accuracy", one, adapts="")]
    other = sorted({n for who in learners for n in questions.further_steps(evidence, who)})
    steps = sorted({tests, *other})
    looks = (("nothing frozen", "", wording.INK, "o", "-"), (f"{block_name(full)} frozen", full, OTHER, "D", "--"))
    before: list[_Test] = [("own head, no adaptation", {"steps": 0}), ("NIL head, no adaptation", {"head": "nil"})]
    seeds = [*((f"seed {n}", {"seed": n}) for n in evidence.seeds), ("mean", {})] * (len(evidence.seeds) > 1)
    costs = _series(learners, lambda one: (cost(one, b) for b in blocks[1:]))
    def frozen(at: list[int]) -> tuple[str, ...]:
        found = {b for who in learners for n in at
                 for b in evidence.distinct("frozen", "accuracy", who, adapts="", inner_steps=n)}
        return (*(b for b in blocks if not b or at == [tests] or b in found), *sorted(found - {*blocks}))
    def table(name: str, caption: str, at: list[int], more: list[_Test], lines: Iterable[Line] = ()) -> Grid:
        tests, columns = [(f"own head, {count(n, 'step')}", {"steps": n}) for n in at] + more, frozen(at)
        ours = (Line(capital(label_of(one)), by_block(columns, one, **test),
                     (told + ", as trained" * (test.get("steps") == trained and one != "random"),))
                for told, test in tests for one in learners)
        theirs = (replace(line, cells=(*line.cells, *[BLANK] * len(columns))[:len(columns)]) for line in lines)
        return Grid(name, caption, ("Learner", *headings(columns)), (*ours, *theirs))
    return Section("freezing-section", "Freezing layers in the inner loop",
        (f"If a layer's features are reused, keeping the layer as training left it costs nothing ({claims}). But an "
         "untrained network may lose nothing either, and the head may need more steps to do the work alone.",),
        (("freezing", "the layer takes no inner step at test time; training is not changed"),
         ("untrained network", "the same network as initialised: what freezing costs when nothing was learned"),
         ("NIL head", "no layer, no steps: queries take the support images' labels, by cosine similarity of features")),
        (Figure("freezing-figure", f"At {count(tests, 'inner step')}. Grey: what the paper counts as no effect.",
                (frozen_blocks(evidence, tested),
                 Dots("Change against nothing frozen (points)", tuple(map(block_name, blocks[1:])), costs, axis=_FROZEN,
                      bands=((-margin, 0.0),), printed=tuple(enumerate(printed[:len(blocks) - 1])))),
                ("Freezing", "The table holds no test accuracies with frozen layers.")),
         Figure("head-steps", "A cost of freezing that goes away with more inner steps at test was the head's.",
                tuple(Dots(f"{capital(label_of(one))}, test accuracy (%)",
                           tuple(f"{n}{' (trained)' * (n == trained)}" for n in steps),
                           tuple(Series(told, colour, tuple(accuracy(one, b, steps=n) for n in steps), mark, line)
                                 for told, b, colour, mark, line in looks), axis="Inner steps at test")
                      for one in (who, "random") if other),
                ("Number of inner steps at test", "The table holds one number of steps only."), share=True)),
        (table("freezing", "Test accuracy in percent with layers frozen in the inner loop; Δ: change in points against "
               "nothing frozen at the same number of steps.", [tests], before, lines),
         table("freezing-steps", "The same with other numbers of inner steps at test.", other, []),
         Grid("freezing-by-seed", f"The same by seed of the training, at {count(tests, 'inner step')}.",
              ("Learner", *headings(blocks)),
              tuple(Line(f"{capital(label_of(who))}, {told}", tuple(Said(accuracy(who, b, **seed), 2) for b in blocks))
                    for who in learners for told, seed in seeds))))

def similarity(evidence: Evidence, cite: Cite, learners: Iterable[str], claims: str, ranges: Ranges) -> Section:
    """Return the section on representations before and after adaptation."""
    measures = [measure for measure in MEASURES if evidence.measured_layers(measure)]
    sizes = sorted({n for m in JUDGED for n in evidence.distinct("n", f"{m}_null", other_layer="")})
    nulls = f" (n = {' to '.join(f'{n:,}' for n in sorted({*sizes[:1], *sizes[-1:]}))} samples)" * bool(sizes)
    alone = "task" in evidence.distinct("over", "mean_cca")
    over = ("A value is of each task by itself, in the mean over tasks: each has parameters and an order of labels of "
            "its own." if alone else "Samples of all tasks are put together, for which one map must do.")
    def line(who: str, k: str) -> Line:
        found = [of_layer(m, k, who) for m in measures]
        n = max((one.n or 0 for one in (one.read(evidence) for one in found) if isinstance(one, Estimate)), default=0)
        forced = (Under(of_layer("forced_correlations", k, who), "forced", 0),)
        cells = (Said(one, 3, under=(Under(of_layer(f"{m}_null", k, who), "null", 2),
                                     Under(of_layer(f"{m}_calibrated", k, who), "calibrated", 2),
                                     *forced * (m == measures[0])))
                 for m, one in zip(measures, found, strict=True))
        return Line(f"{label_of(who)} {k}", tuple(cells), (f"n = {n:,}",) if n else ())
    return Section("similarity-section", "Representations before and after adaptation",
        (f"The same query images go through the network before and after adaptation ({claims}). A value counts against "
         f"its null alone: with few samples, unrelated representations look similar too. {over}",),
        (("CCA", "mean correlation of what varies together in two sets of features; 1: each a linear map of the other"),
         ("CKA", "whether the same samples are alike in both; debiased: 0 for unrelated features, however few samples"),
         ("null", "what chance gives: each image of one side beside another image of the other, positions kept"),
         *[("RSA", "correlation of two matrices of how unlike images are; of whole images, by value or by ranks")]
         * ("rsa_pearson" in measures),
         *[("calibrated", "(value − null) / (1 − null), of the samples of the null: 0 is chance, 1 alike")] * alone),
        (Figure("similarity-figure",
                f"Mean CCA {cite('mean_cca')} and debiased CKA {cite('debiased_cka')}. Dashes: the null{nulls}.",
                tuple(similarities(evidence, measure, learners, ranges) for measure in JUDGED),
                ("Similarity before and after adaptation", "The table holds no CCA or debiased CKA."), share=True),),
        (Grid("similarities", "Convolutions by position (n positions, channels as features) where captured so. Forced: "
              "canonical correlations that are 1 for want of samples. PWCCA weighs by the features before adaptation.",
              ("Layer", *(f"{wording.measure_name(measure)} {cite(measure)}".strip() for measure in measures)),
              tuple(line(who, k) for who in learners for k in evidence.measured_layers(*measures))),))

def training(evidence: Evidence, who: str, claims: str) -> Section:
    """Return the section on freezing and similarity over a learner's training."""
    stages, layers, full = questions.stages(evidence, who), evidence.measured_layers("mean_cca"), evidence.full
    name, shades, trained = label_of(who), (*map(str, stages), "head"), count(evidence.test_steps, "inner step")
    def over(read: Callable[[int], Iterable[Quantity]], line: str) -> tuple[Series, ...]:
        return tuple(Series(f"iteration {i:,}", layer_colour(str(i), shades), tuple(read(i)), line=line)
                     for i in stages if len(stages) > 1)
    return Section("training", "Over training", (f"Is it so from early in training on ({claims})?",), (),
        (Figure("over-training", f"{name} at several iterations of its training; accuracy at {trained}.",
                (replace(frozen_blocks(evidence, ()), line=None, series=over(
                    lambda i: (accuracy(who, b, at=i) for b in ("", *evidence.blocks)), "-")),
                 Dots("Mean CCA, before against after", layers,
                      over(lambda i: (of_layer("mean_cca", k, who, at=i) for k in layers), ""), limits=_LIMITS)),
                ("Freezing and similarity over training", f"Fewer than two checkpoints of {name} were tested.")),),
        (Grid("over-training-table", "The same, with debiased CKA beside mean CCA; lowest: of the layers of the body.",
              ("Iteration", "Nothing frozen", f"{capital(block_name(full))} frozen", "Change (points)",
               *(f"{told}, {which}" for told in JUDGED.values() for which in ("lowest", "head"))),
              tuple(Line(f"{i:,}", (Said(accuracy(who, at=i)), Said(accuracy(who, full, at=i)),
                                    Said(cost(who, full, at=i), signed=True), *(Said(one, 3) for m in JUDGED for one in
                                    (lowest(m, who, i), of_layer(m, evidence.head, who, at=i)))),
                         (f"{100 * i / max(1, stages[-1]):.0f} %",)) for i in stages)),))

def moving(evidence: Evidence, learners: Sequence[str], who: str) -> Section:
    """Return the section on what moves and whether it matters: the map, of learners, and of one over training."""
    def line(who: str, k: str) -> Line:
        told = questions.quarter(*(one.read(evidence) for one in change(k, who)))
        return Line(f"{label_of(who)}, {k}", (*(Said(one, 3, plain=True) for one in change(k, who)), Cell(told)))
    def change_map(evidence: Evidence) -> Any:
        from metaprobe.reports.probing.change_map import draw  # matplotlib: not before there is something to draw

        return draw(evidence, learners, who)
    return Section("moving", "What moves, and whether it matters",
        ("Weights can move far along directions to which a layer's output is blind, and a short move can turn the "
         "output round. The map of the two does not tell changes that came from the layers before, nor moves that "
         "batch normalisation undoes or rotations, to which CKA is blind; boundaries at 0.1 are a convention.",), (),
        (similarity_by_step(evidence, learners),
         Custom("change-map", "Each layer after the last inner step. Strips at 0: no change beyond rounding; grey "
                "above: the null; faint: single seeds. A bar down to the edge does not exclude no change.", change_map,
                ("Map of changes", "The table holds no layer with both a weight distance and a debiased CKA."))),
        (Grid("changes", "The map in numbers, at the end of training; in words: by the whole intervals.",
              ("Layer", "Change of weights", "Change of features", "In words"),
              tuple(found for found in (line(one, k) for one in learners for k in evidence.layers)
                    if found.cells[-1] != Cell(""))),))

def reuse_index(evidence: Evidence, learners: Iterable[str], names: Mapping[str, str]) -> Grid:
    """Return the table of the reuse index by inner steps; `names`: what the paper calls learners."""
    steps = sorted(set(evidence.distinct("inner_steps", "reuse_index")) - {0})
    tasks = sorted({n for who in learners for n in evidence.distinct("n", "reuse_index", who)}, reverse=True)
    def index(who: str, n: int, head: str = ANY) -> Said:
        return Said(q("reuse_index", learner=who, steps=n, head=head, frozen=ANY, adapts=ANY), 2)
    return Grid("reuse-index", "Reuse index by the number of inner steps that the head alone takes.",
        ("Learner", *(count(n, "step") for n in steps), "NIL head"),
        tuple(Line(capital(names.get(who, who)), (*(index(who, n) for n in steps), index(who, 0, "nil")))
              for who in learners), ("Reuse index", "The table holds no test that it needs."),
        (f"Test tasks behind a row: {wording.listed([str(n) for n in tasks])}.",) * (len(tasks) > 1))

def learned(evidence: Evidence, names: Mapping[str, str], margin: float = questions.MARGIN,
            own: Callable[[str], Quantity] = accuracy) -> Grid:
    """Return the table of what training gave learners; `names`: what they are called, `own`: their own tests."""
    nil, chance = {who: accuracy(who, head="nil") for who in (*names, "random")}, 100 / evidence.n_way
    columns: dict[str, Callable[[str], Quantity]] = {"Over chance, own head": lambda who: own(who) - chance}
    if "nil" in evidence.distinct("head", "accuracy", view=""):
        columns = {"Over untrained features, NIL head": lambda who: nil[who] - nil["random"], **columns,
                   "Over chance, NIL head": lambda who: nil[who] - chance}
    return Grid("learned", f"What training gave, in points; a gain that is not clear of {margin} points does not show "
        "that something was learned that could be reused.", ("Learner", *columns),
        tuple(Line(capital(name), tuple(Said(gain(who), signed=True) for gain in columns.values()))
              for who, name in names.items()))
