"""Metrics as TensorBoard reads them: what metrics.jsonl has, in event files beside it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["EventLog", "check_tensorboard"]


def check_tensorboard() -> None:
    """Refuse what needs TensorBoard where it is not installed, as a `MetaprobeError`."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        told = f"--tensorboard needs the tensorboard package ({error})"
        raise MetaprobeError(f"{told}: pip install 'metaprobe[tensorboard]'") from error


class EventLog:
    """The event files of a run: a scalar a number, a histogram a list, at their iterations.

    They are written anew from the lines of metrics.jsonl whenever a run begins or goes on, so that they never have a
    point twice, nor one of an iteration that a killed run lost. Times are those of the run, without its pauses.

    Args:
        folder: where; event files that are there are replaced.
        records: the lines so far.
    """

    def __init__(self, folder: Path, records: Iterable[Mapping[str, float | list[float]]]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for before in folder.glob("events.out.tfevents.*"):
            before.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=0)  # a TensorBoard that looks on forgets what it has
        lines = list(records)
        self._begun = time.time() - (_seconds(lines[-1]) if lines else 0.0)
        for record in lines:
            self.add(record)

    def add(self, record: Mapping[str, float | list[float]]) -> None:
        """Add one line of metrics.jsonl."""
        step, when = record["iteration"], self._begun + _seconds(record)
        for name, value in record.items():
            if isinstance(value, list):
                self._writer.add_histogram(name, np.asarray(value), step, walltime=when)
            elif name != "iteration":
                self._writer.add_scalar(name, value, step, walltime=when)

    def flush(self) -> None:
        """Put what was added into the file."""
        self._writer.flush()

    def close(self) -> None:
        """Put what was added into the file, and close it."""
        self._writer.close()


def _seconds(record: Mapping[str, float | list[float]]) -> float:
    seconds = record["seconds"]
    assert not isinstance(seconds, list)
    return seconds
