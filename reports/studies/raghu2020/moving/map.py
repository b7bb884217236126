"""The map of parameter change against functional change: what moved, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from reports.evidence import Estimate
from reports.figures import GROUP_MARKS, INK, LAYER_COLOURS, Drawing, canvas, drawing, style
from reports.studies.marks import LEARNERS, key
from reports.studies.raghu2020.moving.changes import BOUNDARY, NIL, Change, changes, stages, unrelated
from reports.studies.raghu2020.study_table import StudyTable
from reports.wording import ALGORITHM_NAMES

__all__ = ["change_map"]

_MARKERS = tuple(marker for _, marker in GROUP_MARKS)


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis with a strip at its lower end for what is nil; `nil` is None where nothing is."""

    low: float
    high: float
    nil: float | None

    @classmethod
    def of(cls, estimates: Sequence[Estimate]) -> _Scale:
        values = [estimate.value for estimate in estimates]
        decade = 10.0 ** math.floor(math.log10(min([v for v in values if v > NIL] + [BOUNDARY / 10])))
        nil = decade / 2.5 if min(values) <= NIL else None
        return cls(decade if nil is None else decade / 4.5, 1.6 * max(1.0, *values), nil)

    def place(self, value: float) -> float:
        """Return where a value is drawn."""
        return self.nil if value <= NIL and self.nil is not None else max(value, self.low)

    def ticks(self) -> list[float]:
        """Return the powers of ten on the axis, after the place of what is nil."""
        first = math.ceil(math.log10(self.low if self.nil is None else 2.5 * self.nil) - 1e-9)
        powers = [10.0**k for k in range(first, math.floor(math.log10(self.high)) + 1)]
        return powers if self.nil is None else [self.nil, *powers]


def change_map(study: StudyTable) -> Drawing | None:
    """Draw each layer's change of weights against its change of features: learners, and MAML over its training."""
    now = {a: found for a in LEARNERS if (found := changes(study, a))}
    if not now:
        return None
    groups = {"Learners, at the end of training": {ALGORITHM_NAMES[a]: found for a, found in now.items()}}
    if len(stages(study)) > 1:
        groups["MAML over training"] = {
            f"iteration {stage:,}": changes(study, "maml", stage) for stage in stages(study)
        }
    every = [change for group in groups.values() for found in group.values() for change in found]
    x, y = _Scale.of([c.weights for c in every]), _Scale.of([c.features for c in every])
    with style():
        figure, axes = canvas(len(groups), 4.0, share_y=True)
        for panel, (title, group) in zip(axes, groups.items(), strict=True):
            _frame(panel, x, y, unrelated(study, tuple(now)))
            _layers(panel, x, y, group)
            panel.set_title(title)
            panel.set_xlabel("Change of weights, relative to their norm")
            handles = [key(INK, _MARKERS[i % len(_MARKERS)], name) for i, name in enumerate(group)]
            panel.legend(
                handles=handles,
                loc="upper center",
                bbox_to_anchor=(0.5, -0.17),
                ncols=2 if len(handles) == 4 else 3,
                handletextpad=0.1,
                columnspacing=0.8,
            )
        axes[0].set_ylabel("Change of features, 1 \N{MINUS SIGN} debiased CKA")
        layers = list(dict.fromkeys(change.layer for change in every))
        handles = [key(LAYER_COLOURS.get(layer, INK), "s", layer) for layer in layers]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(layers), handletextpad=0.1)
        return drawing(
            "change-map",
            figure,
            "Change of weights against change of features",
            "Each layer as a point: how far its weights moved in the inner loop, and how much its features changed.",
        )


def _layers(axes: Axes, x: _Scale, y: _Scale, group: Mapping[str, Sequence[Change]]) -> None:
    """Draw the layers of each learner or stage, with both intervals and faint points of single seeds."""
    for i, found in enumerate(group.values()):
        marker = _MARKERS[i % len(_MARKERS)]
        for change in found:
            colour = LAYER_COLOURS.get(change.layer, INK)
            seeds = dict(change.features.per_seed)
            pairs = [(w, seeds[seed]) for seed, w in change.weights.per_seed if seed in seeds]
            for weights, features in pairs if len(pairs) > 1 else ():
                axes.plot(x.place(weights), y.place(features), marker, color=colour, markersize=2.5, alpha=0.35)
            at = x.place(change.weights.value), y.place(change.features.value)
            bars = _bar(x, change.weights), _bar(y, change.features)
            axes.errorbar(*at, xerr=bars[0], yerr=bars[1], fmt=marker, color=colour, markersize=5, elinewidth=1.0)


def _bar(scale: _Scale, estimate: Estimate) -> list[list[float]]:
    """Return how far the interval reaches down and up from the point as drawn; none for what is nil throughout."""
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    at = scale.place(estimate.value)
    return [[at - scale.place(low)], [max(0.0, (at if high <= NIL else high) - at)]]


def _frame(axes: Axes, x: _Scale, y: _Scale, null: tuple[float, float] | None) -> None:
    """Set up the axes, the strips of what is nil, the boundaries with what they separate, and the null."""
    axes.set(xscale="log", yscale="log", xlim=(x.low, x.high), ylim=(y.low, y.high))
    axes.grid(visible=False)
    for axis, scale, strip in ((axes.xaxis, x, axes.axvspan), (axes.yaxis, y, axes.axhspan)):
        axis.set_major_locator(FixedLocator(scale.ticks()))
        axis.set_major_formatter(FuncFormatter(lambda v, _, nil=scale.nil: "0" if v == nil else f"{v:g}"))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        if scale.nil is not None:
            strip(scale.low, scale.nil * 1.8, color="#f0f0f0", linewidth=0, zorder=0)
    if null is not None:
        axes.axhspan(null[0], null[1], color="#c4c4c4", linewidth=2, zorder=0)
        axes.annotate(
            "unrelated images", (x.low, null[1]), (3, 3), textcoords="offset points", fontsize=7, color="#6b6b6b"
        )
    axes.axvline(BOUNDARY, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    axes.axhline(BOUNDARY, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    for text, right, above in (
        ("hardly moved,\nyet it mattered", False, True),
        ("moved, and\nit mattered", True, True),
        ("still", False, False),
        ("moved,\nwithout effect", True, False),
    ):
        axes.annotate(
            text,
            (x.high if right else x.low, BOUNDARY),
            (-3 if right else 3, 3 if above else -3),
            textcoords="offset points",
            ha="right" if right else "left",
            va="bottom" if above else "top",
            fontsize=7.5,
            style="italic",
            color="#6b6b6b",
        )
