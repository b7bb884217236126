"""Figures over training and over inner steps, and how far from their optima these start and lead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import product

from metaprobe.reports.blocks.declared import Curve, Curves, Dots, Figure, Grid, Line, Said, Series
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.questions import JUDGED, of_layer
from metaprobe.reports.quantities import q
from metaprobe.reports.study.study import Section
from metaprobe.reports.wording import Look, colour_of, label_of, layer_colour

# fmt: off
ITERATION = "Training iteration"  # name of an axis
DISTANCES = {"estimated_squared_distance": "own optimum",
             "estimated_squared_distance_to_common_optimum": "common optimum"}
_TERMS = {measure: f"Squared distance, {name}" for measure, name in DISTANCES.items()} | {
    "estimated_optimum_loss": "Loss at the own optimum (nats)",
    "estimated_optimum_gradient_norm": "Gradient norm at the own optimum",
    "estimated_gradient_bound": "G, lower estimate", "estimated_smoothness": "L, lower estimate",
    "estimated_growth": "ρ = 1 + 2αL", "estimated_second_term": "Second term"}

def learning_curves(evidence: Evidence, learners: Iterable[str]) -> Figure:
    """Return the figure of accuracy and loss over training."""
    def curve(measure: str, who: str) -> Curve:
        points = ((float(i), q(measure, learner=who, at=i)) for i in evidence.distinct("iteration", measure, who))
        faint = measure.startswith("train")
        return Curve("" if faint else label_of(who), colour_of(who), tuple(points), faint)
    return Figure("learning-curves", "Validation; faint: training, averaged since the last one. Thin lines: seeds.",
                  tuple(Curves(title, ITERATION, tuple(curve(f"{split}_{k}", who) for who in learners
                                                        for split in ("train", "val")))
                        for k, title in (("accuracy", "Accuracy (%)"), ("loss", "Loss (nats)"))),
                  ("Learning curves", "The table holds no training or validation rows."))

def weights(evidence: Evidence, learners: Collection[str], who: str, claims: str) -> Section:
    """Return the section on how far weights move: a figure of one learner over training, a table of all."""
    kinds = {"euclidean_distance": "Euclidean distance", "relative_distance": "Relative to the layer's norm"}
    layers = evidence.measured_layers(*kinds)
    stages = sorted({i for one in learners for i in evidence.distinct("iteration", "euclidean_distance", one)})
    def curve(measure: str, k: str) -> Curve:
        points = tuple((float(i), of_layer(measure, k, who, at=i)) for i in stages)
        return Curve(k, layer_colour(k, layers), points, marker="o")
    def line(one: str, k: str) -> Line:
        every = (*(of_layer("euclidean_distance", k, one, at=i) for i in stages), of_layer("relative_distance", k, one))
        return Line(f"{label_of(one)} {k}", tuple(Said(found, 3) for found in every))
    return Section("weights", "How far the weights move",
        (f"The distance of each layer's weights before to after the inner loop, mean over tasks ({claims}).",), (),
        (Figure("weight-distance", f"How far {label_of(who)}'s weights move in the inner loop, over training.",
                tuple(Curves(title, ITERATION, tuple(curve(m, k) for k in layers), (0.0, None),
                             ticks=tuple(map(float, stages))) for m, title in kinds.items()),
                ("Weight distance", f"The table holds no weight distances of {label_of(who)}.")),),
        (Grid("distances", "Euclidean distance by iteration of training; last column: over the norm before.",
              ("Layer", *(f"Iteration {i:,}" for i in stages), "Relative, at the end"),
              tuple(line(one, k) for one in learners for k in layers)),))

def similarity_by_step(evidence: Evidence, learners: Collection[str]) -> Figure:
    """Return the figure of each layer's similarity to what it was, after every inner step."""
    measures = dict(reversed(JUDGED.items()))
    layers = evidence.measured_layers(*measures)
    def curve(measure: str, who: str, k: str) -> Curve:
        at = sorted(n for n in evidence.distinct("step", measure, who, other_layer="") if n)
        points, null = (tuple((float(n), of_layer(m, k, who, step=n)) for n in at if len(at) > 1)
                        for m in (measure, f"{measure}_null"))
        return Curve(label_of(who), colour_of(who), points, marker="o", null=null, first=1.0)
    return Figure("similarity-by-step", "After every inner step against before the first (circles: 1). Grey: the null.",
                  tuple(Curves(f"{k}, {told}", "Inner-loop step", tuple(curve(m, one, k) for one in learners),
                               (-0.05, 1.04), ends=False) for m, told in measures.items() for k in layers),
                  ("Similarity by step", "The table holds similarities of one step only."), max(2, len(layers)),
                  share=True)

def step_curves(evidence: Evidence, looks: Mapping[str, Look], banded: Collection[str], told: str) -> Figure:
    """Return the figure of loss and accuracy over inner steps, also quartiles of those `banded`, as `told` of them."""
    panels = []
    for side, (what, unit, top) in product(("support", "query"), (("loss", "nats", None), ("accuracy", "%", 101.0))):
        measure, title, curves = f"{side}_{what}", f"{side.capitalize()}: {what} ({unit})", []
        for key, (label, colour, marker) in looks.items():
            steps = evidence.distinct("step", measure, key)
            mean, *ends = ([q(f"{measure}{end}", learner=key, step=step) for step in steps]
                           for end in ("", "_lower_quartile", "_upper_quartile"))
            band = tuple(zip(steps, *ends, strict=True)) if key in banded else ()
            curves.append(Curve(label, colour, tuple(zip(steps, mean, strict=True)), marker=marker, band=band))
        line = (evidence.trained_steps, "" if panels else "trained for")
        panels.append(Curves(title, "Inner steps at test", tuple(curves), (None, top), line=line, ends=False))
    return Figure("step-curves", f"Means over tasks, of several trainings each a thin line. {told} Dotted: the number "
                  "of steps in training.",
                  tuple(panels), ("Curves over the inner steps", "The table holds no curves over inner steps."))

def bound(evidence: Evidence, looks: Mapping[str, Look], claims: str, limits: str) -> Section:
    """Return the section on a bound on the excess risk and its terms; `limits`: why it may say nothing, or ""."""
    curves, lines, notes = [], [], []
    for key, (label, colour, _) in looks.items():
        steps = [step for step in evidence.distinct("step", "estimated_first_term", key) if step]
        for which, flat in (("first", False), ("second", True)):
            points = tuple((n, q(f"estimated_{which}_term", learner=key, step="last" if flat else n)) for n in steps)
            curves.append(Curve(f"{label}: {which} term", colour, points, dashed=flat))
    for measure, name in _TERMS.items():
        cells = (Said(q(measure, learner=key), 2 + measure.startswith("estimated_optimum")) for key in looks)
        lines.append(Line(name, tuple(cells), ("estimate",)))
        told = [row.reason for key in looks for row in evidence.where(measure, key) if row.reason][:1]
        notes += [f"{name}: {why.removeprefix('estimate: ').replace('θ_T*', 'the optimum')}." for why in told]
    near = tuple(Series(label, colour, tuple(q(m, learner=key) for m in DISTANCES), mark)
                 for key, (label, colour, mark) in looks.items())
    return Section("bound-section", "Distance to the optimum, and the bound",
        (f"The paper bounds the excess risk after q inner steps on K support samples by two terms ({claims}): "
         "2G²/(KL) times (ρ to the power q) − 1, ρ = 1 + 2αL, and 1/(2α) times the mean squared distance from "
         "initialisation to optimum. G and L, how steep and how curved the loss is at most, are known from below only. "
         "Nor has a loss a single optimum: the own one is where descent from the learner's adapted parameters ends, so "
         "near by that alone; the common one, where descent from MAML's ends, favours the learner nearest to it.",
         *filter(None, [limits])), (),
        (Figure("bound-figure", "Distance from where a task starts to its optimum, and the terms of the bound.",
            (Dots("Squared distance to the optimum (estimate)", tuple(DISTANCES.values()), near),
             Curves("Terms of the bound (estimates, nats)", "Inner steps q", tuple(curves), log=True, ends=False)),
            ("Distance to the optimum", "The table holds no estimates of the bound's terms.")),),
        (Grid("bound", "What the bound is made of.", ("Quantity", *(look[0] for look in looks.values())), tuple(lines),
              notes=tuple(notes)),))
