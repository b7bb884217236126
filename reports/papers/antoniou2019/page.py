"""What the antoniou2019 page shows: the answer, the parts, steps and times, and what learned rates leave to adapt."""

from __future__ import annotations

from collections.abc import Iterator

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.declared import Cell, Dots, Figure, Grid, Line, Map, Said, Series
from metaprobe.reports.claims import POINTS, above
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.antoniou2019 import paper
from metaprobe.reports.papers.antoniou2019.paper import ALL, PRINTED, key_of, label_of, look_of, measured
from metaprobe.reports.probing.curves import learning_curves
from metaprobe.reports.probing.questions import untaught
from metaprobe.reports.probing.reuse import freezing_told, reused
from metaprobe.reports.quantities import ANY, q
from metaprobe.reports.study.study import Answer, Cite, Judgements, Section
from metaprobe.reports.wording import GROUP_MARKS, INK, in_order, listed, number, with_interval

# fmt: off
_STILL = 0.1
RATED, REUSED = (key_of("lslr"), ALL), ("maml", key_of("lslr"), ALL)

def answer(evidence: Evidence, judged: Judgements) -> Answer:
    """Answer by MAML++'s gain over MAML."""
    gain = (measured(ALL) - measured("maml")).read(evidence)
    said = {"holds": "MAML++ is ahead of MAML", "does not hold": "MAML++ is behind MAML",
            "undecided": "MAML++ and MAML are not told apart"}
    headline = said.get(above(0).judge(gain), "MAML++ against MAML was not measured")
    if told := untaught(evidence, ["maml"]):
        headline = "Nothing is shown to have been learned that parts of MAML++ could improve"
    rules, sentences = "By the paired gain of MAML++: ahead where its interval lies above 0, behind where below.", (
        *filter(None, [told]), *_sentences(evidence, judged))
    return Answer(headline, sentences, rules, _parts(evidence, "answer-figure"))

def _sentences(evidence: Evidence, judged: Judgements) -> Iterator[str]:
    base, gain = measured("maml").read(evidence), (measured(ALL) - measured("maml")).read(evidence)
    if isinstance(gain, Estimate):
        yield (f"On {evidence.made.task} tasks of {evidence.made.data_name} MAML is right on "
               f"{with_interval(base, 1, ' %')} of queries; MAML++ on the same tasks: {with_interval(gain, **POINTS)}.")
    if rates := {layer: one.value for layer in evidence.layers
                 if isinstance(one := q("rate_kept", learner=ALL, layer=layer, steps=ANY).read(evidence), Estimate)}:
        still = listed([layer for layer, share in rates.items() if share < _STILL]) or "no layer"
        shares = listed([f"{layer} {number(share, 2)}" for layer, share in rates.items()])
        yield (f"Learned rates freeze {still} by themselves: as multiples of what they began with (mean size over "
               f"steps) they are {shares}, and below {_STILL} a layer hardly moves.")
    yield from filter(None, [freezing_told(evidence, REUSED, look_of)])
    if against := [name for name, one in judged.items() if one.verdict == "does not hold"]:
        yield f"Of the paper's claims {listed(against)} {'does' if len(against) == 1 else 'do'} not hold here."

def sections(evidence: Evidence, cite: Cite) -> tuple[Section, ...]:
    """Return the sections, in the order of the claims; the last is not in the paper."""
    return (
        Section("parts-section", "Part by part",
            ("MAML++ is MAML with five changes; each was trained by itself and all together (claims M2, M3).",),
            (("MSL", "multi-step loss: queries after every inner step count at first, the last ever more"),
             ("LSLR", "a learned rate for each tensor and step"),
             ("BNWB", "scale and shift of the norms for each step"),
             ("CA, DA", "the outer rate falls as a cosine; derivatives are of first order at first")),
            (_parts(evidence, "parts"),), (_accuracies(evidence),)),
        Section("training", "Over training",
            ("Does MAML++ learn faster, and more steadily (claim M1)? Validation tasks are the same throughout.",), (),
            (learning_curves(evidence, ("maml", ALL)),)),
        Section("steps-section", "Inner steps and time",
            ("MAML++ is trained and tested with fewer inner steps (claim M4); an outer step of it is timed in turn "
             "with one of MAML, at the start of training and at its end (claim M5).",), (), _steps(evidence)),
        _reuse(evidence))

def _parts(evidence: Evidence, name: str) -> Figure:
    base, *parts = PRINTED
    gains = Series("", INK, tuple(measured(key) - measured(base) for key in parts))
    printed = tuple((at, PRINTED[key] - PRINTED[base]) for at, key in enumerate(parts))
    return Figure(name, "What each part of MAML++ adds to MAML, on the same "
                  "tasks. Diamonds: the paper's, on Omniglot 20-way 1-shot.",
                  (Dots("Gain over MAML (points, paired)", tuple(map(label_of, parts)), (gains,), lying=True,
                        line=(0.0, ""), printed=printed),),
                  ("Parts", "The table holds no tests of MAML++ or its parts."))

def _accuracies(evidence: Evidence) -> Grid:
    lines = (Line(label_of(key), (Said(measured(key)), Said(measured(key) - measured("maml"), signed=True)
                                  if key != "maml" else Cell(""), Cell(number(figure, 2))))
             for key, figure in PRINTED.items())
    return Grid("accuracy", f"Test accuracy in percent after {evidence.test_steps} inner steps.",
                ("Learner", "Accuracy", "Gain over MAML (points)", "Paper: Omniglot 20-way 1-shot"), tuple(lines),
                ("Accuracies", "The table holds no test accuracies."))

def _steps(evidence: Evidence) -> tuple[Figure, Figure]:
    steps, timed = paper.steps_of(evidence), evidence.distinct("inner_steps", "iteration_ratio", ALL)
    read = {"maml": [measured("maml", n) if n == evidence.trained_steps else None for n in steps],
            ALL: [measured(paper.pp_of(n, evidence), n) for n in steps]}
    both = tuple(Series(label, colour, tuple(found), mark)
                 for who, found in read.items() for label, colour, mark in (look_of(who),))
    times = tuple(Series(told, colour, tuple(paper.ratio(n, stage) for n in timed), mark)
                  for (stage, told), (colour, mark) in zip(paper.STAGES.items(), GROUP_MARKS, strict=False))
    return (Figure("by-steps", "By inner steps, the same in training and test.",
                   (Dots("Test accuracy (%)", tuple(map(str, steps)), both, axis="Inner steps"),),
                   ("Inner steps", "The table holds no tests of MAML++.")),
            Figure("times", "Median over rounds; under 1 MAML++ is faster.",
                   (Dots("Time of an outer step, MAML++ / MAML", tuple(map(str, timed)), times, axis="Inner steps",
                         line=(1.0, "")),), ("Times", "The table holds no timings.")))

def _reuse(evidence: Evidence) -> Section:
    layers = in_order({layer for who in RATED for layer in evidence.distinct("layer", "learned_rate", who)})
    def rates(who: str) -> Map:
        steps = evidence.distinct("step", "learned_rate", who)
        cells = {(layer, f"step {n}"): q("learned_rate", learner=who, layer=layer, step=n, steps=ANY)
                 for layer in layers for n in steps}
        return Map(label_of(who), "learned rate", "layer", "inner step", cells, most=2 * evidence.made.inner_lr)
    return reused(evidence, REUSED, look_of,
        "A learned rate may freeze a layer by itself. Rates by layer and step, how alike each layer is before and "
        "after adaptation, and what is lost where the body is kept from adapting.", before=(
        Figure("rates", f"Learned rates of each layer's weights; all began at {evidence.made.inner_lr:g}.",
               tuple(map(rates, RATED)), ("Learned rates", "The table holds none.")),))
