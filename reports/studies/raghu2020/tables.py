"""The study's tables of verdicts and accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports.entries import Entry
from reports.evidence import Estimate, Reading, pool
from reports.page import Cell, PageTable, Rows
from reports.studies.cells import DASH, cell
from reports.studies.raghu2020.claims import PAPER_ACCURACY, PAPER_FREEZING
from reports.studies.raghu2020.study_table import BLOCKS, SHOWN, StudyTable, frozen_order
from reports.wording import ALGORITHM_NAMES, block_name, capital, interval, number, reading, with_interval

__all__ = ["PAIRED", "accuracy_table", "by_seed", "freezing", "other_steps"]

PAIRED = (
    "What freezing changes within a learner, and differences between two learners, are paired, task by task. Over "
    "several seeds, and between learners, intervals are of the bootstrap: tasks are drawn anew, the same ones for both "
    "sides, and with several seeds the seeds too."
)
"""What the page says of the rows that `derived` makes."""


def freezing(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return accuracy and its change by frozen set at the trained number of steps, the paper's rows last."""
    tests = _tests(study)
    if not tests:
        return None
    kept = [test for test in tests if test.steps == study.trained_steps or test.nil or test.pre]
    sets = _sets(study)
    rows = [_freezing_row(study, test, sets) for test in kept]
    for setting, figures in PAPER_FREEZING.items():
        printed = {figure.of: figure for figure in figures}
        cells = [Cell(DASH, number=True) for _ in sets]
        for at, name in enumerate(sets):
            if name in printed:
                change = (f"Δ {number(printed[name].value - printed[''].value, signed=True)}",) if name else ()
                cells[at] = Cell(number(printed[name].value), (f"±{printed[name].spread}", *change), number=True)
        rows.append((Cell("Paper: MAML", (setting, "10 steps at test (trained with 5)")), *cells))
    caption = (
        "Test accuracy in percent with layers frozen in the inner loop, 95 % interval, and Δ, the "
        "paired change in points against nothing frozen at the same number of steps. All columns are tested on the "
        "same tasks."
    )
    notes = [
        f"Trained with {study.trained_steps} inner steps. {DASH} not measured. ± in the paper's rows: as printed, "
        "3 seeds."
    ]
    if not any(test.algorithm == "random" for test in kept):
        notes.append("Untrained network: not measured.")
    return PageTable("freezing", caption, _set_header(sets), tuple(rows), behind, tuple(notes))


def other_steps(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return the same at every other number of inner steps at test; None where there is no other."""
    tests = [test for test in _tests(study) if test.steps != study.trained_steps and not (test.nil or test.pre)]
    if not tests:
        return None
    found = {row.frozen for a in SHOWN for row in study.rows("accuracy", a) if _test(study, row) in tests}
    sets = frozen_order(found)
    rows = tuple(_freezing_row(study, test, sets) for test in tests)
    caption = (
        "As the table above, with other numbers of inner steps at test. Δ is against nothing frozen at the same number."
    )
    return PageTable("freezing-steps", caption, _set_header(sets), rows, behind, (f"{DASH} not measured.",))


def by_seed(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return accuracy by frozen block of every seed, then mean and standard deviation; None with a single seed."""
    rows, several = [], False
    for algorithm in SHOWN:
        found = {block: study.test(algorithm, block) for block in ("", *BLOCKS)}
        seeds = sorted({seed for r in found.values() if isinstance(r, Estimate) for seed, _ in r.per_seed})
        several = several or len(seeds) > 1
        name = capital(ALGORITHM_NAMES[algorithm])
        for seed in seeds:
            values = [dict(r.per_seed).get(seed) if isinstance(r, Estimate) else None for r in found.values()]
            cells = [Cell(DASH if v is None else number(v, 2), number=True) for v in values]
            rows.append((Cell(f"{name}, seed {seed}"), *cells))
        if len(seeds) > 1:
            cells = [Cell(reading(r, 2), (f"sd {number(_sd(r), 2)}",), number=True) for r in found.values()]
            rows.append((Cell(f"{name}, mean"), *cells))
    if not several:
        return None
    caption = f"The same accuracies by seed of the training, at {study.trained_steps} inner steps."
    return PageTable("freezing-by-seed", caption, _set_header(("", *BLOCKS)), tuple(rows), behind)


def accuracy_table(study: StudyTable, behind: Rows) -> PageTable | None:
    """Return the accuracies of MAML and ANIL, ours and the paper's."""
    maml, anil = study.test("maml"), study.test("anil")
    if maml is None and anil is None:
        return None
    rows: list[tuple[Cell, ...]] = [
        (Cell("This study"), cell(maml), cell(anil), cell(study.gap("anil", "maml"), signed=True))
    ]
    for setting, one, other in PAPER_ACCURACY:
        gap = Cell(number(other.value - one.value, signed=True), number=True)
        printed = [Cell(number(f.value), (f"±{f.spread}",), number=True) for f in (one, other)]
        rows.append((Cell(f"Paper: {setting}"), *printed, gap))
    caption = (
        f"Test accuracy in percent after {study.trained_steps} inner steps, 95 % interval; the "
        "paper's with ± as printed (standard deviation over 3 seeds)."
    )
    header = ("", "MAML", "ANIL", "ANIL \N{MINUS SIGN} MAML (points)")
    fomaml = study.test("fomaml")
    notes = () if fomaml is None else (f"FOMAML, on the same tasks: {with_interval(fomaml, unit=' %')}.",)
    return PageTable("accuracy", caption, header, tuple(rows), behind, (*notes, PAIRED))


@dataclass(frozen=True)
class _Test:
    """A kind of test, one row of a table: who, with which head, adapted or not, with how many steps."""

    algorithm: str
    nil: bool
    pre: bool
    steps: int

    def order(self, trained: int) -> tuple[object, ...]:
        """Own heads first, the trained number of steps first, learners in their usual order."""
        place = SHOWN.index(self.algorithm)
        return (self.nil or self.pre, self.steps != trained, self.steps, place, self.nil, self.pre)

    def reading(self, study: StudyTable, frozen: str, measure: str) -> Reading:
        """Return the accuracy of the test with some layers frozen, or another measure of it."""
        rows = (row for row in study.rows(measure, self.algorithm) if row.frozen == frozen and row.head != "maml")
        return pool([row for row in rows if _test(study, row) == self])


def _test(study: StudyTable, row: Entry) -> _Test:
    return _Test(row.algorithm, row.head == "nil", row.phase == "pre", study.steps_of(row))


def _tests(study: StudyTable) -> list[_Test]:
    rows = (row for algorithm in SHOWN for row in study.rows("accuracy", algorithm) if row.head != "maml")
    found = {_test(study, row) for row in rows}
    return sorted(found, key=lambda test: test.order(study.trained_steps))


def _sets(study: StudyTable) -> tuple[str, ...]:
    rows = (row for algorithm in SHOWN for row in study.every("accuracy", algorithm))
    return frozen_order({"", *BLOCKS, *(row.frozen for row in rows)})


def _set_header(sets: Sequence[str]) -> tuple[str, ...]:
    return ("Learner", *(capital(block_name(name)) if name else "None frozen" for name in sets))


def _freezing_row(study: StudyTable, test: _Test, sets: Sequence[str]) -> tuple[Cell, ...]:
    cells = []
    for name in sets:
        level, change = (test.reading(study, name, measure) for measure in ("accuracy", "accuracy_difference"))
        made = cell(level)
        if name and isinstance(level, Estimate) and isinstance(change, Estimate):
            bounds = interval(change.low, change.high, signed=True)
            delta = f"Δ {number(change.value, signed=True)}"
            made = Cell(made.text, (*made.lines, delta, *([bounds] if bounds else [])), number=True)
        cells.append(made)
    trained = ", as trained" if test.steps == study.trained_steps and test.algorithm != "random" else ""
    adapted = f"{test.steps} step{'s' * (test.steps != 1)}{trained}"
    how = f"{'NIL head' if test.nil else 'own head'}, {'no adaptation' if test.pre or not test.steps else adapted}"
    return (Cell(capital(ALGORITHM_NAMES[test.algorithm]), (how,)), *cells)


def _sd(found: Reading) -> float:
    return (found.sd or 0.0) if isinstance(found, Estimate) else 0.0
