"""Questions to a study's table about pairs of trainings, and the rows that answer them."""

from __future__ import annotations

from collections.abc import Iterator

from reports.entries import Entry
from reports.evidence import Reading, pool
from reports.studies.raghu2020.pairs.trainings import Learners
from reports.studies.raghu2020.study_table import StudyTable

__all__ = ["fit", "gap", "layer_pairs", "null", "pair_entries", "points", "similar", "trainings"]


def pair_entries(study: StudyTable) -> Iterator[Entry]:
    """Yield the rows that compare two trainings, in the order of the table."""
    return (entry for entry in study.entries if entry.other_layer)


def similar(study: StudyTable, measure: str, learners: Learners, part: str) -> Reading:
    """Return the mean similarity before adaptation over pairs of seeds and layers ("body" or "first three")."""
    return _one(study, measure, learners, part)


def null(study: StudyTable, measure: str, learners: Learners, part: str) -> Reading:
    """Return what `similar` would be if no image of one network belonged to the image of the other beside it."""
    return _one(study, f"{measure}_null", learners, part)


def gap(study: StudyTable, measure: str, learners: Learners, less: Learners, part: str) -> Reading:
    """Return how much more similar learners are than others, on the same pairs of seeds and the same draws of tasks."""
    return _one(study, f"{measure}_minus_{less[0]}_{less[1]}", learners, part)


def fit(study: StudyTable, measure: str, kind: str, phase: str) -> Reading:
    """Return of the line of best fit, over MAML's pairs of seeds and its body, slope, intercept, r2 or r2_to_identity.

    Args:
        study: the questions to its table.
        measure: of similarity.
        kind: which of them.
        phase: "pre-post", "post-pre" or "post-post", what stands against "pre-pre".
    """
    return _one(study, f"{measure}_{kind}", ("maml", "maml"), "body", phase)


def trainings(study: StudyTable, learners: Learners) -> tuple[tuple[int, int], ...]:
    """Return the seeds of the pairs that were compared of two learners."""
    rows = (r for r in pair_entries(study) if (r.algorithm, r.other_algorithm) == learners)
    return tuple(dict.fromkeys((r.seed, r.other_seed) for r in rows if r.seed is not None and r.other_seed is not None))


def points(study: StudyTable, measure: str, phase: str) -> list[tuple[str, Entry, Entry]]:
    """Return (layer, both before adaptation, in `phase`) of each pair of MAML's seeds and layer with both numbers."""
    maml = ("maml", "maml")
    found: dict[tuple[str, int, int | None], dict[str, Entry]] = {}
    for row in pair_entries(study):
        same = row.measure == measure and (row.algorithm, row.other_algorithm) == maml and row.layer == row.other_layer
        if same and row.seed is not None and row.value is not None:
            found.setdefault((row.layer, row.seed, row.other_seed), {})[row.phase] = row
    return [(key[0], rows["pre-pre"], rows[phase]) for key, rows in found.items() if {"pre-pre", phase} <= rows.keys()]


def layer_pairs(study: StudyTable, measure: str, learners: Learners) -> dict[tuple[str, str], float | None]:
    """Return the mean over pairs of seeds before adaptation by (layer, other layer), None where it is undefined."""
    return {
        (row.layer, row.other_layer): row.value
        for row in pair_entries(study)
        if row.measure == measure and (row.algorithm, row.other_algorithm) == learners and row.seed is None
        if row.phase == "pre-pre" and row.layer not in ("body", "first three")
    }


def _one(study: StudyTable, measure: str, learners: Learners, part: str, phase: str = "pre-pre") -> Reading:
    return pool(
        [
            row
            for row in pair_entries(study)
            if (row.measure, row.algorithm, row.other_algorithm) == (measure, *learners)
            and (row.layer, row.phase, row.seed) == (part, phase, None)
        ]
    )
