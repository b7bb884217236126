"""How steadily a run learned: the mean of its validations, and how often one fell far below the one before."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.accuracy import mean_row, task_rows
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.intervals import PERCENT
from metaprobe.trainers.run import TASK_ACCURACY, RunFolder

__all__ = ["FALL", "training_stability"]

FALL = 5.0
"""Points by which a validation lies below the one before, for it to count as a fall: a convention."""


def training_stability(folder: RunFolder) -> Table:
    """Return how fast and how steadily a run learned, from its validations.

    Args:
        folder: of the run, at whose validations the accuracy of each task was noted down.

    Returns:
        "val_mean", the mean over training of the validation accuracy, percent: higher the faster and the higher a run
        learns; with an interval over the validation tasks, and of each of them. "val_falls", the share of validations,
        percent, that lie more than `FALL` points below the one before: one number a run, without an interval.

    Raises:
        MetaprobeError: there are fewer than two validations, or they have no tasks.
        UnreadableInput: the folder is no run, or damaged.
    """
    config, single = folder.read_config(), folder.read_tasks(TASK_ACCURACY)
    curves = np.array([values for _, values in sorted(single.items())], dtype=np.float64)  # (validation, task)
    if len(curves) < 2 or curves.ndim < 2 or not curves.shape[1]:
        told = f"{folder.path}: {len(curves)} validations with the accuracy of each task"
        raise MetaprobeError(f"{told}; how steadily a run learned takes at least two (train with --val-every)")
    identity = Row(
        algorithm=config.algorithm,
        update_rule=config.update_rule,
        seed=config.seed,
        iteration=max(single),
        measure="val_mean",
        value=None,
        source=folder.metrics_file.name,
    )
    tasks, means = curves.mean(axis=0), curves.mean(axis=1)
    falls = [before - after > FALL for before, after in itertools.pairwise(means)]
    rows = [mean_row(identity, "val_mean", tasks, PERCENT), *task_rows(identity, "val_mean", tasks, range(len(tasks)))]
    share = dataclasses.replace(identity, measure="val_falls", value=100.0 * float(np.mean(falls)), n=len(falls))
    return Table.of([*rows, share])
