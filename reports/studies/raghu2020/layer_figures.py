"""The study's figures by layer: similarity, its course over steps and over training, and weight distance."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex

from reports.figures import ALGORITHM_COLOURS, INK, LAYER_COLOURS, Drawing, canvas, drawing, label_ends, style
from reports.studies.marks import LEARNERS, key, points
from reports.studies.raghu2020.claims import SIMILARITY_THRESHOLD
from reports.studies.raghu2020.judgements import JUDGED
from reports.studies.raghu2020.study_table import BLOCKS, StudyTable
from reports.wording import ALGORITHM_NAMES, block_name

__all__ = ["over_training", "similarity", "weight_distance"]


def similarity(study: StudyTable) -> Drawing | None:
    """Draw CCA and CKA of each layer before against after adaptation, with their nulls."""
    measures = [m for m in JUDGED if study.layers(m)]
    if not measures:
        return None
    layers = study.layers(*measures)
    shown = [
        a for a in LEARNERS if any(study.similarity(m, a, layer) is not None for m in measures for layer in layers)
    ]
    with style():
        figure, axes = canvas(len(measures), 2.9, share_y=True)
        for panel, measure in zip(axes, measures, strict=True):
            for place, layer in enumerate(layers):  # the paper's ranges, for the layers that it names
                low, high = (0.0, 0.5) if layer == "head" else (SIMILARITY_THRESHOLD, 1.0)
                panel.fill_between([place - 0.4, place + 0.4], low, high, color="#e9e9e9", linewidth=0, zorder=0)
            for shift, algorithm in enumerate(shown):
                found = [study.similarity(measure, algorithm, layer) for layer in layers]
                null = [study.similarity(f"{measure}_null", algorithm, layer) for layer in layers]
                colour, offset = ALGORITHM_COLOURS[algorithm], 0.2 * (shift - (len(shown) - 1) / 2)
                points(panel, found, offset, colour, line="none")
                points(panel, null, offset, colour, line="none", marker="_")
            panel.set_xticks(range(len(layers)), layers)
            panel.set_ylim(-0.03, 1.03)
            panel.set_title("Mean CCA" if measure == "mean_cca" else "Debiased CKA")
        handles = [
            key(ALGORITHM_COLOURS[a], m, ALGORITHM_NAMES[a] + t) for a in shown for m, t in (("o", ""), ("_", ", null"))
        ]
        handles.append(key("#d4d4d4", "s", "paper"))
        columns = len(handles) if len(shown) < 3 else len(shown) + 1
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.2)
        return drawing(
            "similarity",
            figure,
            "Similarity before and after adaptation",
            "CCA and CKA between each layer's representation before and after adaptation. Grey: the paper's ranges.",
        )


def over_training(study: StudyTable) -> Drawing | None:
    """Draw the freezing costs and the CCA of each layer at each tested checkpoint of MAML's training."""
    stages = study.iterations("maml", "accuracy_difference", "mean_cca")
    if len(stages) < 2:
        return None
    shades = [to_hex(colormaps["Blues"](x)) for x in np.linspace(0.4, 1.0, len(stages))]
    blocks, layers = ("", *BLOCKS), study.layers("mean_cca")
    with style():
        figure, (left, right) = canvas(2, 3.0)
        for k, (stage, colour) in enumerate(zip(stages, shades, strict=True)):
            offset, name = 0.12 * (k - (len(stages) - 1) / 2), f"iteration {stage:,}"
            readings = [study.test("maml", b, iteration=stage) for b in blocks]
            points(left, readings, offset, colour, label=name)
            found = [study.similarity("mean_cca", "maml", layer, iteration=stage) for layer in layers]
            points(right, found, offset, colour, line="none", label=name)
        left.set_xticks(range(len(blocks)), [block_name(b).replace("nothing", "none") for b in blocks])
        left.set_xlabel("Layers frozen in the inner loop")
        left.set_title("Test accuracy (%)")
        right.set_xticks(range(len(layers)), layers)
        right.set_ylim(-0.03, 1.03)
        right.set_title("Mean CCA, before against after")
        handles = left.get_legend_handles_labels()
        figure.legend(
            *(handles if handles[0] else right.get_legend_handles_labels()), loc="outside lower center", ncols=4
        )
        return drawing(
            "over-training",
            figure,
            "Freezing and similarity over training",
            "MAML's test accuracy by frozen block and CCA by layer, at several iterations of its training.",
        )


def weight_distance(study: StudyTable) -> Drawing | None:
    """Draw how far MAML's weights move in the inner loop, by layer, over training."""
    kinds = [
        (measure, title)
        for measure, title in (
            ("euclidean_distance", "Euclidean distance"),
            ("relative_distance", "Relative to the layer's norm"),
        )
        if study.iterations("maml", measure, start=True)
    ]
    if not kinds:
        return None
    with style():
        figure, axes = canvas(len(kinds), 2.9)
        for panel, (measure, title) in zip(axes, kinds, strict=True):
            stages, ends = study.iterations("maml", measure, start=True), []
            for layer in study.layers(measure):
                found = [study.distance(measure, "maml", layer, stage) for stage in stages]
                end = points(panel, found, 0, LAYER_COLOURS.get(layer, INK), at=stages)
                if end is not None:
                    ends.append((*end, layer, INK))
            panel.set_xticks(stages, [f"{stage:,}" for stage in stages])
            panel.set_xlabel("Training iteration")
            panel.set_title(title)
            panel.set_ylim(bottom=0)
            label_ends(panel, ends)
        return drawing(
            "weight-distance",
            figure,
            "Weight distance before to after adaptation",
            "Distance of MAML's weights before to after the inner loop, mean over tasks, by layer and training "
            "iteration.",
        )
