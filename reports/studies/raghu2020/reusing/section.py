"""The section on the reuse index of every learner and regime."""

from __future__ import annotations

import pandas as pd

from reports.evidence import Estimate, Reading, pool
from reports.page import Block, Cell, Missing, PageTable, Section
from reports.studies.blocks import rows_behind
from reports.studies.cells import DASH, cell
from reports.studies.raghu2020.regimes.claims import NAMES, REGIMES
from reports.studies.raghu2020.study_table import BLOCKS, FULL, StudyTable
from reports.wording import block_name, capital, listed

__all__ = ["reusing_section"]

_TEXT = (
    "How much of what training gained is in the body as training left it? The reuse index is (A − U) / (F − U): F is "
    "the test accuracy with all layers adapting, at the trained number of steps; A that with conv1–4 frozen; U that of "
    "the untrained network, tested like A. 1: the frozen body does all that the adapted one does. 0: it is worth no "
    "more than random features. The cost of freezing alone would call an untrained network a case of reuse, which has "
    "nothing to lose. It has no number where F does not exceed U.",
    "Which body is asked for depends on who reads it. The learner’s own head, alone, may need more steps than it was "
    "trained with; so A and U are also taken at other numbers of steps, and with the NIL head, which takes none.",
)
_TABLE = "reuse-index"
_FROZEN = "freezing-regimes"


def reusing_section(study: StudyTable, frame: pd.DataFrame) -> Section:
    """Return the section on freezing in every regime and the reuse index.

    Args:
        study: the questions to its table.
        frame: that table.
    """
    index = _index_table(study, frame) or Missing("Reuse index", "The table holds no test that it needs.", _TABLE)
    frozen = _frozen_table(study, frame)
    if frozen is None:
        told = "The table holds no test of another regime with all layers adapting."
        frozen = Missing("Freezing in other regimes", told, _FROZEN)
    blocks: list[Block] = [index, frozen]
    glossary = (
        (
            "MAML head, all adapt",
            "a learner trained to adapt its head alone is let adapt all layers at test time, so that freezing can be "
            "compared; with conv1–4 frozen it is tested as it was trained",
        ),
    )
    return Section("reusing", "What the body holds: the reuse index", _TEXT, glossary, tuple(blocks))


def _index_table(study: StudyTable, frame: pd.DataFrame) -> PageTable | None:
    found = [entry for entry in study.entries if entry.measure == "reuse_index"]
    learners = [name for name in ("fomaml", *REGIMES) if any(entry.algorithm == name for entry in found)]
    if not learners:
        return None
    steps = sorted({entry.inner_steps or 0 for entry in found} - {0})
    rows = []
    for name in learners:
        cells = [cell(study.reuse(name, at), 2) for at in steps]
        rows.append((Cell(capital(_name(name))), *cells, cell(study.reuse(name, head="nil"), 2)))
    header = ("Learner", *(f"{at} steps" for at in steps), "NIL head")
    caption = (
        "Reuse index of each body, by the number of inner steps that the head alone takes, and with the NIL head; "
        "95 % interval by drawing tasks, and with several seeds the seeds too."
    )
    notes = [f"{DASH} not measured."]
    readings = [study.reuse(name) for name in learners]
    few = {reading.n or 0 for reading in readings if isinstance(reading, Estimate)}
    if len(few) > 1:
        notes.append(f"Test tasks behind a row: {listed([str(n) for n in sorted(few, reverse=True)])}.")
    behind = rows_behind("reuse-index", study.entries, frame, ("reuse_index",))
    return PageTable(_TABLE, caption, header, tuple(rows), behind, tuple(notes))


def _frozen_table(study: StudyTable, frame: pd.DataFrame) -> PageTable | None:
    learners = [name for name in REGIMES if study.every("accuracy", name, "all")]
    if not learners:
        return None
    sets = ("", *BLOCKS)
    rows = []
    for name in learners:
        cells = []
        for frozen in sets:
            level, change = (_test(study, name, frozen, measure) for measure in ("accuracy", "accuracy_difference"))
            made = cell(level)
            if frozen and isinstance(change, Estimate):
                told = cell(change, signed=True)
                made = Cell(made.text, (*made.lines, f"Δ {told.text}", *told.lines[:1]), number=True)
            cells.append(made)
        kind = "own head" if name == "anil" else "new head, trained on the frozen body"
        rows.append((Cell(capital(NAMES[name]), (kind,)), *cells))
    caption = (
        "Test accuracy in percent when all layers but the frozen ones adapt, of learners that were trained to adapt "
        f"the head alone, at {study.trained_steps} steps. Δ: paired change against nothing frozen."
    )
    header = ("Regime", *(capital(block_name(name)) if name else "None frozen" for name in sets))
    behind = rows_behind(_FROZEN, study.entries, frame, ("accuracy", "accuracy_difference"), adapts="all")
    note = f"The column {block_name(FULL)} is how they were trained."
    return PageTable(_FROZEN, caption, header, tuple(rows), behind, (note,))


def _test(study: StudyTable, algorithm: str, frozen: str, measure: str) -> Reading:
    rows = [row for row in study.rows(measure, algorithm, adapts="all") if row.frozen == frozen]
    return pool([row for row in rows if study.steps_of(row) == study.trained_steps])


def _name(algorithm: str) -> str:
    return NAMES.get(algorithm, "FOMAML")
