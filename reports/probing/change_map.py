"""The map of change of weights against change of features: what moved, and what mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.blocks.axes import WORD, Told, read
from metaprobe.reports.blocks.canvas import Key, Sketch, tell
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.probing.questions import BOUNDARY, CORNERS, change, of_layer
from metaprobe.reports.wording import GROUP_MARKS, INK, label_of, layer_colour

_NIL = 1e-6  # up to where a change counts as none: rounding of float32
_Found = dict[str, tuple[Told, Told]]  # change of weights and of features, by layer


@dataclass(frozen=True)
class _Scale:
    """A logarithmic axis with a strip at its lower end for what is nil; `nil` is its upper edge, None for no strip."""

    low: float
    high: float
    nil: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        decade = 10.0 ** math.floor(math.log10(min([v for v in values if v > _NIL] + [BOUNDARY / 10])))
        nil = decade / 1.4 if min(values) <= _NIL else None
        return cls(decade / 8 if nil else decade, 1.6 * max(1.0, *values), nil)

    def place(self, value: float, share: float) -> float:
        """Return where a value is drawn: what is nil at a share of the strip, so that layers do not hide each other."""
        if value > _NIL or self.nil is None:
            return max(value, self.low)
        return self.low * (self.nil / self.low) ** (0.1 + 0.8 * share)


# fmt: off
def draw(evidence: Evidence, learners: Sequence[str], who: str) -> list[Sketch] | None:
    """Draw each layer's change of weights against its change of features: learners, and one over its training."""
    stages = set.intersection(*(set(evidence.distinct("iteration", measure, who, other_layer=""))
                                for measure in ("relative_distance", "debiased_cka")))
    over = sorted(stages) if len(stages) > 1 else ()
    groups = {"Learners, at the end of training": {label_of(one): _found(evidence, one) for one in learners},
              f"{label_of(who)} over training": {f"iteration {at:,}": _found(evidence, who, at) for at in over}}
    every = [both for group in groups.values() for found in group.values() for both in found.values()]
    if not every:
        return None
    scales = [_Scale.of([one.value for both in every if (one := both[side].estimate)]) for side in (0, 1)]
    nulls = (1 - of_layer("debiased_cka_null", k, one) for one in learners for k in evidence.layers)
    ends = [one.ends for one in (read(null, evidence).estimate for null in nulls) if one]
    null = (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
    return [_sketch(title, {name: found for name, found in group.items() if found}, evidence.layers, scales, null)
            for title, group in groups.items() if any(group.values())]

def _found(evidence: Evidence, who: str, at: int | str = "last") -> _Found:
    every = {k: change(k, who, at) for k in evidence.layers}
    found = {k: (read(one, evidence, "weights"), read(two, evidence, "features")) for k, (one, two) in every.items()}
    return {k: both for k, both in found.items() if both[0].estimate and both[1].estimate}

def _sketch(title: str, group: dict[str, _Found], layers: tuple[str, ...], scales: list[_Scale],
            null: tuple[float, float] | None) -> Sketch:
    marks = {name: GROUP_MARKS[at % len(GROUP_MARKS)][1] for at, name in enumerate(group)}
    places = [(name, layer, told) for name, found in group.items() for layer, told in found.items()]
    def paint(axes: Axes) -> None:
        _frame(axes, scales[0], scales[1], null)
        for at, (name, layer, told) in enumerate(places):
            colour, share = layer_colour(layer, layers), (at + 0.5) / len(places)
            weights, features = known = [one.estimate or Estimate(0.0) for one in told]
            x, y = (scale.place(one.value, share) for scale, one in zip(scales, known, strict=True))
            across, up = ([max(end, scale.low) for end in one.ends] if one.ends[1] > _NIL else [place, place]
                          for scale, one, place in zip(scales, known, (x, y), strict=True))
            axes.plot(across, [y, y], color=colour, linewidth=1.0)
            axes.plot([x, x], up, color=colour, linewidth=1.0)
            other = dict(features.per_seed)
            for seed, value in weights.per_seed if len(other) > 1 else ():
                if seed in other:
                    single = scales[0].place(value, share), scales[1].place(other[seed], share)
                    axes.plot(*single, marks[name], color=colour, markersize=2.5, alpha=0.35)
            (mark,) = axes.plot(x, y, marks[name], color=colour, markersize=5)
            tell(mark, f"{name}, {layer}: {'; '.join(one.words for one in told)}")
    keys = (*(Key(layer, layer_colour(layer, layers), "s") for layer in layers),
            *(Key(name, INK, mark) for name, mark in marks.items()))
    return Sketch(title, paint, keys, lambda width: 0.95 * width)

def _frame(axes: Axes, x: _Scale, y: _Scale, null: tuple[float, float] | None) -> None:
    axes.set(xscale="log", yscale="log", xlim=(x.low, x.high), ylim=(y.low, y.high),
             xlabel="Change of weights, relative to their norm", ylabel="Change of features, 1 − debiased CKA")
    axes.grid(visible=False)
    for axis, scale, strip, line in ((axes.xaxis, x, axes.axvspan, axes.axvline),
                                     (axes.yaxis, y, axes.axhspan, axes.axhline)):
        zero = scale.place(0.0, 0.5) if scale.nil else None
        first = math.ceil(math.log10(1.4 * scale.nil if scale.nil else scale.low) - 1e-9)
        powers = [10.0**k for k in range(first, math.floor(math.log10(scale.high)) + 1)]
        axis.set_major_locator(FixedLocator([zero, *powers] if zero else powers))
        axis.set_major_formatter(FuncFormatter(lambda value, _, zero=zero: "0" if value == zero else f"{value:g}"))
        axis.set_minor_locator(NullLocator())
        if scale.nil:
            strip(scale.low, scale.nil, color="#f0f0f0", linewidth=0, zorder=0)
        line(BOUNDARY, color="#999999", linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
    if null is not None:
        axes.axhspan(*null, color="#c4c4c4", linewidth=2, zorder=0)
        axes.annotate("unrelated images", (x.low, null[1]), (3, 3), textcoords="offset points", **WORD)
    for (moved, mattered), words in CORNERS.items():
        place, shift = (x.high if moved else x.low, BOUNDARY), (-3 if moved else 3, 3 if mattered else -3)
        side = {"ha": "right" if moved else "left", "va": "bottom" if mattered else "top", "style": "italic"}
        axes.annotate(words.replace(", ", ",\n"), place, shift, textcoords="offset points", **side, **WORD)
