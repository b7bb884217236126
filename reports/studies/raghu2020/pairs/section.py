"""The section of the page on pairs of trainings."""

from __future__ import annotations

import pandas as pd

from reports.evidence import Estimate
from reports.parts import Block, Cell, PageTable, Rows, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.cells import DASH, cell
from reports.studies.raghu2020.pairs.claims import (
    MARGINS,
    MEASURES_JUDGED,
    PAIRINGS,
    PAPER_LEARNERS,
    PAPER_REGIMES,
    R2_BOUND,
    SLOPE_BAND,
)
from reports.studies.raghu2020.pairs.combining import LINE
from reports.studies.raghu2020.pairs.figures import SHOWN, lines_figure, maps_figure, named, similar_figure
from reports.studies.raghu2020.pairs.readings import fit, pair_entries, similar, trainings
from reports.studies.raghu2020.pairs.trainings import GROUPS, Learners
from reports.studies.raghu2020.study_table import StudyTable
from reports.wording import listed, number

__all__ = ["pairs_section"]

_COLUMNS: dict[str, str] = {"mean_cca": "CCA", "debiased_cka": "CKA, debiased", "linear_cka": "CKA, as in the paper"}


def pairs_section(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on how alike the features of two trainings are, before and after adaptation.

    Args:
        study: the questions to its table.
        frame: that table.
    """
    entries = list(pair_entries(study))
    behind = rows_behind("pairs", entries, frame, {entry.measure for entry in entries})
    nothing = "The table compares no two trainings."
    one = "The table compares no two trainings of MAML; two seeds are needed."
    blocks: list[Block] = [
        figure_or_missing(
            "pairs-similar",
            "How alike two networks are, before adaptation, on the same images: mean over the layers of the body, or "
            "over its first three. Bars: 95 % intervals. Grey: the same when each image of one "
            "network stands beside another image of the other, which is what chance gives. Diamonds: the paper, "
            "mini-ImageNet (mIN), whose CKA is the biased one.",
            similar_figure(study),
            behind,
            "Similarity of two trainings",
            nothing,
        )
    ]
    if (table := _similar_table(study, behind)) is not None:
        blocks.append(table)
    blocks += [
        figure_or_missing(
            "pairs-maps",
            "Every layer of one network against every layer of the other, before adaptation; mean over pairs of seeds, "
            "darker is more alike. Where feature maps differ in size, the coarser one is repeated to the finer one's, "
            "so that each row is still one place of one image.",
            maps_figure(study),
            behind,
            "Layers against layers",
            nothing,
        ),
        figure_or_missing(
            "pairs-lines",
            "Two MAML networks from different seeds. Across: how alike they are before adaptation; up: with the first, "
            "the second, or both after it. Points on the dotted line y = x: adaptation changes nothing. The head is "
            "drawn open, and is not part of the line of best fit.",
            lines_figure(study),
            behind,
            "Similarity across seeds, before and after adaptation",
            one,
        ),
    ]
    if (table := _lines_table(study, behind)) is not None:
        blocks.append(table)
    text = (
        "Two networks trained from different random starts never have the same features, channel for channel. Are "
        "those of MAML and ANIL as alike as those of two MAML networks (claim R6)? Are those of other training "
        "regimes less like MAML's, the worse they serve (R13)? And does adaptation change how alike two networks are "
        f"(R10)? All networks see the same query images of the same tasks. {_compared(study)}",
        "Intervals come from drawing the tasks again, the same draws for every pair, and with three seeds or more the "
        "seeds as well. Similarities of few tasks come out a little too high, CCA more than CKA; the interval takes "
        "that off, so that a value may lie at its upper end or just above it.",
    )
    glossary = (
        ("CCA", "mean canonical correlation: 1 when the channels of one layer are linear mixtures of the other's"),
        ("CKA", "alike when the same images lie close to each other in both; debiased: 0 for unrelated features"),
        ("null", "the similarity of networks that look at different images, place by place"),
        ("body", "all layers but the last, which is the head"),
    )
    return Section("pairs", "Two trainings side by side", text, glossary, tuple(blocks))


def _compared(study: StudyTable) -> str:
    """Say which trainings were compared."""
    told = []
    for learners in GROUPS:
        if found := trainings(study, learners):
            same = all(one == other for one, other in found)
            told.append(f"{named(learners)} {len(found)}{' (of one seed)' if same else ''}")
    if not told:
        return ""
    alike = (
        " Pairs of one seed began with the same weights, which makes them more alike."
        if "one seed" in str(told)
        else ""
    )
    return f"Pairs compared: {', '.join(told)}.{alike}"


def _similar_table(study: StudyTable, behind: Rows) -> PageTable | None:
    rows: list[tuple[Cell, ...]] = []
    for part, learners in SHOWN:
        found = [similar(study, measure, learners, part) for measure in _COLUMNS]
        if any(reading is not None for reading in found):
            where = "mean over the body" if part == "body" else "mean over its first three layers"
            rows.append(
                (Cell(named(learners), (where,)), *(cell(reading, 2) for reading in found), _printed(part, learners))
            )
    if not rows:
        return None
    caption = (
        "Similarity of two trainings before adaptation, with 95 % intervals, and the paper's Tables 3 and 8 "
        "(mini-ImageNet)."
    )
    notes = (
        f"Claim R6 allows a gap of {MARGINS['mean_cca']} (CCA) and {MARGINS['debiased_cka']} (debiased CKA). The "
        f"verdicts read {listed([_COLUMNS[m] for m in MEASURES_JUDGED])}. NIL training is not in the paper's table.",
    )
    header = ("Pair", *_COLUMNS.values(), "Paper: CCA, CKA")
    return PageTable("pairs-table", caption, header, tuple(rows), behind, notes)


def _printed(part: str, learners: Learners) -> Cell:
    printed = PAPER_LEARNERS.get(learners) if part == "body" else PAPER_REGIMES.get(learners[0])
    return Cell(DASH if printed is None else ", ".join(number(value, 2) for value in printed), number=True)


def _lines_table(study: StudyTable, behind: Rows) -> PageTable | None:
    rows: list[tuple[Cell, ...]] = []
    for measure, name in _COLUMNS.items():
        for phase, words in PAIRINGS.items():
            found = [fit(study, measure, kind, phase) for kind in LINE]
            if any(isinstance(reading, Estimate) for reading in found):
                rows.append((Cell(name, (words,)), *(cell(reading, 2) for reading in found)))
    if not rows:
        return None
    caption = (
        "Lines of best fit through the points of the figure above, the head left out: what stands against both "
        "networks before adaptation, by measure. With 95 % intervals over test tasks."
    )
    note = (
        f"Claim R10 asks for a slope within {SLOPE_BAND[0]} to {SLOPE_BAND[1]} and R² about y = x above {R2_BOUND}. R² "
        "about y = x is 1 − Σ(y−x)²/Σ(y−ȳ)²: below 0, y = x fits worse than a constant."
    )
    header = ("Similarity", "Slope", "Intercept", "R² of the line", "R² about y = x")
    return PageTable("pairs-lines-table", caption, header, tuple(rows), behind, (note,))
