"""The figures of the section on pairs: maps of layers, similarities with their nulls, and lines of best fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from reports.evidence import Estimate
from reports.figures import INK, LAYER_COLOURS, PAPER, Drawing, canvas, drawing, style
from reports.heatmap import Map, draw_maps
from reports.studies.marks import key
from reports.studies.raghu2020.pairs.claims import (
    LEARNER_PAIRS,
    MEASURES_JUDGED,
    PAIRINGS,
    PAPER_LEARNERS,
    PAPER_REGIMES,
)
from reports.studies.raghu2020.pairs.readings import fit, layer_pairs, null, points, similar
from reports.studies.raghu2020.pairs.trainings import MAPS, Learners
from reports.studies.raghu2020.regimes.claims import NAMES
from reports.studies.raghu2020.study_table import StudyTable

__all__ = ["SHOWN", "lines_figure", "maps_figure", "named", "similar_figure"]

SHOWN: tuple[tuple[str, Learners], ...] = (
    *(("body", pair) for pair in LEARNER_PAIRS),
    *(("first three", (regime, "maml")) for regime in ("maml", "multiclass", "nil", "random", "multitask")),
)
"""What is compared, by part of the network, from the top of the figure down: claim R6, then R13."""

_COLOUR = "#333333"


def named(learners: Learners) -> str:
    """Return two learners as "ANIL–MAML"."""
    return "–".join(NAMES[name] for name in learners)


def maps_figure(study: StudyTable) -> Drawing | None:
    """Draw layers × layers of MAML–MAML and ANIL–MAML by each judged measure; None without any."""
    maps = []
    for measure, name in MEASURES_JUDGED.items():
        for learners in MAPS:
            if values := layer_pairs(study, measure, learners):
                maps.append(Map(f"{name}, {named(learners)}", NAMES[learners[0]], f"{NAMES[learners[1]]}", values))
    return draw_maps("pairs-maps", maps, "Layers of one network against layers of another") if maps else None


def similar_figure(study: StudyTable) -> Drawing | None:
    """Draw the mean similarity of each two learners with interval, null and the paper's figure; None without any."""
    found = {measure: [similar(study, measure, pair, part) for part, pair in SHOWN] for measure in MEASURES_JUDGED}
    if not any(isinstance(reading, Estimate) for readings in found.values() for reading in readings):
        return None
    with style():
        figure, axes = canvas(2, 3.3, share_y=True)
        places = [place + 0.6 * (part == "first three") for place, (part, _) in enumerate(SHOWN)]
        for column, (panel, (measure, name)) in enumerate(zip(axes, MEASURES_JUDGED.items(), strict=True)):
            for place, reading, (part, pair) in zip(places, found[measure], SHOWN, strict=True):
                printed = PAPER_LEARNERS.get(pair) if part == "body" else PAPER_REGIMES.get(pair[0])
                if printed is not None:
                    panel.plot(
                        [printed[column]], [place + 0.24], "D", color=PAPER, markerfacecolor="white", markersize=4
                    )
                chance = null(study, measure, pair, part)
                if isinstance(chance, Estimate):
                    panel.plot([chance.value], [place], "|", color="#8a8a8a", markersize=8, markeredgewidth=1.6)
                if isinstance(reading, Estimate):
                    ends = [reading.value if end is None else end for end in (reading.low, reading.high)]
                    panel.plot(ends, [place, place], color=_COLOUR, linewidth=1.4)
                    panel.plot([reading.value], [place], "o", color=_COLOUR)
            panel.set_title(f"{name}, before adaptation")
            panel.set_xlim(-0.03, 1.03)
            panel.grid(visible=False, axis="y")
            panel.grid(visible=True, axis="x")
        axes[0].set_yticks(places, [_row_name(part, pair) for part, pair in SHOWN])
        axes[0].set_ylim(places[-1] + 0.6, -0.6)  # the first on top
        entries = [key(_COLOUR, "o", "here"), key("#8a8a8a", "|", "images exchanged (null)"), _paper_key()]
        figure.legend(handles=entries, loc="outside lower center", ncols=3)
        return drawing(
            "pairs-similar",
            figure,
            "How alike two trainings are",
            "CCA and CKA of two trained networks before adaptation, averaged over layers, with 95 % intervals, nulls "
            "and the paper's figures.",
        )


def lines_figure(study: StudyTable) -> Drawing | None:
    """Draw for each pairing what one or both networks' adaptation leaves of their similarity; None without points."""
    shown = {(m, p): points(study, m, p) for m in MEASURES_JUDGED for p in PAIRINGS}
    if not any(shown.values()):
        return None
    with style():
        figure = Figure(figsize=(7.4, 5.2), layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05))
        axes = figure.subplots(len(MEASURES_JUDGED), len(PAIRINGS), squeeze=False)
        layers: dict[str, None] = {}
        for line, (measure, name) in zip(axes, MEASURES_JUDGED.items(), strict=True):
            for panel, (phase, words) in zip(line, PAIRINGS.items(), strict=True):
                found = [(layer, x.value or 0.0, y.value or 0.0) for layer, x, y in shown[measure, phase]]
                layers |= dict.fromkeys(layer for layer, _, _ in found)
                ends = {p: fit(study, measure, p, phase) for p in ("slope", "intercept")}
                _scatter(panel, found, {k: v.value for k, v in ends.items() if isinstance(v, Estimate)})
                panel.set_title(f"{name}: {words}")
            line[0].set_ylabel("Similarity, as in the title")
        for panel in axes[-1]:
            panel.set_xlabel("Similarity, both before")
        entries = [_layer_key(layer) for layer in layers]
        entries.append(Line2D([], [], color="#8a8a8a", linestyle=(0, (1, 2)), label="y = x"))
        entries.append(Line2D([], [], color=INK, linewidth=1.0, label="best line (body)"))
        figure.legend(handles=entries, loc="outside lower center", ncols=len(entries), handletextpad=0.3)
        return drawing(
            "pairs-lines",
            figure,
            "Similarity of two trainings before and after adaptation",
            "Similarity of two MAML networks with both before adaptation, against that with one or both after it; a "
            "point for each layer and pair of seeds, the line of best fit through the body's, and y = x.",
        )


def _scatter(panel: Axes, found: Sequence[tuple[str, float, float]], best: Mapping[str, float]) -> None:
    values = [value for _, x, y in found for value in (x, y)] or [0.0, 1.0]
    margin = 0.06 * (max(values) - min(values)) or 0.05
    low, high = min(values) - margin, max(values) + margin
    panel.plot([low, high], [low, high], color="#8a8a8a", linewidth=1.1, linestyle=(0, (1, 2)), zorder=1)
    body = [x for layer, x, _ in found if layer != "head"]
    if body and len(best) == 2:
        ends = [min(body), max(body)]
        panel.plot(ends, [best["slope"] * x + best["intercept"] for x in ends], color=INK, linewidth=1.0, zorder=2)
    for layer, x, y in found:
        face = "none" if layer == "head" else LAYER_COLOURS.get(layer, INK)
        panel.plot([x], [y], "o", color=LAYER_COLOURS.get(layer, INK), markerfacecolor=face, markersize=4.5, zorder=3)
    panel.set_xlim(low, high)
    panel.set_ylim(low, high)
    panel.grid(visible=True, axis="both")


def _layer_key(layer: str) -> Line2D:
    entry = key(LAYER_COLOURS.get(layer, INK), "o", layer if layer != "head" else "head (not in the line)")
    if layer == "head":
        entry.set_markerfacecolor("none")
    return entry


def _paper_key() -> Line2D:
    entry = key(PAPER, "D", "paper (mIN)")
    entry.set_markerfacecolor("white")
    return entry


def _row_name(part: str, pair: Learners) -> str:
    return f"{named(pair)}, {'body' if part == 'body' else 'conv1–3'}"
