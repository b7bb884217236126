"""The figure of regimes and heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from reports.evidence import Estimate, Reading
from reports.figures import PAPER, Drawing, canvas, drawing, style
from reports.studies.marks import key
from reports.studies.raghu2020.regimes.claims import HEAD_MARGIN, NAMES, PAPER_HEADS, REGIMES
from reports.studies.raghu2020.regimes.readings import difference_between_heads, maml_head, nil_head
from reports.studies.raghu2020.study_table import StudyTable
from reports.wording import capital

__all__ = ["regimes_figure"]

_MAML_HEAD, _NIL_HEAD = "#333333", "#cc79a7"  # apart in lightness too, for readers who see no colours


def regimes_figure(study: StudyTable) -> Drawing | None:
    """Draw accuracy with each head by regime, and the paired difference between the heads; None without any."""
    measured = {regime: (maml_head(study, regime), nil_head(study, regime)) for regime in REGIMES}
    if not any(isinstance(reading, Estimate) for pair in measured.values() for reading in pair):
        return None
    with style():
        figure, (left, right) = canvas(2, 3.1)
        _row_of(left, study, maml_head, -0.13, _MAML_HEAD, "o")
        _row_of(left, study, nil_head, 0.13, _NIL_HEAD, "D")
        left.set_title("Test accuracy (%)")
        low, high = left.get_xlim()
        left.set_xlim(min(low, 100 / study.n_way - 2), high)
        left.axvline(100 / study.n_way, color="#999999", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        left.annotate(
            "chance", (100 / study.n_way, -0.42), (3, 0), textcoords="offset points", color="#6b6b6b", fontsize=7.5
        )
        right.axvspan(-HEAD_MARGIN, HEAD_MARGIN, color="#eeeeee", linewidth=0, zorder=0)
        _row_of(right, study, difference_between_heads, 0, _MAML_HEAD, "o")
        right.plot(*_paper(), "D", color=PAPER, markerfacecolor="white", markersize=4, linestyle="none", zorder=5)
        right.set_title("MAML head \N{MINUS SIGN} NIL head (points)")
        for panel, entries in (
            (left, [key(_MAML_HEAD, "o", "MAML head"), key(_NIL_HEAD, "D", "NIL head")]),
            (right, [key(_MAML_HEAD, "o", "here"), _paper_key()]),
        ):
            panel.set_yticks(range(len(REGIMES)), [capital(NAMES[regime]) for regime in REGIMES])
            panel.set_ylim(len(REGIMES) - 0.5, -0.5)  # the first on top
            panel.grid(visible=False, axis="y")
            panel.grid(visible=True, axis="x")
            panel.legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)
        return drawing(
            "regimes",
            figure,
            "Training regimes and test heads",
            "Left: test accuracy with the MAML head and with the NIL head on the body of each training regime. Right: "
            "the paired difference between the heads, with the paper's on mini-ImageNet.",
        )


def _row_of(
    axes: Axes,
    study: StudyTable,
    read: Callable[[StudyTable, str], Reading],
    offset: float,
    colour: str,
    marker: str,
) -> None:
    """Draw one reading a regime with its interval, from left to right; those without a number are left out."""
    for place, regime in enumerate(REGIMES):
        found = read(study, regime)
        if isinstance(found, Estimate):
            low, high = (found.value if end is None else end for end in (found.low, found.high))
            axes.plot([low, high], [place + offset] * 2, color=colour, linewidth=1.1)
            axes.plot([found.value], [place + offset], marker, color=colour)


def _paper() -> tuple[Sequence[float], Sequence[float]]:
    gaps = [(pair[0][0] - pair[1][0], i) for i, r in enumerate(REGIMES) if (pair := PAPER_HEADS["5-way 1-shot"][r])[0]]
    return [gap for gap, _ in gaps], [place + 0.26 for _, place in gaps]


def _paper_key() -> Line2D:
    entry = key(PAPER, "D", "paper (mIN)")
    entry.set_markerfacecolor("white")
    return entry
