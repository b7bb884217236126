"""The section of the page on what moves in the inner loop, and whether it matters."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from reports.entries import Entry
from reports.evidence import Estimate
from reports.page import Cell, PageTable, Rows, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.cells import cell
from reports.studies.marks import LEARNERS
from reports.studies.raghu2020.moving.changes import (
    BOUNDARY,
    DISTANCE,
    MEASURES,
    changes,
    in_words,
    shown_steps,
    stages,
)
from reports.studies.raghu2020.moving.figures import similarity_by_step
from reports.studies.raghu2020.moving.map import change_map
from reports.studies.raghu2020.study_table import StudyTable
from reports.wording import ALGORITHM_NAMES

__all__ = ["moving_section"]

_TEXT = (
    "Two questions that one number cannot answer. When in the inner loop does a layer change? Every step is compared "
    "with the same start. And does it matter that weights move? A layer's weights can move far along directions to "
    "which its output is blind, and a short move can turn the output round: the map sets one against the other.",
    "What the map cannot tell: a layer's features change also because the layers before it changed, so that height "
    "is not the work of its own weights alone. The distance is relative to the norm of the layer's weights, which "
    "differs between layers and grows in training; under a convolution that batch normalisation follows, the scale of "
    "the weights has no effect, so that part of its distance may be a change of scale that does nothing. And CKA is "
    "blind to rotations and to one common scale of the features, to which the next layer is not. The boundaries at "
    f"{BOUNDARY} are a convention, not a finding; where a layer lies relative to the others is what counts.",
)

_GLOSSARY = (
    ("step 0", "the network before adaptation, to which every later step is compared"),
    (
        "null",
        "the same measure with each image of one side beside another image of the other: as alike as chance makes them",
    ),
    (
        "change of weights",
        "norm of the difference between a layer's weights after and before the inner loop, over their norm before, "
        "mean over tasks",
    ),
    ("change of features", "1 \N{MINUS SIGN} debiased CKA of what the layer computes before against after"),
)


def moving_section(study: StudyTable, frame: pd.DataFrame, marks: Mapping[str, str]) -> Section:
    """Return the section on similarity after every inner step, and on change of weights against change of features.

    Args:
        study: the questions to its table.
        frame: that table.
        marks: for each measure, the numbers of its works in the references.
    """
    names = [
        f"{name} {marks.get(m, '')}".strip() for m, name in zip(MEASURES, ("debiased CKA", "mean CCA"), strict=True)
    ]
    compared = [row for measure, learner in shown_steps(study) for row in _with_null(study, measure, learner)]
    behind = _behind_map(study, frame)
    table = _table(study, behind)
    blocks = (
        figure_or_missing(
            "similarity-by-step",
            f"Similarity of each layer after every inner step to what it computed at step 0: {' and '.join(names)}. "
            "Circles at step 0: 1 by definition. Bars: 95 % intervals; grey: the null, with the range that "
            "holds 95 % of the shuffles where it was drawn.",
            similarity_by_step(study),
            rows_behind("similarity-by-step", _sorted(compared), frame, {row.measure for row in compared}),
            "Similarity by step",
            "The table holds similarities of one step only.",
        ),
        figure_or_missing(
            "change-map",
            f"Change of weights against change of features ({names[0]}) of each layer, after the last inner step; "
            "logarithmic axes. Bars: 95 % intervals; small faint points: single seeds. In the strips at 0: no change "
            "beyond the rounding of float32. Grey above: the null (images exchanged), the most that two can "
            "differ by this measure. A bar that reaches down to the edge does not exclude no change. "
            "Layers at 0 lie on one another.",
            change_map(study),
            behind,
            "Map of changes",
            "The table holds no layer with both a relative weight distance and a debiased CKA.",
        ),
        *([table] if table is not None else []),
    )
    return Section("moving", "What moves, and whether it matters", _TEXT, _GLOSSARY, blocks)


def _with_null(study: StudyTable, measure: str, learner: str) -> list[Entry]:
    return study.rows(measure, learner) + study.rows(f"{measure}_null", learner)


def _behind_map(study: StudyTable, frame: pd.DataFrame) -> Rows:
    """Return the rows of both changes: of each learner at the end of its training, of MAML at every stage."""
    measures = (DISTANCE, MEASURES[0], f"{MEASURES[0]}_null")
    rows = {row.place: row for learner in LEARNERS for m in measures for row in study.rows(m, learner)}
    rows |= {row.place: row for stage in stages(study) for m in measures for row in study.rows(m, "maml", stage)}
    last: dict[tuple[str, int | None, int | None], int] = {}
    for row in rows.values():
        run = (row.algorithm, row.seed, row.iteration)
        last[run] = max(last.get(run, 0), row.step or 0)
    wanted = [r for r in rows.values() if r.step is None or r.step == last[r.algorithm, r.seed, r.iteration]]
    return rows_behind("change-map", _sorted(wanted), frame, measures)


def _sorted(rows: list[Entry]) -> list[Entry]:
    return sorted(rows, key=lambda row: row.place)


def _table(study: StudyTable, behind: Rows) -> PageTable | None:
    rows = []
    for learner in LEARNERS:
        for change in changes(study, learner):
            name = Cell(f"{ALGORITHM_NAMES[learner]}, {change.layer}")
            rows.append((name, _plain(change.weights), _plain(change.features), Cell(in_words(change))))
    if not rows:
        return None
    caption = (
        "The map in numbers, at the end of training, with 95 % intervals. In words: by the whole intervals, against "
        f"boundaries at {BOUNDARY} of the norm and of the similarity."
    )
    header = ("Layer", "Change of weights", "Change of features", "In words")
    return PageTable("changes", caption, header, tuple(rows), behind)


def _plain(estimate: Estimate) -> Cell:
    return cell(Estimate(estimate.value, estimate.low, estimate.high), 3)
