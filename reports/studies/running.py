"""Running a study: its steps, then its page; or only a plan of what there is to do and how long it takes."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reports.studies.request import StudyRequest
from reports.studies.steps import Results, check_jobs, run_steps
from reports.studies.study import Preset, Study
from reports.studies.works import Training
from trainers.device import device_named
from trainers.errors import MetaprobeError
from trainers.files import write_text

if TYPE_CHECKING:
    from reports.studies.steps import Step
    from trainers.tasks.imageset import ImageSet

__all__ = ["Declared", "declared", "report_failures", "run_study"]


@dataclasses.dataclass(frozen=True)
class Declared:
    """A study made ready for its data: what was asked for, how much that is, the images and the steps."""

    request: StudyRequest
    amount: Preset
    imageset: ImageSet
    steps: tuple[Step, ...]


def declared(
    study: Study, request: StudyRequest, out: Path, data_root: Path | None, download: bool, jobs: int
) -> Declared:
    """Return the steps of a study; nothing is done or written.

    Args:
        study: the study.
        request: what is asked of it.
        out: the folder for its runs and its page.
        data_root: where data lie.
        download: fetch them when they are missing.
        jobs: processes side by side.

    Raises:
        MetaprobeError: something asked for cannot be, or a folder holds another run.
    """
    from trainers.tasks import load_for

    check_jobs(jobs)
    device_named(request.device)  # what cannot work is told before data are read
    request = request.of(study)
    amount = request.amount(study)
    imageset = load_for(request.run_config(amount, "maml", 0), data_root=data_root, download=download)
    steps = study.declare(request, amount, out, imageset)
    for step in steps:
        if isinstance(step.work, Training):
            step.work.refuse_another()
    return Declared(request, amount, imageset, steps)


def run_study(
    study: Study, request: StudyRequest, out: Path, data_root: Path | None, download: bool, jobs: int = 1
) -> tuple[Path, Results]:
    """Train, capture, measure and write the page of a study; what was done before is not done again.

    Args:
        study: the study.
        request: what is asked of it.
        out: the folder for its runs and its page.
        data_root: where data lie.
        download: fetch them when they are missing.
        jobs: processes side by side.

    Returns:
        The page, and how the steps ended.

    Raises:
        MetaprobeError: as `declared` and `run_steps`; or no step of the study was done, so that there is no page.
    """
    ready = declared(study, request, out, data_root, download, jobs)
    results = run_steps(ready.steps, ready.imageset, jobs)
    report_failures(results, out)
    return study.write(ready.request, ready.amount, out, ready.imageset, results), results


def report_failures(results: Results, out: Path) -> None:
    """Tell on standard error which steps failed; a trace of an error that is not ours goes into a file.

    Raises:
        MetaprobeError: nothing was done at all.
    """
    for name, outcome in results.missing():
        sys.stderr.write(f"{outcome.ending}: {name}: {outcome.reason}\n")
        if outcome.trace:
            path = out / "failures" / f"{name.replace(os.sep, '-').replace(' ', '-')}.txt"
            write_text(path, outcome.trace)
            sys.stderr.write(f"  where it came from: {path}\n")
    if not any(True for _ in results.works()):
        first = next((outcome.reason for _, outcome in results.missing()), "it has none")
        raise MetaprobeError(f"no step of the study was done, so there is nothing to report: {first}")
