"""The sections of the raghu2020 page: what each shows, how to read it, and what stands in for what is missing."""

from __future__ import annotations

import pandas as pd

from reports.entries import Entry
from reports.page import Block, Missing, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.raghu2020 import figures, layer_figures, layer_tables, tables
from reports.studies.raghu2020.derived import BETWEEN, FIXED
from reports.studies.raghu2020.study_table import StudyTable

__all__ = ["freezing", "learning", "similarity", "training", "weights"]

FORCED = "forced_correlations"
_DISTANCES = ("euclidean_distance", "relative_distance")
_TESTS = ("accuracy", "accuracy_difference")
_GAPS = (BETWEEN, BETWEEN + FIXED)
_CURVES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")


def learning(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on the learning curves and accuracies of MAML and ANIL."""
    several = len(study.seeds()) > 1
    band = "Thin lines: seeds; thick: their mean." if several else "Bands: 95 % intervals over validation tasks."
    return Section(
        "learning",
        "Learning: MAML and ANIL",
        ("Does the inner loop of the body matter in training? ANIL does without it (claims R4 and R5).",),
        (
            (
                "MAML",
                "trains an initialisation from which a few gradient steps on a task's support images solve the task",
            ),
            ("ANIL", "the same, but those inner steps change the last layer (the head) alone, never the body"),
        ),
        (
            figure_or_missing(
                "learning-curves",
                "Accuracy and loss over training. Validation in full; training, averaged since the validation before, "
                f"faint. {band}",
                figures.learning_curves(study),
                rows_behind("learning-curves", study.shown(), frame, _CURVES),
                "Learning curves",
                "The table holds no training or validation rows.",
            ),
            tables.accuracy_table(study, rows_behind("accuracy", _shown(study), frame, ("accuracy", *_GAPS), frozen=""))
            or Missing("Accuracy of MAML and ANIL", "The table holds no test accuracies of either.", "accuracy"),
        ),
    )


def freezing(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on what freezing costs, by block and by number of steps."""
    behind = rows_behind("freezing", _shown(study), frame, (*_TESTS, f"accuracy_difference{FIXED}", *_GAPS))
    blocks: list[Block | None] = [
        figure_or_missing(
            "freezing-figure",
            f"Left: test accuracy with growing blocks frozen, at {study.trained_steps} inner steps. Right: the "
            "paired change against nothing frozen; the grey band is what the paper counts as no effect, the "
            "diamonds its figures on mini-ImageNet (mIN) 5-way 1-shot. Bars: 95 % intervals.",
            figures.freezing(study),
            behind,
            "Freezing",
            "The table holds no test accuracies with frozen layers.",
        ),
        tables.freezing(study, behind),
        tables.by_seed(study, behind),
        figure_or_missing(
            "head-steps",
            "Accuracy against the number of inner steps at test, with nothing and with the whole body frozen. A "
            "cost of freezing that goes away with more steps was the head's, which had too few of them.",
            figures.head_steps(study),
            behind,
            "Number of inner steps at test",
            "The table holds one number of steps only, so that what freezing costs the body and what too few steps "
            "cost the head cannot be told apart.",
        ),
        tables.other_steps(study, behind),
    ]
    return Section(
        "freezing-section",
        "Freezing layers in the inner loop",
        (
            "If a layer's features are reused, keeping the layer as training left it costs nothing (claim R1). Two "
            "things can mislead: an untrained network, too, may lose nothing, which is why it has a row of its "
            "own; and the head may need more steps once it has to do the work alone, which is why several numbers "
            "of steps are shown.",
        ),
        (
            ("freezing", "the layer takes no inner step at test time; training is not changed"),
            ("untrained network", "the same network as initialised: what freezing costs when nothing was learned"),
            (
                "NIL head",
                "in place of the head: queries take the labels of the support images, weighted by the cosine "
                "similarity of their features",
            ),
        ),
        tuple(block for block in blocks if block is not None),
    )


def similarity(study: StudyTable, frame: pd.DataFrame, measures: list[str], marks: dict[str, str]) -> Section:
    """Return the section on each layer's similarity before against after adaptation."""
    behind = rows_behind(
        "similarity", study.entries, frame, (*measures, *(f"{m}_null" for m in measures), FORCED), other_layer=""
    )
    cca, cka = marks.get("mean_cca", ""), marks.get("debiased_cka", "")
    table = layer_tables.similarities(study, measures, marks, behind)
    figure = layer_figures.similarity(study)
    blocks: list[Block] = [
        figure_or_missing(
            "similarity-figure",
            f"Mean CCA {cca} and debiased CKA {cka} of each layer before against after adaptation. Bars: 95 % "
            "intervals; dashes: the null. Grey: where the paper's figures lie (convolutions "
            f"above 0.9, head below 0.5; mini-ImageNet). {layer_tables.null_samples(study, measures)}".strip(),
            figure,
            behind,
            "Similarity before and after adaptation",
            "The table holds no CCA or debiased CKA.",
        )
    ]
    return Section(
        "similarity-section",
        "Representations before and after adaptation",
        (
            "The same query images go through the network before and after adaptation (claim R2). A value counts "
            "against its null alone: with few samples, unrelated representations look similar too.",
        ),
        (
            (
                "CCA",
                "finds the directions in which two sets of features vary together; its mean is 1 when one is a "
                "linear map of the other",
            ),
            (
                "CKA",
                "compares which samples are alike in the one and in the other; debiased: free of the excess that "
                "few samples bring",
            ),
            (
                "null",
                "the measure when each image of one side stands beside another image of the other (whole images "
                "exchanged, positions kept): what chance alone gives",
            ),
        ),
        (*blocks, *([table] if table is not None else [])),
    )


def training(study: StudyTable, frame: pd.DataFrame, marks: dict[str, str]) -> Section:
    """Return the section on both over training."""
    behind = rows_behind(
        "over-training", study.entries, frame, (*_TESTS, "mean_cca", "debiased_cka"), algorithm="maml", other_layer=""
    )
    few = "Fewer than two checkpoints of MAML's training were tested."
    table = layer_tables.over_training(study, behind)
    return Section(
        "training",
        "Over training",
        ("Is it so from early in training on, or only at its end (claim R3)?",),
        (),
        (
            figure_or_missing(
                "over-training",
                "MAML at several iterations of its training. Left: test accuracy by frozen block, at "
                f"{study.trained_steps} inner steps. Right: mean CCA {marks.get('mean_cca', '')} by layer before "
                "against after adaptation. Bars: 95 % intervals.",
                layer_figures.over_training(study),
                behind,
                "Freezing and similarity over training",
                few,
            ),
            *([table] if table is not None else []),
        ),
    )


def weights(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on how far the weights move."""
    behind = rows_behind("weight-distance", study.entries, frame, _DISTANCES)
    table = layer_tables.distances(study, behind)
    return Section(
        "weights",
        "How far the weights move",
        (
            "The distance of each layer's weights before to after the inner loop (claim R9). Layers differ in size "
            "and scale, so the distance is also given relative to the layer's own norm; what a move does to the "
            "features, only the sections above can tell.",
        ),
        (
            (
                "Euclidean distance",
                "root of the summed squared differences over all weights of a layer, mean over tasks",
            ),
        ),
        (
            figure_or_missing(
                "weight-distance",
                "Distance of MAML's weights before to after adaptation, over training: Euclidean, and relative to "
                "the norm of the layer's weights. Bars: 95 % intervals.",
                layer_figures.weight_distance(study),
                behind,
                "Weight distance",
                "The table holds no weight distances of MAML.",
            ),
            *([table] if table is not None else []),
        ),
    )


def _shown(study: StudyTable) -> list[Entry]:
    """Return the rows of these sections; differences between learners with the NIL head are of the regimes."""
    return [row for row in study.shown() if row.measure not in _GAPS or row.head != "nil"]
