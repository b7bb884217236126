"""What a study is: a declaration of what to train and measure, and the page that it makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.studies.request import StudyRequest
    from reports.studies.steps import Results, Step
    from trainers.tasks.imageset import ImageSet

__all__ = ["PRESETS", "Preset", "Study"]


@dataclasses.dataclass(frozen=True)
class Preset:
    """How much a study does; what a study does not know of is 0, empty or None.

    Attributes:
        iterations: outer steps of each run.
        seeds: runs of each algorithm.
        tasks: test tasks behind an accuracy (of each domain, where there are several).
        capture_tasks: test tasks behind similarities, distances, curves and embeddings.
        val_tasks: validation tasks behind a point of a learning curve.
        more_iterations: outer steps of a run that starts from the checkpoint of another.
        group_tasks: test tasks of each domain whose clusters are counted.
        cluster_tasks: training tasks that clusters are found in.
        sweep: the numbers of clusters to train with, the first being the one that all else is measured on.
        large: whether to train a larger network too, as a control.
        head_steps: inner steps at test, beside the trained number, that freezing is tested with.
        rounds: how often each learner is timed.
        replicates: resamples of tasks behind the interval of a similarity.
        permutations: of images, behind its null.
        subsets: whether to freeze every set of layers.
    """

    iterations: int
    seeds: int
    tasks: int
    capture_tasks: int
    val_tasks: int
    more_iterations: int = 0
    group_tasks: int = 0
    cluster_tasks: int = 0
    sweep: tuple[int, ...] = ()
    large: bool | None = None
    head_steps: tuple[int, ...] = ()
    rounds: int = 0
    replicates: int = 0
    permutations: int = 0
    subsets: bool | None = None


PRESETS = ("quick", "full")


@dataclasses.dataclass(frozen=True)
class Study:
    """A paper's questions, put to one's own learners.

    Attributes:
        name: as on the command line.
        summary: one plain sentence.
        citation: the paper.
        presets: how much it does, by name.
        defaults: fields of a request that are None unless asked for otherwise, and what the study takes then.
        declare: (request, amount, out, images) → the steps: what to train, to capture and to measure.
        write: (request, amount, out, images, how the steps ended) → the report's path.
        report: (run folders, out, data_root, tasks, capture_tasks, jobs) → the report's path and how steps ended;
            measures what is not measured yet and writes. Numbers of tasks that are None are those already measured, or
            the full preset's. None for a study that reports on its own runs alone.
    """

    name: str
    summary: str
    citation: str
    presets: Mapping[str, Preset]
    defaults: Mapping[str, Any]
    declare: Callable[[StudyRequest, Preset, Path, ImageSet], tuple[Step, ...]]
    write: Callable[[StudyRequest, Preset, Path, ImageSet, Results], Path]
    report: Callable[[list[Path], Path, Path | None, int | None, int | None, int], tuple[Path, Results]] | None = None
