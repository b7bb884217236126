"""The study's figures over the number of inner steps: loss and accuracy, and the terms of the bound."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from reports.evidence import Estimate, pool
from reports.figures import Drawing, canvas, drawing, style
from reports.studies.marks import points
from reports.studies.zhou2021.figures import LEARNER_MARKS
from reports.studies.zhou2021.learners import BASE, label_of
from reports.studies.zhou2021.study_table import ZhouTable

__all__ = ["bound", "step_curves"]

_PANELS = (
    ("support_loss", "Support: loss"),
    ("support_accuracy", "Support: accuracy (%)"),
    ("query_loss", "Query: loss"),
    ("query_accuracy", "Query: accuracy (%)"),
)


def step_curves(study: ZhouTable) -> Drawing | None:
    """Draw loss and accuracy on support and query after every inner step, MAML against TSA-MAML."""
    keys = [key for key in dict.fromkeys((BASE, study.plain, study.main)) if study.steps("query_loss", key)]
    if not keys:
        return None
    with style():
        figure, _ = canvas(1, 5.4)
        figure.clear()
        panels = figure.subplots(2, 2).ravel().tolist()
        for panel, (measure, title) in zip(panels, _PANELS, strict=True):
            for key in keys:
                _curve(panel, study, measure, key, band=key != BASE or len(keys) < 3)
            panel.axvline(study.trained_steps, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
            panel.set_title(title)
            panel.set_xlabel("Inner steps at test")
            panel.set_xlim(0, max(study.steps(measure, keys[0]), default=1))
            panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
            if measure.endswith("loss"):
                panel.set_ylim(bottom=0)
            else:
                panel.set_ylim(top=101)
        top = panels[0].get_ylim()[1]
        panels[0].annotate(
            "trained for",
            (study.trained_steps, top),
            (3, -2),
            textcoords="offset points",
            va="top",
            color="#6b6b6b",
            fontsize=7.5,
        )
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return drawing(
            "step-curves",
            figure,
            "Loss and accuracy over the inner steps",
            "Four panels, support and query, loss and accuracy, against the number of inner steps at test: mean with "
            "its 95 % interval, and the band from the lower to the upper quartile of tasks.",
        )


def bound(study: ZhouTable) -> Drawing | None:
    """Draw the estimated distances to task optima, and the bound's terms over the inner steps on a log scale."""
    keys = [key for key in (study.plain, study.main) if study.rows("estimated_squared_distance", key)]
    if not keys:
        return None
    measures = {
        "estimated_squared_distance": "own\noptimum",
        "estimated_squared_distance_to_common_optimum": "common\noptimum",
    }
    with style():
        figure, (left, right) = canvas(2, 3.0)
        for shift, key in enumerate(keys):
            colour, marker = LEARNER_MARKS["main" if key == study.main else key]
            readings = [pool(study.rows(measure, key)) for measure in measures]
            points(left, readings, 0.16 * (shift - 0.5), colour, line="none", marker=marker, label=label_of(key))
            steps = [q for q in study.steps("estimated_first_term", key) if q]
            terms = [(q, study.at_step("estimated_first_term", key, q)) for q in steps]
            known = [(q, one.value) for q, one in terms if isinstance(one, Estimate) and one.value > 0]
            if known:
                right.plot(*zip(*known, strict=True), color=colour)
            second = pool(study.rows("estimated_second_term", key))
            if isinstance(second, Estimate) and known:
                right.plot(
                    [known[0][0], known[-1][0]], [second.value] * 2, color=colour, linestyle=(0, (3, 2)), linewidth=1.2
                )
        left.set_xticks(range(len(measures)), list(measures.values()))
        left.set_xlim(-0.5, len(measures) - 0.5)
        left.set_ylim(bottom=0)
        left.set_title("Squared distance to the optimum (estimate)")
        right.set_title("Terms of the bound (estimates)")
        right.set_xlabel("Inner steps q")
        right.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10], integer=True))
        if right.lines:
            right.set_yscale("log")
            right.yaxis.set_major_formatter(FuncFormatter(_power))
            right.yaxis.set_minor_locator(NullLocator())
            lines = [
                Line2D([], [], color="#555555", linestyle="-", label="first term"),
                Line2D([], [], color="#555555", linestyle=(0, (3, 2)), label="second term"),
            ]
            right.legend(handles=lines, loc="upper left")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        return drawing(
            "bound",
            figure,
            "Estimated terms of the bound",
            "Left: estimated mean squared distance from the initialisation to the task's optimum. Right: estimated "
            "terms of the bound on the excess risk against the number of inner steps, on a log scale.",
        )


def _curve(axes: Axes, study: ZhouTable, measure: str, key: str, *, band: bool) -> None:
    steps = study.steps(measure, key)
    means = [study.at_step(measure, key, step) for step in steps]
    known = [(step, mean) for step, mean in zip(steps, means, strict=True) if isinstance(mean, Estimate)]
    if not known:
        return
    colour, marker = LEARNER_MARKS["main" if key == study.main else key]
    x = [step for step, _ in known]
    axes.plot(
        x, [m.value for _, m in known], color=colour, marker=marker, markersize=3, markevery=5, label=label_of(key)
    )
    if all(m.low is not None and m.high is not None for _, m in known):
        axes.fill_between(x, [m.low or 0 for _, m in known], [m.high or 0 for _, m in known], color=colour, alpha=0.3)
    ends = [[study.at_step(f"{measure}_{end}_quartile", key, step) for step in x] for end in ("lower", "upper")]
    if band and all(isinstance(one, Estimate) for part in ends for one in part):
        low, high = ([one.value for one in part if isinstance(one, Estimate)] for part in ends)
        axes.fill_between(x, low, high, color=colour, alpha=0.1, linewidth=0)


def _power(value: float, _: object) -> str:
    """Write a power of ten, without the mathematics that figures do not parse."""
    exponent = str(round(math.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
