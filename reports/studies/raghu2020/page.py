"""The page of the raghu2020 study: rapid learning or feature reuse, from one tidy table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from analyses.measures.measure import MEASURES
from reports.citations import methods_of
from reports.entries import entries_of
from reports.page import Page, Section
from reports.references import Bibliography, citation_of
from reports.studies.made import HowMade, made_section
from reports.studies.raghu2020 import sections
from reports.studies.raghu2020.answer import RULES, answer
from reports.studies.raghu2020.claims import CITATION
from reports.studies.raghu2020.judgements import judgements
from reports.studies.raghu2020.moving.section import moving_section
from reports.studies.raghu2020.pairs.section import pairs_section
from reports.studies.raghu2020.regimes.section import regimes_section
from reports.studies.raghu2020.reusing.section import reusing_section
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.raghu2020.tables import PAIRED
from reports.studies.raghu2020.timing.section import timing_section
from reports.studies.runs import NEW_HEAD
from reports.studies.verdicts import claims_table
from reports.wording import listed

__all__ = ["HowMade", "build_page"]

_READING = (
    "Each verdict follows from a 95 % interval and a rule that stands beside it, never from a value alone. Undecided "
    "means that the interval reaches across the rule's bound; what would decide it stands beside it. Intervals of "
    "similarities, of differences between learners and of what is over several seeds draw test tasks anew (bootstrap); "
    "of one seed's accuracies and differences, of distances and of curves they are Student's t over tasks. With one "
    "seed they speak of that one network; with several the seeds are drawn too, and the interval is widened for how "
    "few they are (of lines across seeds, R10, they are of these seeds alone). Verdicts are judged on MAML "
    "only (R4 to R6: on ANIL and MAML; R7, R8, R12 and "
    "R13: on training regimes; R11: on times); what is measured on other learners stands in the tables and figures "
    "without one."
)


def _steps_of(made: HowMade, algorithm: str) -> str:
    """Return how many outer steps the runs of an algorithm took; "" without any."""
    values = {(label, key): value for label, key, value in made.configs}
    labels = [label for (label, key), value in values.items() if (key, value) == ("algorithm", algorithm)]
    return listed([*dict.fromkeys(values[label, "iterations"] for label in labels)]) if labels else ""


def build_page(frame: pd.DataFrame, made: HowMade, cite: Callable[[str], str] = citation_of) -> Page:
    """Build the report of a study.

    Args:
        frame: the tidy table, with the columns of `analyses.table`.
        made: what made it.
        cite: from a measure's name to its BibTeX.

    Raises:
        MetaprobeError: a column is missing, or two rows give the same quantity of the same seed.
    """
    study = StudyTable(entries_of(frame), made.trained_steps, made.n_way)
    measures = [measure for measure in MEASURES if study.layers(measure)]
    algorithms = {entry.algorithm for entry in study.entries}
    bibliography = Bibliography.of(CITATION, measures, cite, methods_of(algorithms, made.data))
    marks = bibliography.marks
    task = f"{made.n_way}-way {made.n_shot}-shot"
    found = answer(study, made.data, task)
    overview = claims_table(judgements(study), PAIRED)
    seeds = study.seeds()
    return Page(
        title=f"Rapid learning or feature reuse? {made.data}, {task}",
        question=(
            "When a network trained by MAML adapts to a new task, does it reuse the features that training left in "
            "it, or does it relearn them? The study of Raghu et al. (2020) [1], made again on this data."
        ),
        facts=(
            ("Data", made.data),
            ("Tasks", f"{task}, {made.n_query} queries a class in training, {made.test_queries} in tests"),
            ("Inner steps", str(made.trained_steps)),
            ("Trainings of each learner", f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"),
            *made.data_facts,
            *((("Steps that failed", f"{len(made.missing)}, see the end"),) if made.missing else ()),
        ),
        headline=found.headline,
        answer=found.sentences,
        rules=RULES,
        sections=(
            Section("overview", "The claims, one by one", (_READING,), (), (overview,)),
            sections.learning(study, frame),
            sections.freezing(study, frame),
            sections.similarity(study, frame, measures, marks),
            sections.training(study, frame, marks),
            sections.weights(study, frame),
            moving_section(study, frame, marks),
            reusing_section(study, frame),
            regimes_section(study, frame, _steps_of(made, NEW_HEAD)),
            pairs_section(study, frame),
            timing_section(study, frame),
            made_section(made),
        ),
        references=bibliography.texts,
        bibtex=bibliography.bibtex,
    )
