"""From a study and its evidence to the page: verdicts, answer, blocks, how it was made, and the rows behind each."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.readings import Estimate, Reading, mapped
from metaprobe.analyses.works import methods_of
from metaprobe.reports.blocks.declared import Block as Declared
from metaprobe.reports.blocks.declared import Grid, Said, Under
from metaprobe.reports.claims import Claim
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Made
from metaprobe.reports.page.page import Page
from metaprobe.reports.page.parts import Block, Cell, ClaimsList, Missing, PageTable, Section, Statement
from metaprobe.reports.study import study as studies
from metaprobe.reports.verdicts import REFUTED, judge
from metaprobe.reports.wording import DASH, count, interval, listed, number, reason_of
from metaprobe.trainers.errors import MetaprobeError, unknown_name

__all__ = ["build", "made_section", "numbered", "page_of", "rows_of"]

_MISSING = "Steps that failed or were not done: what rests on them is not on this page. The same command tries again."
_DIFFERS = "Where the conditions here differ from the paper’s. Rates are on the mean loss."
_CHECKPOINTS = "Checkpoints: the first 12 digits are the column “checkpoint” of the CSV files."
_STORES = "Activation stores: the column “source”. Another machine or another version has others."


def page_of(study: studies.Study, evidence: Evidence) -> Page:
    """Build the page of a study; of all that it says the rows are kept, so that it follows from its tables alone.

    Raises:
        MetaprobeError: two rows give the same quantity of the same seed, a claim leads to a block that the page does
            not declare, or two blocks share a name.
    """
    made, measured = evidence.made, {row.measure for row in evidence.rows}
    used = {name: measure.works for name, measure in MEASURES.items() if name in measured}
    used |= methods_of({row.algorithm for row in evidence.rows if row.algorithm}, made.data)
    works, cite = numbered(study.works, used)
    word = "query" if made.n_query == 1 else "queries"
    trained = f"{made.n_query} {word} a class in training, {made.test_queries}"
    # tables of earlier versions know no learners; of others, none may have been trained by a run
    here = not made.learners or any(one.steps for one in made.learners)
    queries = trained if here else f"{made.test_queries} queries a class"
    rate = f"{made.inner_lr:g} on the mean loss ({made.inner_lr / made.n_way:g} in code that sums over classes)"
    with evidence.recording() as judged:
        judgements = {claim.id: judge(claim, evidence) for claim in study.claims(evidence)}
    with evidence.recording() as read:
        answer = study.answer(evidence, judgements)
        declared = study.sections(evidence, cite)
    _check_links((found.claim for found in judgements.values()), declared, answer)
    overview = ClaimsList("claims", tuple(judgements.values()), tuple(judged), f"{study.reading} {REFUTED}")
    return Page(
        title=f"{study.title}{'' if study.title.endswith(('?', '!', ':')) else ':'} {made.data_name}, {made.task}",
        question=study.question,
        facts=(
            *[("Steps that failed", f"{len(made.missing)}, see “How it was made”")] * bool(made.missing),
            ("Data", made.data_name),
            ("Tasks", f"{made.task}, {queries} in tests"),
            ("Inner rate", rate),
            ("Inner steps", f"{made.trained_steps} in training, {evidence.test_steps} in tests"),
            ("Trainings of each learner", count(len(evidence.seeds), "seed")),
            *made.data_facts,
        ),
        headline=answer.headline,
        answer=answer.sentences,
        rules=answer.rules,
        sections=(
            Section("overview", "The claims, one by one", blocks=(overview,)),
            *(_built(section, evidence) for section in declared),
            made_section(made),
        ),
        figure=None if answer.figure is None else build(answer.figure, evidence),
        training=_training(evidence),
        works=works,
        made=made,
        behind=tuple(read),
    )


def numbered(
    first: Iterable[Work], used: Mapping[str, Iterable[Work]]
) -> tuple[tuple[Work, ...], Callable[[str], str]]:
    """Number works from 1: the `first` whoever uses them, and those behind each measure and method in `used`.

    Returns:
        The works, each once, and from a measure or a method the numbers of its works, "[2,3]"; "" where it has none.

    Raises:
        MetaprobeError: two works have one key, of which LaTeX would leave one out.
    """
    sources = {name: tuple(works) for name, works in used.items()}
    by_key: dict[str, Work] = {}
    for work in (*first, *itertools.chain(*sources.values())):
        if (other := by_key.setdefault(work.key, work)) != work:
            told = f"two works have the BibTeX key {work.key!r}: {other.title!r} and {work.title!r}"
            raise MetaprobeError(f"{told}. Give one another key.")
    places = {key: str(place) for place, key in enumerate(by_key, 1)}
    marks = {name: f"[{','.join(places[work.key] for work in works)}]" for name, works in sources.items()}
    return tuple(by_key.values()), lambda name: marks.get(name, "")


def _built(section: studies.Section, evidence: Evidence) -> Section[Block]:
    built = ([build(block, evidence) for block in declared] for declared in (section.blocks, section.details))
    blocks, details = (tuple(part for part in parts if part is not None) for parts in built)
    return Section(section.name, section.title, section.text, section.glossary, blocks, details)


def build(block: Declared, evidence: Evidence) -> Block | None:
    """Return a block as a part of a page, with the rows that it read behind it.

    Where nothing was measured, that is what is missing and why, or None where another block says it.
    """
    with evidence.recording() as read:
        if isinstance(block, Grid):
            rows = tuple(rows_of(block, evidence))
            made = PageTable(block.name, block.caption, block.header, rows, notes=block.notes) if rows else None
        else:
            from metaprobe.reports.blocks.figure import on_page  # matplotlib: not before there is something to draw

            made = on_page(block, evidence)
    if made is None:
        return Missing(*block.missing, block.name) if block.missing else None
    return dataclasses.replace(made, behind=tuple(read))


def _check_links(claims: Iterable[Claim], sections: Iterable[studies.Section], answer: studies.Answer) -> None:
    known = [] if answer.figure is None else [answer.figure.name]
    for section in sections:
        known += [section.name, *(block.name for block in (*section.blocks, *section.details))]
    for claim in claims:
        if lost := [name for name in claim.evidence if name not in known]:
            raise unknown_name(f"evidence of claim {claim.id}", lost[0], known)


def _training(evidence: Evidence) -> str:
    """Say how much training stands behind a page; heads on bodies that were trained before are only counted."""
    groups: dict[tuple[bool, int, int], list[str]] = {}
    for one in evidence.made.learners:
        if one.steps:
            groups.setdefault((bool(one.head_of), one.steps, one.tasks), []).append(one.label)
    told = [] if groups or not evidence.made.learners else ["elsewhere, or none"]
    for (heads, steps, tasks), labels in sorted(groups.items(), key=lambda group: group[0][0]):
        who = f"new heads for {len(labels)} bod{'ies' if len(labels) > 1 else 'y'}" if heads else listed(labels)
        told.append(f"{who}: {count(steps, 'outer step')} of {count(tasks, 'task')}")
    told.append(f"{count(len(evidence.seeds), 'seed')} of each")
    return f"Training behind this: {'; '.join(told)}."


def made_section(made: Made) -> Section[Block]:
    """Return the section with the commands and, folded away, configurations, checkpoints and versions."""
    lines = tuple((Cell(name), Cell(ending, mark="bad"), Cell(why)) for name, ending, why in made.missing)
    blocks = (
        *[_table("differs", _DIFFERS, ("Condition", "The paper", "Here"), made.differs)] * bool(made.differs),
        *[PageTable("missing-steps", _MISSING, ("Step", "Ended", "Why"), lines)] * bool(lines),
        Statement(made.commands, code=True),
        *[Statement(made.notes)] * bool(made.notes),
    )
    details = (
        *_settings(made),
        _table("versions", "Software.", ("Package", "Version"), made.versions),
        _table("checkpoints", _CHECKPOINTS, ("Checkpoint", "SHA-256 of its weights"), made.checkpoints),
        _table("stores", _STORES, ("Store", "SHA-256 of its file", "Checkpoint"), made.stores),
    )
    details = tuple(table for table in details if table.rows)
    return Section("made", "How it was made", ("These commands make this report again.",), (), blocks, details)


def _settings(made: Made) -> tuple[PageTable, PageTable]:
    """Return the settings in which trainings differ, a line each training, and those that all share."""
    values = {(label, key): value for label, key, value in made.configs}
    labels, keys = (tuple(dict.fromkeys(names)) for names in zip(*values, strict=True)) if values else ((), ())
    told = {key: [values.get((label, key), DASH) for label in labels] for key in keys}
    own = {key: each for key, each in told.items() if len(set(each)) > 1}
    shared = tuple((key, each[0]) for key, each in told.items() if key not in own)
    lines = tuple(zip(labels, *own.values(), strict=True)) if own else ()
    return (
        _table("settings", "Settings in which the trainings differ.", ("Training", *own), lines),
        _table("shared-settings", "Settings that all trainings share.", ("Setting", "Value"), shared),
    )


def _table(name: str, caption: str, header: tuple[str, ...], lines: tuple[tuple[str, ...], ...]) -> PageTable:
    return PageTable(name, caption, header, tuple(tuple(map(Cell, line)) for line in lines))


def rows_of(grid: Grid, evidence: Evidence) -> list[tuple[Cell, ...]]:
    """Return the rows of a table; [] where nothing was measured.

    A line whose quantities were all not measured is left out, and lines without quantities stand only beside others.
    """
    rows, measured = [], False
    for line in grid.lines:
        read = [cell.quantity.read(evidence) for cell in line.cells if isinstance(cell, Said)]
        if read and all(reading is None for reading in read):
            continue
        measured |= bool(read)
        readings = iter(read)
        cells = (_cell(c, next(readings), evidence) if isinstance(c, Said) else c for c in line.cells)
        rows.append((Cell(line.title, line.under), *cells))
    return rows if measured else []


def _cell(said: Said, reading: Reading, evidence: Evidence) -> Cell:
    under = [text for line in said.under for text in _under(line, evidence)]
    found = mapped(reading, 0.0, said.scale)
    if found is None:
        return Cell(DASH, tuple(under), number=True)
    if not isinstance(found, Estimate):
        return Cell("undefined", (f"({reason_of(found)})", *under))
    bounds = interval(found.low, found.high, said.digits, signed=said.signed)
    sd = None if said.plain else found.sd
    spread = "" if sd is None else f"sd {number(sd, said.digits)}, {len(found.per_seed)} seeds"
    text = number(found.value, said.digits, signed=said.signed) + said.unit
    return Cell(text, tuple(filter(None, (bounds, spread, *under))), number=True)


def _under(line: Under, evidence: Evidence) -> list[str]:
    found = line.quantity.read(evidence)
    if not isinstance(found, Estimate):
        return [] if found is None else [f"{line.word} undefined".strip()]
    bounds = interval(found.low, found.high, line.digits, signed=line.signed) if line.interval else ""
    return [f"{line.word} {number(found.value, line.digits, signed=line.signed)}".strip(), *filter(None, (bounds,))]
