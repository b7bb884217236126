"""The page of the zhou2021 study: one tidy table in, a page out."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from reports.entries import entries_of
from reports.page import Page, Section
from reports.references import cited, entries
from reports.studies.made import HowMade, made_section
from reports.studies.verdicts import claims_table
from reports.studies.zhou2021 import sections
from reports.studies.zhou2021.answer import RULES, answer
from reports.studies.zhou2021.claims import BIBLIOGRAPHY
from reports.studies.zhou2021.judgements import judgements
from reports.studies.zhou2021.learners import Learner
from reports.studies.zhou2021.study_table import ZhouTable

__all__ = ["build_page"]

_READING = (
    "Each verdict follows from a 95 % interval and a rule that stands beside it. Undecided means that the "
    "interval reaches across the rule's bound. With one seed an interval is over test tasks and speaks of that one "
    "training; with several it also holds the spread between trainings."
)
_UNPAIRED = (
    "Gains in accuracy are paired task by task. Differences of losses and of distances between learners (Z3, Z9), and "
    "between steps (Z3), treat the two as independent, although both are on the same tasks: these intervals are "
    "conservative, rather too wide than too narrow."
)


def build_page(frame: pd.DataFrame, made: HowMade, learners: Sequence[Learner], inner_lr: float) -> Page:
    """Build the report of a study.

    Args:
        frame: the tidy table, with the columns of `analyses.table`.
        made: what made it.
        learners: what was trained, those of the sweep in its order.
        inner_lr: α of the inner loop.

    Raises:
        MetaprobeError: a column is missing, or two rows give the same quantity of the same seed.
    """
    study = ZhouTable(entries_of(frame), tuple(learners), made.trained_steps, made.n_way, inner_lr)
    task = f"{made.n_way}-way {made.n_shot}-shot"
    found = answer(study, made.data, task)
    seeds = len(study.seeds)
    overview = claims_table(judgements(study), _UNPAIRED)
    return Page(
        title=f"Do tasks fall into groups, and does an initialisation each help? {made.data}, {task}",
        question=(
            "When tasks come from several domains, do the parameters that MAML adapts to them fall into groups by "
            "domain, and is it better to train an initialisation for each group? The study of Zhou et al. (2021) [1], "
            "made again on this data."
        ),
        facts=(
            ("Data", made.data),
            ("Tasks", f"{task}, {made.n_query} queries a class in training, {made.test_queries} in tests"),
            ("Inner steps", str(made.trained_steps)),
            ("Trainings of each learner", f"{seeds} seed{'s' * (seeds != 1)}"),
            *made.data_facts,
        ),
        headline=found.headline,
        answer=found.sentences,
        rules=RULES,
        sections=(
            Section("overview", "The claims, one by one", (_READING,), (), (overview,)),
            sections.accuracy(study, frame),
            sections.usage(study, frame),
            sections.agreement(study, frame),
            sections.embedding(study, frame),
            sections.steps(study, frame),
            sections.sweep(study, frame),
            sections.bound(study, frame),
            made_section(made),
        ),
        references=tuple(line for work in BIBLIOGRAPHY for line in cited(work)),
        bibtex=tuple(entry for work in BIBLIOGRAPHY for entry in entries(work)),
    )
