"""The figure of times."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter

from reports.evidence import Estimate
from reports.figures import PAPER, Drawing, canvas, drawing, style
from reports.studies.marks import key
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.raghu2020.timing.claims import PAPER_SPEEDUPS, VIEWS
from reports.studies.raghu2020.timing.judgements import timed
from reports.wording import ALGORITHM_NAMES

__all__ = ["timing_figure"]

_MARKS = {"paper": ("#333333", "o", -0.12), "ordinary": ("#cc79a7", "s", 0.12)}
_LEARNERS = ("fomaml", "anil")
_TICKS = (0.5, 1, 2, 4, 8, 16, 32)


def timing_figure(study: StudyTable) -> Drawing | None:
    """Draw how many times faster than MAML the others train and adapt, with the paper's figures; None without any."""
    whats = ("training", "inference")
    if not any(
        isinstance(timed(study, f"{w}_speedup", n, v), Estimate) for w in whats for n in _LEARNERS for v in VIEWS
    ):
        return None
    with style():
        figure, panels = canvas(2, 2.3)
        for axes, what in zip(panels, whats, strict=True):
            _panel(axes, study, what)
        entries = [key(_MARKS[view][0], _MARKS[view][1], name) for view, name in VIEWS.items()]
        paper = key(PAPER, "D", "paper (mIN)")
        paper.set_markerfacecolor("white")
        for axes, some in zip(panels, (entries, [paper]), strict=True):
            axes.legend(handles=some, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        return drawing(
            "timing",
            figure,
            "Training and inference time against MAML's",
            "How many times faster than MAML first-order MAML and ANIL compute a meta-gradient (left) and adapt and "
            "classify (right), under two conditions, with the paper's figures on mini-ImageNet.",
        )


def _panel(axes: Axes, study: StudyTable, what: str) -> None:
    """Draw one kind of time: a row a learner, a mark a condition, on a logarithmic scale around 1."""
    axes.axvline(1, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    for place, name in enumerate(_LEARNERS):
        for view, (colour, marker, offset) in _MARKS.items():
            found = timed(study, f"{what}_speedup", name, view)
            if isinstance(found, Estimate):
                ends = [found.value if end is None else end for end in (found.low, found.high)]
                axes.plot(ends, [place + offset] * 2, color=colour, linewidth=1.1)
                axes.plot([found.value], [place + offset], marker, color=colour)
        printed = PAPER_SPEEDUPS[what].get(name, ())
        axes.plot(printed, [place + 0.32] * len(printed), "D", color=PAPER, markerfacecolor="white", markersize=4)
    axes.set_title(f"{what.capitalize()}: times faster than MAML")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 2.5))
    axes.set_xticks([tick for tick in _TICKS if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(_LEARNERS)), [ALGORITHM_NAMES[name] for name in _LEARNERS])
    axes.set_ylim(len(_LEARNERS) - 0.4, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
