"""The studies, one a paper: what to train, what to measure, which claims it answers. No torch until one runs."""

from __future__ import annotations

from reports.studies.raghu2020 import RAGHU2020
from reports.studies.request import StudyRequest
from reports.studies.study import PRESETS, Preset, Study
from reports.studies.zhou2021 import ZHOU2021
from trainers.errors import unknown_name

__all__ = ["PRESETS", "STUDIES", "Preset", "Study", "StudyRequest", "study_named"]

STUDIES: dict[str, Study] = {study.name: study for study in (RAGHU2020, ZHOU2021)}


def study_named(name: str) -> Study:
    """Return a study of the registry.

    Raises:
        MetaprobeError: there is none of that name; the message lists them.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    return STUDIES[name]
