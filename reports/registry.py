"""The studies that there are, by name. No torch until one is run."""

from __future__ import annotations

from metaprobe.reports.papers.antoniou2019.study import ANTONIOU2019
from metaprobe.reports.papers.arnold2021.study import ARNOLD2021
from metaprobe.reports.papers.raghu2020.study import RAGHU2020
from metaprobe.reports.papers.zhou2021.study import ZHOU2021
from metaprobe.reports.study.study import Study
from metaprobe.trainers.errors import entry_named
from metaprobe.trainers.plugins import Registry

__all__ = ["STUDIES", "study_named"]

STUDIES = Registry("studies", Study, (RAGHU2020, ZHOU2021, ARNOLD2021, ANTONIOU2019))
"""All studies, in the order in which they are listed."""


def study_named(name: str) -> Study:
    """Return a study; a name that none has is a `MetaprobeError` that lists them, close ones first."""
    return entry_named("study", name, STUDIES)
