"""The section of the page on time."""

from __future__ import annotations

import pandas as pd

from reports.entries import Entry
from reports.evidence import Estimate
from reports.page import Block, Cell, Missing, PageTable, Rows, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.cells import DASH
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.raghu2020.timing.claims import PAPER_SECONDS, PAPER_SPEEDUPS, VIEWS
from reports.studies.raghu2020.timing.figure import timing_figure
from reports.studies.raghu2020.timing.judgements import timed
from reports.wording import ALGORITHM_NAMES, capital, number, with_interval

__all__ = ["timing_section"]

_WHATS = ("training", "inference")
_LEARNERS = ("maml", "fomaml", "anil")
_MEASURES = tuple(f"{what}_{kind}" for what in _WHATS for kind in ("seconds", "speedup"))


def timing_section(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on how long training and adaptation take.

    Args:
        study: the questions to its table.
        frame: that table.
    """
    entries = [row for measure in _MEASURES for name in _LEARNERS for row in study.every(measure, name)]
    entries.sort(key=lambda row: row.place)
    behind = rows_behind("timing", entries, frame, _MEASURES)
    blocks: list[Block] = [
        figure_or_missing(
            "timing-figure",
            "How many times faster than MAML first-order MAML and ANIL are, on a logarithmic scale. Bars: 95 % "
            "intervals of the median over rounds; diamonds: the paper's two figures on mini-ImageNet (mIN), 1- and "
            "5-shot.",
            timing_figure(study),
            behind,
            "Training and inference time",
            "The table holds no timings.",
        )
    ]
    table = _table(study, entries, behind) or Missing("Times", "The table holds no timings.", "timing-table")
    text = (
        "What does an inner loop of the head alone save (claim R11)? MAML, first-order MAML and ANIL compute the same "
        "tasks on the same network in turn, in another order each round; ratios are taken within a round, so that what "
        "else the machine does meets all of them. First-order MAML adapts at test time as MAML does: its inference "
        "ratio differs from 1 by noise alone.",
        "Times are of the machine that ran this study and differ from run to run: they are the one thing on this page "
        "that the same commands do not give again to the byte.",
    )
    glossary = (
        ("training time", "one meta-gradient: forward and backward through the inner loop, images in memory"),
        ("inference time", "the inner loop on a support set, and the logits of the query set"),
        (VIEWS["paper"], "the paper's conditions; the one image is of the first class"),
        (VIEWS["ordinary"], "as many tasks and query images as the runs of this study train on at a time"),
    )
    return Section("timing", "Time", text, glossary, (*blocks, table))


def _table(study: StudyTable, entries: list[Entry], behind: Rows) -> PageTable | None:
    if not entries:
        return None
    columns = [(view, what) for view in VIEWS for what in _WHATS]
    rows = [
        (Cell(ALGORITHM_NAMES[name]), *(_cell(study, what, name, view) for view, what in columns)) for name in _LEARNERS
    ]
    for shot, place in (("1-shot", 0), ("5-shot", 1)):
        for name in _LEARNERS:
            label = Cell(f"Paper: {ALGORITHM_NAMES[name]}", (f"mIN 5-way {shot}",))
            cells = (
                _printed(what, name, place) if view == "paper" else Cell(DASH, number=True) for view, what in columns
            )
            rows.append((label, *cells))
    counts = sorted({row.n for row in entries if row.n is not None})
    how = sorted({row.source for row in entries if row.source})
    notes = (
        f"Medians over {' or '.join(str(n) for n in counts)} rounds, after one to warm up; intervals by order "
        "statistics, which ask nothing of the distribution.",
        *([f"Computed: {'; '.join(how)}."] if how else []),
        f"{DASH} not in the paper. Its seconds are medians, its ratios of means (Table 6; TensorFlow, Titan Xp).",
    )
    header = ("Learner", *(f"{capital(what)}: {VIEWS[view]}" for view, what in columns))
    caption = (
        "Median time of one computation in milliseconds, and how many times faster than MAML it is, with 95 % "
        "intervals. Last: the paper's Table 6, mini-ImageNet (mIN)."
    )
    return PageTable("timing-table", caption, header, tuple(rows), behind, notes)


def _cell(study: StudyTable, what: str, name: str, view: str) -> Cell:
    seconds = timed(study, f"{what}_seconds", name, view)
    if not isinstance(seconds, Estimate):
        return Cell(DASH, number=True)
    ratio = timed(study, f"{what}_speedup", name, view)
    lines = (f"× {with_interval(ratio, 2)}",) if isinstance(ratio, Estimate) else ()
    return Cell(f"{number(1000 * seconds.value, _digits(seconds.value))} ms", lines, number=True)


def _printed(what: str, name: str, place: int) -> Cell:
    if name not in PAPER_SECONDS[what]:
        return Cell(DASH, number=True)
    ratio = PAPER_SPEEDUPS[what].get(name)
    lines = (f"× {ratio[place]:g}",) if ratio else ()
    return Cell(f"{number(1000 * PAPER_SECONDS[what][name][place], 0)} ms", lines, number=True)


def _digits(seconds: float) -> int:
    """Two or three digits that mean something."""
    return 0 if seconds >= 0.1 else 1
