"""The section of the page on training regimes and test heads."""

from __future__ import annotations

import pandas as pd

from reports.entries import Entry
from reports.evidence import Estimate
from reports.page import Block, Cell, PageTable, Rows, Section
from reports.studies.blocks import figure_or_missing, rows_behind
from reports.studies.cells import DASH, cell
from reports.studies.raghu2020.derived import BETWEEN, FIXED
from reports.studies.raghu2020.regimes.claims import HEAD_MARGIN, NAMES, PAPER_HEADS, REGIMES
from reports.studies.raghu2020.regimes.figure import regimes_figure
from reports.studies.raghu2020.regimes.readings import difference_between_heads, maml_head, nil_head
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.runs import HEADLESS
from reports.wording import capital, listed, number

__all__ = ["regimes_section"]

_GAPS = (BETWEEN, BETWEEN + FIXED)
_HEADS = ("head_difference", f"head_difference{FIXED}")


def regimes_section(study: StudyTable, frame: pd.DataFrame, head_steps: str) -> Section:
    """Return the section on what six training regimes leave in the body, seen with two heads.

    Args:
        study: the questions to its table.
        frame: that table.
        head_steps: how many outer steps each new head took; "" where there is none.
    """
    behind = rows_behind("regimes", _compared(study), frame, ("accuracy", *_HEADS, *_GAPS), frozen="")
    blocks: list[Block] = [
        figure_or_missing(
            "regimes-figure",
            "Left: test accuracy with each head on the body of each regime. Right: MAML head − NIL head, paired by "
            f"task; the grey band is ±{HEAD_MARGIN} points, the paper's largest gap, the diamonds its figures on "
            "mini-ImageNet (mIN) 5-way 1-shot. Bars: 95 % intervals.",
            regimes_figure(study),
            behind,
            "Training regimes",
            "The table holds no test with the NIL head or the MAML head.",
        )
    ]
    table = _table(study, behind)
    text = (
        "Is it the way of training that makes features worth reusing (claims R7, R8 and R12)? Each body is taken as "
        "its training left it, at the last checkpoint: validation picks nothing, and all meet the same test tasks. "
        "The MAML head of MAML and of ANIL is their own, and adapts as in training; a body that was trained without a "
        "task head gets a new one, meta-trained while the body is frozen (Appendix D.1). " + _steps(study, head_steps),
    )
    glossary = (
        ("MAML head", "a last layer that takes gradient steps on the support set from a meta-trained start"),
        ("NIL head", "no layer and no steps: labels of the support images, weighted by cosine similarity of features"),
        ("multiclass", "the body learns to tell all training classes apart; that head is thrown away"),
        ("NIL training", "the body learns with the NIL head in place, as matching networks do"),
        ("random features", "never trained"),
        ("multitask", "one head learns all training tasks at once, though each labels its classes as it likes"),
    )
    return Section("regimes", "Training regimes", text, glossary, (*blocks, *([table] if table else [])))


def _compared(study: StudyTable) -> list[Entry]:
    """Return the rows that the section shows, and those that R7, R8 and R12 read, in the order of the table."""
    rows = [row for regime in REGIMES for measure in _HEADS for row in study.rows(measure, regime)]
    rows += [row for regime in REGIMES for gap in _GAPS for row in study.every(gap, regime) if row.head == "nil"]
    for regime in REGIMES:
        heads = ("nil", "maml") if regime in HEADLESS else ("nil", "own")
        found = (row for row in study.rows("accuracy", regime) if row.head in heads)
        rows += [row for row in found if row.head != "own" or _as_trained(study, row)]
    return sorted(rows, key=lambda row: row.place)


def _as_trained(study: StudyTable, row: Entry) -> bool:
    return study.own_head(row) and study.steps_of(row) == study.trained_steps and not row.frozen


def _steps(study: StudyTable, head_steps: str) -> str:
    """Say how much training stands behind each body and each new head."""
    at = {r: study.iterations(r, "accuracy", "val_accuracy") for r in REGIMES if r != "random"}
    last = {regime: iterations[-1] for regime, iterations in at.items() if iterations}
    groups: dict[int, list[str]] = {}
    for regime, iteration in last.items():
        groups.setdefault(iteration, []).append(NAMES[regime])
    told = "; ".join(f"{listed(names)}: {steps:,}" for steps, names in groups.items())
    heads = f"; behind each new head: {head_steps}" if head_steps else ""
    if head_steps.isdigit() and int(head_steps) < max(last.values(), default=0):
        heads += " (fewer, so that a gap below the NIL head may be want of training there)"
    return f"Outer steps behind each body: {told}{heads}." if told else ""


def _table(study: StudyTable, behind: Rows) -> PageTable | None:
    rows: list[tuple[Cell, ...]] = []
    for regime in REGIMES:
        found = (maml_head(study, regime), nil_head(study, regime), difference_between_heads(study, regime))
        if any(reading is not None for reading in found):
            kind = "new head, body frozen" if regime in HEADLESS else "its own head"
            cells = (*(cell(reading) for reading in found[:2]), cell(found[2], signed=True))
            rows.append((Cell(capital(NAMES[regime]), (f"MAML head: {kind}",)), *cells))
    if not rows:
        return None
    for regime in REGIMES:
        rows.append((Cell(f"Paper: {NAMES[regime]}", ("mIN 5-way 1-shot, below it 5-shot",)), *_printed(regime)))
    absent = [NAMES[r] for r in REGIMES if not isinstance(nil_head(study, r), Estimate)]
    notes = [f"{DASH} not measured; in the paper's rows, not in the paper. ± there: as printed, 3 seeds."]
    if absent:
        notes.append(f"No row here, or no number: {listed(absent)}.")
    caption = (
        "Test accuracy in percent with two heads on the body of each training regime, and their difference in points, "
        "with 95 % intervals; the difference is paired by task. Last: the paper's Tables 5 and 7, mini-ImageNet (mIN)."
    )
    header = ("Regime", "MAML head", "NIL head", "MAML head \N{MINUS SIGN} NIL head (points)")
    return PageTable("regimes-table", caption, header, tuple(rows), behind, tuple(notes))


def _printed(regime: str) -> tuple[Cell, ...]:
    """Return the paper's figures, 1-shot and under them 5-shot."""
    one, five = (PAPER_HEADS[setting][regime] for setting in ("5-way 1-shot", "5-way 5-shot"))
    cells = [
        Cell(DASH, number=True) if a is None or b is None else Cell(_figure(a), (_figure(b),), number=True)
        for a, b in zip(one, five, strict=True)
    ]
    gaps = [None if pair[0] is None else number(pair[0][0] - pair[1][0], signed=True) for pair in (one, five)]
    gap = Cell(DASH, number=True) if None in gaps else Cell(str(gaps[0]), (str(gaps[1]),), number=True)
    return (*cells, gap)


def _figure(printed: tuple[float, float]) -> str:
    return f"{number(printed[0])} ±{printed[1]}"
