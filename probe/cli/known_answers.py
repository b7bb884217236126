"""`metaprobe list measures --known-answers`: measures put to the test on a checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.probe.cli.arguments import check_outputs, load_images, warn_of_few
from metaprobe.probe.cli.inputs import opened
from metaprobe.probe.show import Cell, Grid, as_json, show, write_line

if TYPE_CHECKING:
    from metaprobe.analyses.known_answers import KnownAnswer, Question

__all__ = ["tell_known_answers"]


def tell_known_answers(
    checkpoint: Path | None,
    network: str | None,
    data: str | None,
    data_root: Path | None,
    tasks: int,
    csv: Path | None,
    json: bool,
) -> int:
    """Ask every measure what is known of a checkpoint, or of a small one that is trained for it; show what they say."""
    from metaprobe.analyses.csv_file import csv_text
    from metaprobe.analyses.known_answers import QUESTIONS, KnownAnswer, known_answers
    from metaprobe.analyses.testing import TestPlan
    from metaprobe.trainers.files import write_text
    from metaprobe.trainers.limits import MOST_TASKS, check_whole
    from metaprobe.trainers.progress import ProgressLine
    from metaprobe.trainers.tasks.data import queries_of

    check_whole("tasks", tasks, 1, MOST_TASKS)
    check_outputs((csv,), (checkpoint,) if checkpoint else ())
    with _given_or_trained(checkpoint) as path:
        path, loaded = opened(path, network)
        source = load_images(loaded.config, data, data_root)
        plan = TestPlan(tasks=tasks, n_query=queries_of(source, 15, told=False))
        warn_of_few(tasks)
        with ProgressLine("known answers", tasks, unit="tasks") as bar:
            found = known_answers(path, source, plan, advance=lambda done: bar.advance(steps=done))
    columns = tuple(field.name for field in dataclasses.fields(KnownAnswer))
    rows = [dataclasses.astuple(one) for one in found]
    if csv:
        write_text(csv, csv_text([columns, *rows]))
    if json:
        write_line(as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    elif sys.stdout is not None and sys.stdout.isatty():
        show([_readable(one, [answer for answer in found if answer.question == one.name]) for one in QUESTIONS])
    else:
        show((Grid("known answers", columns, tuple(rows)),))
    return 0


@contextlib.contextmanager
def _given_or_trained(checkpoint: Path | None) -> Iterator[Path]:
    """Yield the checkpoint that was given; or one of MAML, trained on the embedded characters for some seconds."""
    if checkpoint is not None:
        yield checkpoint
        return
    from metaprobe.trainers.config import TrainConfig
    from metaprobe.trainers.outer_loop import train
    from metaprobe.trainers.tasks import load_data_for

    config = TrainConfig(
        "maml", "glyphs", filters=16, iterations=60, meta_batch=4, inner_steps=3, val_tasks=10, val_every=60
    )
    with tempfile.TemporaryDirectory() as folder:
        train(config, load_data_for(config, None, None, False, None, None), folder)
        yield Path(folder) / "checkpoints" / "last.safetensors"


def _readable(question: Question, answers: Sequence[KnownAnswer]) -> Grid:
    """Return the answers to one question in a form for people."""
    reasons = list(dict.fromkeys(one.reason for one in answers if one.reason))
    rows: list[tuple[Cell, ...]] = []
    for one in answers:
        mark = f" ({reasons.index(one.reason) + 1})" if one.reason else ""
        numbers = tuple(None if number is None else f"{number:.4g}" for number in (one.first, one.second))
        apart = "" if one.difference is None else f"{one.difference:.3g}"
        apart += "" if one.low is None or one.high is None else f" [{one.low:.3g}, {one.high:.3g}]"
        rows.append((one.measure, *numbers, apart, one.result + mark))
    columns = ("measure", question.first, question.second, "difference", "result")
    notes = tuple(f"({number}) {reason}" for number, reason in enumerate(reasons, 1))
    return Grid(question.name, columns, tuple(rows), unbroken=frozenset(columns), notes=notes)
