"""The study's tables by layer: similarities, their course over training, and weight distances."""

from __future__ import annotations

from collections.abc import Sequence

from reports.evidence import Estimate, Reading
from reports.page import Cell, PageTable, Rows
from reports.studies.cells import DASH, cell
from reports.studies.raghu2020.study_table import BODY, FULL, StudyTable
from reports.wording import ALGORITHM_NAMES, number, reading

__all__ = ["MEASURE_NAMES", "distances", "null_samples", "over_training", "similarities"]

MEASURE_NAMES: dict[str, str] = {
    "mean_cca": "Mean CCA",
    "svcca": "SVCCA",
    "pwcca": "PWCCA",
    "linear_cka": "CKA",
    "debiased_cka": "Debiased CKA",
    "procrustes": "Procrustes",
}
_LEARNERS = ("maml", "fomaml", "anil")


def similarities(study: StudyTable, measures: Sequence[str], marks: dict[str, str], behind: Rows) -> PageTable | None:
    """Return every similarity of every layer, with its interval and its null."""
    rows = []
    for algorithm in _LEARNERS:
        for layer in study.layers(*measures):
            found = [study.similarity(m, algorithm, layer) for m in measures]
            if all(r is None for r in found):
                continue
            nulls = [study.similarity(f"{m}_null", algorithm, layer) for m in measures]
            cells = [_similarity_cell(r, null) for r, null in zip(found, nulls, strict=True)]
            counts = [r.n for r in found if isinstance(r, Estimate) and r.n]
            lines = (f"n = {max(counts):,}",) if counts else ()
            forced = study.similarity("forced_correlations", algorithm, layer)
            if isinstance(forced, Estimate):
                lines += (f"{number(forced.value, 0)} forced",)
            rows.append((Cell(f"{ALGORITHM_NAMES[algorithm]} {layer}", lines), *cells))
    if not rows:
        return None
    caption = (
        "Similarity of each layer's representation before against after adaptation, with its 95 % "
        "interval, and under it the null: the same measure with whole images of one side exchanged. Convolutions by "
        "position (n positions, channels as features) where captured so. Forced: canonical correlations that are 1 "
        f"for want of samples, whatever the data are. {null_samples(study, measures)}"
        f"{'PWCCA weighs by the features before adaptation. ' if 'pwcca' in measures else ''}{DASH} not measured."
    )
    header = ("Layer", *(f"{MEASURE_NAMES[m]} {marks[m]}" for m in measures))
    return PageTable("similarities", caption, header, tuple(rows), behind)


def over_training(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return what freezing and similarity show at each tested checkpoint of MAML."""
    stages = study.iterations("maml", "accuracy_difference", "mean_cca", "debiased_cka")
    if not stages:
        return None
    rows = []
    for stage in stages:
        found = [
            (study.test("maml", iteration=stage), 1, False),
            (study.test("maml", FULL, iteration=stage), 1, False),
            (study.test("maml", FULL, iteration=stage, measure="accuracy_difference"), 1, True),
            (_lowest(study, "mean_cca", stage), 3, False),
            (study.similarity("mean_cca", "maml", "head", iteration=stage), 3, False),
            (_lowest(study, "debiased_cka", stage), 3, False),
            (study.similarity("debiased_cka", "maml", "head", iteration=stage), 3, False),
        ]
        share = f"{round(100 * stage / stages[-1])} %"
        rows.append((Cell(f"{stage:,}", (share,)), *(cell(r, d, signed=s) for r, d, s in found)))
    header = (
        "Iteration",
        "Nothing frozen",
        "Conv1–4 frozen",
        "Change (points)",
        "CCA, lowest conv",
        "CCA, head",
        "CKA, lowest conv",
        "CKA, head",
    )
    caption = (
        f"MAML at each tested checkpoint: accuracy in percent at {study.trained_steps} inner steps, and similarity "
        "before against after adaptation (mean CCA, debiased CKA), with 95 % intervals."
    )
    return PageTable("over-training-table", caption, header, tuple(rows), behind)


def distances(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return each layer's weight distance at every tested checkpoint, and relative to the layer's norm."""
    rows = []
    stages = sorted({i for a in _LEARNERS for i in study.iterations(a, "euclidean_distance", start=True)})
    for algorithm in _LEARNERS:
        for layer in study.layers("euclidean_distance", "relative_distance"):
            found = [study.distance("euclidean_distance", algorithm, layer, stage) for stage in stages]
            relative = study.distance("relative_distance", algorithm, layer)
            if relative is None and all(r is None for r in found):
                continue
            name = Cell(f"{ALGORITHM_NAMES[algorithm]} {layer}")
            rows.append((name, *(cell(r, 3) for r in found), cell(relative, 3)))
    if not rows:
        return None
    header = ("Layer", *(f"Iteration {stage:,}" for stage in stages), "Relative, at the end")
    caption = (
        "Euclidean distance of each layer's weights before to after adaptation, mean over test tasks with its 95 % "
        "interval, at each tested iteration of training; last column: divided by the norm of the layer's weights "
        "before."
    )
    return PageTable("distances", caption, header, tuple(rows), behind)


def null_samples(study: StudyTable, measures: Sequence[str]) -> str:
    """Say on how many samples the nulls stand; "" where their rows do not say."""
    nulls = [study.similarity(f"{m}_null", a, layer) for m in measures for a in _LEARNERS for layer in study.layers(m)]
    counts = {null.n for null in nulls if isinstance(null, Estimate) and null.n}
    if not counts:
        return ""
    span = f"{min(counts):,}" + (f" to {max(counts):,}" if len(counts) > 1 else "")
    return f"Nulls: n = {span} samples. "


def _similarity_cell(found: Reading, null: Reading) -> Cell:
    made = cell(found, 3)
    if isinstance(found, Estimate) and null is not None:
        made = Cell(made.text, (*made.lines, f"null {reading(null, 2)}"), number=True)
    return made


def _lowest(study: StudyTable, measure: str, stage: int) -> Reading:
    found = [study.similarity(measure, "maml", layer, iteration=stage) for layer in BODY]
    known = [r for r in found if isinstance(r, Estimate)]
    return min(known, key=lambda r: r.value) if known else next((r for r in found if r is not None), None)
