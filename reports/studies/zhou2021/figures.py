"""The figures of accuracies, usage and agreement; each is a drawing, or None where nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure

from reports.entries import Entry
from reports.evidence import Reading
from reports.figures import ALGORITHM_COLOURS, INK, Drawing, canvas, drawing, style
from reports.studies.marks import points
from reports.studies.zhou2021.learners import BASE, CONTINUED, LARGE, label_of
from reports.studies.zhou2021.study_table import ZhouTable

__all__ = ["LEARNER_MARKS", "accuracy", "agreement", "sweep", "usage", "usage_heatmap"]

LEARNER_MARKS: dict[str, tuple[str, str]] = {
    BASE: ("#56b4e9", "o"),
    CONTINUED: (ALGORITHM_COLOURS["maml"], "s"),
    "main": (ALGORITHM_COLOURS["tsa_maml"], "D"),
    LARGE: ("#767676", "^"),
}
"""Colour and marker of each learner."""

_VIEWS = {"assignment": "its own\nassignment", "all": "all\nparameters", "body": "body", "head": "head"}
_VIEWS |= {"features": "mean\nfeatures"}
_SCORES = {
    "adjusted_rand": ("adjusted Rand index", ALGORITHM_COLOURS["tsa_maml"], "D"),
    "normalised_mutual_information": ("normalised mutual information", ALGORITHM_COLOURS["maml"], "s"),
    "purity": ("purity", "#e69f00", "o"),
}
_LEVELS = 48  # of colour: matplotlib makes a picture of a colour bar of 50 or more


def accuracy(study: ZhouTable) -> Drawing | None:
    """Draw the accuracy of each learner by domain, and TSA-MAML's paired gains."""
    keys = [key for key in (BASE, CONTINUED, study.main, LARGE) if study.accuracy(key) is not None]
    if not keys:
        return None
    places = ("", *study.domains)
    with style():
        figure, (left, right) = canvas(2, 3.2)
        for shift, key in enumerate(keys):
            colour, marker = LEARNER_MARKS["main" if key == study.main else key]
            readings = [study.accuracy(key, place) for place in places]
            offset = 0.15 * (shift - (len(keys) - 1) / 2)
            points(left, readings, offset, colour, line="none", marker=marker, label=label_of(key))
        for shift, (over, mark) in enumerate(((CONTINUED, "s"), (BASE, "o"))):
            gains = [study.gain(study.main, over, place) for place in places]
            name = f"over {label_of(over)}"
            points(right, gains, 0.2 * (shift - 0.5), LEARNER_MARKS[over][0], line="none", marker=mark, label=name)
        right.axhline(0, color="#888888", linewidth=0.8, zorder=1)
        left.set_title("Test accuracy (%)")
        right.set_title("Gain of TSA-MAML (points, paired)")
        for panel in (left, right):
            panel.set_xticks(range(len(places)), [place or "all" for place in places], rotation=_turn(places))
            panel.set_xlim(-0.5, len(places) - 0.5)
            panel.axvline(0.5, color="#cccccc", linewidth=0.7)
            if panel.get_legend_handles_labels()[0]:
                panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=1 if panel is right else 2)
        return drawing(
            "accuracy",
            figure,
            "Accuracy by domain",
            "Left: test accuracy of every learner on all domains and on each. Right: the paired gain of TSA-MAML.",
        )


def usage(study: ZhouTable) -> Drawing | None:
    """Draw how often each initialisation is used on each domain, of the study's first training."""
    return usage_heatmap([*study.usage(study.seeds[0]), *study.usage(study.seeds[0], "usage_count")])


def usage_heatmap(entries: Sequence[Entry]) -> Drawing | None:
    """Draw how often the tasks of each domain start from each initialisation (Zhou et al. 2021, Figure 3).

    Args:
        entries: rows "usage_frequency" and, for the counts, "usage_count" of one checkpoint.
    """
    shares = {(row.cluster, row.group): row for row in entries if row.measure == "usage_frequency" and row.group}
    shares = {place: row for place, row in shares.items() if row.value is not None}
    counts = {(row.cluster, row.group): row.value for row in entries if row.measure == "usage_count"}
    if not shares:
        return None
    domains = tuple(dict.fromkeys(row.group for row in shares.values()))
    clusters = sorted({row.cluster for row in shares.values() if row.cluster is not None})
    values = np.array([[_value(shares.get((c, d))) for d in domains] for c in clusters])
    with style():
        figure, axes = _grid(len(clusters), len(domains))
        edges = np.arange(len(clusters) + 1) - 0.5, np.arange(len(domains) + 1) - 0.5
        image = axes.pcolormesh(*edges[::-1], values, cmap=_cell_map(), norm=Normalize(0.0, 1.0), edgecolors="white")
        axes.invert_yaxis()
        for i, cluster in enumerate(clusters):
            for j, domain in enumerate(domains):
                count = counts.get((cluster, domain))
                lines = f"{values[i, j]:.2f}" + ("" if count is None else f"\n{count:,.0f}")
                ink = _ink_on(image.to_rgba(values[i, j])[:3])  # pyright: ignore[reportIndexIssue, reportArgumentType]
                axes.text(j, i, lines, ha="center", va="center", color=ink, fontsize=9)
        sizes = {domain: next(r.n for r in shares.values() if r.group == domain) for domain in domains}
        axes.set_xticks(range(len(domains)), [f"{d}\n({sizes[d]:,} tasks)" if sizes[d] else d for d in domains])
        axes.set_yticks(range(len(clusters)), [f"initialisation {cluster}" for cluster in clusters])
        axes.set_xlabel("Domain of the task")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, ticks=[0, 0.25, 0.5, 0.75, 1], fraction=0.05, pad=0.03)
        bar.set_label("Share of the domain's tasks")
        bar.solids.set_edgecolor("face")  # pyright: ignore[reportOptionalMemberAccess]
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        return drawing(
            "usage-heatmap",
            figure,
            "Usage of the initialisations",
            "Rows: initialisations. Columns: domains. In each cell the share and the number of the domain's tasks that "
            "start from the initialisation; the colours run from 0 to 1.",
        )


def agreement(study: ZhouTable) -> Drawing | None:
    """Draw how clusters of tasks agree with the domains, by what a task is described by."""
    views = [v for v in _VIEWS if any(study.agreement(v, score) is not None for score in _SCORES)]
    if not views:
        return None
    with style():
        figure, (axes,) = canvas(1, 2.9)
        for shift, (score, (label, colour, marker)) in enumerate(_SCORES.items()):
            readings: list[Reading] = [study.agreement(view, score) for view in views]
            points(axes, readings, 0.14 * (shift - 1), colour, line="none", marker=marker, label=label)
        axes.set_xticks(range(len(views)), [_VIEWS[view] for view in views])
        axes.set_xlim(-0.5, len(views) - 0.5)
        axes.set_ylim(min(-0.03, axes.get_ylim()[0]), 1.04)
        axes.set_title("Agreement of clusters with domains (1: identical)")
        axes.set_xlabel("What tasks are clustered by")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=3)
        return drawing(
            "agreement",
            figure,
            "Agreement of clusters with domains",
            "Adjusted Rand index, normalised mutual information and purity of the clusters of each view of the tasks.",
        )


def sweep(study: ZhouTable) -> Drawing | None:
    """Draw accuracy on all domains together against the number of initialisations, and the paired gain over one."""
    keys = [key for key in study.sweep if study.accuracy(key) is not None]
    if len(keys) < 2:
        return None
    colour, marker = LEARNER_MARKS["main"]
    with style():
        figure, (left, right) = canvas(2, 2.7)
        points(left, [study.accuracy(key) for key in keys], 0, colour, marker=marker)
        points(right, [study.gain(key, CONTINUED) for key in keys], 0, colour, line="none", marker=marker)
        right.axhline(0, color="#888888", linewidth=0.8, zorder=1)
        left.set_title("Test accuracy, all domains (%)")
        right.set_title("Gain over m = 1 (points, paired)")
        for panel in (left, right):
            panel.set_xticks(range(len(keys)), [str(study.m_of(key)) for key in keys])
            panel.set_xlim(-0.4, len(keys) - 0.6)
            panel.set_xlabel("Number m of initialisations")
        return drawing(
            "sweep",
            figure,
            "Accuracy against the number of initialisations",
            "Left: test accuracy on all domains together. Right: its paired gain over one initialisation.",
        )


def _grid(rows: int, columns: int) -> tuple[Figure, Axes]:
    """Return axes whose cells are large enough for two lines of text."""
    width = min(7.4, max(4.2, 2.4 + 1.25 * columns))
    figure, (axes,) = canvas(1, max(2.2, 0.9 + 0.55 * rows), width=width)
    return figure, axes


def _cell_map() -> Colormap:
    """Return a map that readers without red or green see alike, from dark to light."""
    return colormaps["cividis"].resampled(_LEVELS)


def _value(row: Entry | None) -> float:
    return 0.0 if row is None or row.value is None else row.value


def _ink_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever has the greater contrast (WCAG) on a colour."""
    channels = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    light = float(np.dot(channels, (0.2126, 0.7152, 0.0722)))
    return INK if (light + 0.05) / 0.085 > 1.05 / (light + 0.05) else "#ffffff"


def _turn(places: Sequence[str]) -> float:
    """Return the angle of tick labels: slanted where they would meet."""
    return 0 if sum(map(len, places)) < 30 else 20
