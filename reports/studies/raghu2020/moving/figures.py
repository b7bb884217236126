"""The figure of each layer's similarity to its start after every inner step."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from reports.evidence import Estimate
from reports.figures import ALGORITHM_COLOURS, Drawing, canvas, drawing, style
from reports.studies.marks import LEARNERS, key, points
from reports.studies.raghu2020.moving.changes import MEASURES, shown_steps, steps_of
from reports.studies.raghu2020.study_table import StudyTable
from reports.wording import ALGORITHM_NAMES

__all__ = ["similarity_by_step"]

_GREY = "#d0d0d0"
_TITLES = {"debiased_cka": "Debiased CKA", "mean_cca": "Mean CCA"}


def similarity_by_step(study: StudyTable) -> Drawing | None:
    """Draw each layer's similarity to step 0 after every inner step, a panel a layer, with the null as a band."""
    shown = shown_steps(study)
    if not shown:
        return None
    measures = [m for m in MEASURES if any(measure == m for measure, _ in shown)]
    layers = study.layers(*measures)
    learners = [a for a in LEARNERS if any(algorithm == a for _, algorithm in shown)]
    with style():
        figure, axes = canvas(len(layers), 1.1 + 1.45 * len(measures), rows=len(measures), share_y=True)
        panels = iter(axes)
        for measure in measures:
            for layer in layers:
                panel = next(panels)
                for algorithm in (a for a in learners if (measure, a) in shown):
                    _steps_of_layer(panel, study, measure, algorithm, layer)
                panel.set_ylim(-0.05, 1.04)
                panel.set_title(layer if measure == measures[0] else "")
        for panel, measure in zip(axes[:: len(layers)], measures, strict=True):
            panel.set_ylabel(f"{_TITLES[measure]} to step 0")
        for panel in axes[-len(layers) :]:
            panel.set_xlabel("Inner-loop step")
        handles = [key(ALGORITHM_COLOURS[a], "o", ALGORITHM_NAMES[a]) for a in learners]
        figure.legend(
            handles=[*handles, key(_GREY, "s", "null: images exchanged")],
            loc="outside lower center",
            ncols=len(handles) + 1,
            handletextpad=0.2,
        )
        return drawing(
            "similarity-by-step",
            figure,
            "Similarity to the start after every inner step",
            "CKA and CCA between each layer's representation before adaptation and after each inner step.",
        )


def _steps_of_layer(axes: Axes, study: StudyTable, measure: str, algorithm: str, layer: str) -> None:
    """Draw one learner in one panel: step 0, where it is 1 by definition, each later step, and the null's band."""
    steps = steps_of(study, measure, algorithm)
    colour = ALGORITHM_COLOURS[algorithm]
    nulls = [(s, study.similarity(f"{measure}_null", algorithm, layer, step=s)) for s in steps]
    known = [(s, n) for s, n in nulls if isinstance(n, Estimate)]
    low = [n.value if n.low is None else n.low for _, n in known]
    high = [n.value if n.high is None else n.high for _, n in known]
    axes.fill_between([s for s, _ in known], low, high, color=_GREY, linewidth=2.5, zorder=1)
    found = [study.similarity(measure, algorithm, layer, step=s) for s in steps]
    if not any(isinstance(reading, Estimate) for reading in found):
        if any(reading is not None for reading in found):
            axes.annotate("undefined", (0.5, 0.5), xycoords="axes fraction", ha="center", color=colour)
        return
    points(axes, [Estimate(1.0), *found], 0, colour, at=[0, *steps], marker="none")
    points(axes, found, 0, colour, at=steps, line="none", marker=".")
    axes.plot([0], [1.0], "o", markersize=3.5, color=colour, markerfacecolor="white", zorder=4)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
