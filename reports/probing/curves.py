"""Figures over training and over inner steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import product

from reports.blocks.declared import Curve, Curves, Figure
from reports.evidence import Evidence
from reports.quantities import q
from reports.wording import colour_of, label_of

ITERATION = "Training iteration"  # name of an axis


# fmt: off
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

def step_curves(evidence: Evidence, looks: Mapping[str, tuple[str, str, str]], banded: Collection[str],
                told: str) -> Figure:
    """Return the figure of loss and accuracy over inner steps, also quartiles of those `banded`, as `told` of them.

    `looks` are label, colour and marker of each learner.
    """
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
