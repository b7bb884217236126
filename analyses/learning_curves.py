"""What a run noted down while it trained: loss and accuracy at each validation."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.accuracy import task_rows
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.checkpoint_format import read_metadata
from metaprobe.trainers.intervals import PERCENT, POSITIVE, of_half_width, too_few
from metaprobe.trainers.run import TASK_ACCURACY, TASK_LOSS, RunFolder
from metaprobe.trainers.task_kinds import CLASSIFICATION

__all__ = ["learning_curves"]


def learning_curves(folder: RunFolder) -> Table:
    """Return a run's loss (nats) and accuracy (percent) at each validation, from its metrics.jsonl.

    Args:
        folder: of the run.

    Returns:
        Rows "train_loss" and "train_accuracy", means over the outer steps since the validation before; "val_loss" and
        "val_accuracy" with an interval over the validation tasks; and both of each of those tasks, the same in every
        run of the same data, way and shot, where the run noted them down.

    Raises:
        MetaprobeError: its tasks have no classes.
        UnreadableInput: the folder is no run, or damaged, or lines of its metrics.jsonl were lost.
    """
    config = folder.read_config()
    if config.loss != CLASSIFICATION.loss:
        raise MetaprobeError(f"{folder.path} is a run of tasks without classes, so there is no accuracy to draw")
    single = {"loss": folder.read_tasks(TASK_LOSS), "accuracy": folder.read_tasks(TASK_ACCURACY)}
    rows, since, records, last = [], [], folder.read_metrics(), folder.checkpoint("last")
    if last.is_file() and len(records) < (done := read_metadata(last).iteration):
        raise UnreadableInput(f"{folder.metrics_file} ends at iteration {len(records)}; the run has taken {done}")
    for record in records:
        since.append(record)
        if "val_loss" not in record:
            continue
        iteration = int(record["iteration"])
        identity = Row(
            algorithm=config.algorithm,
            update_rule=config.update_rule,
            seed=config.seed,
            iteration=iteration,
            measure="",
            value=None,
            source=folder.metrics_file.name,
        )
        for name, limits, queries in (
            ("loss", POSITIVE, None),
            ("accuracy", PERCENT, config.n_way * config.val_query),
        ):
            mean = statistics.fmean(step[f"train_{name}"] for step in since)
            val = of_half_width(
                record[f"val_{name}"], record[f"val_{name}_half_width"], config.val_tasks, limits, queries
            )
            told = {"low": val.low, "high": val.high, "reason": too_few(config.val_tasks) or None}
            rows += [
                dataclasses.replace(identity, measure=f"train_{name}", value=mean, n=len(since) * config.meta_batch),
                dataclasses.replace(identity, measure=f"val_{name}", value=val.value, n=config.val_tasks, **told),
            ]
            values = np.array(single[name].get(iteration, []))
            rows += task_rows(identity, f"val_{name}", values, range(len(values)))
        since = []
    return Table.of(rows)
