"""What is measured on a run, kept as CSV in its `tables/`, and measured again only when something changed."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Callable

from analyses.freezing import TestPlan, accuracy_of, freeze
from analyses.similarity import similarity
from analyses.table import Row, Table
from analyses.weight_distance import weight_distance
from probe.capturing import capture_checkpoint
from trainers.checkpoint import load_checkpoint
from trainers.files import write_text
from trainers.progress import ProgressLine
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["Plan", "learning_curves", "measure_run"]

_STAGES = ("third", "two-thirds", "last")  # 1/3, 2/3 and all of training (claim R3)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        tasks: test tasks behind an accuracy.
        capture_tasks: test tasks behind similarities and distances.
        head_steps: test-time steps beside the trained number, for what freezing costs when the head may take more.
        seed: names the test tasks.
    """

    tasks: int
    capture_tasks: int
    head_steps: tuple[int, ...] = (10, 30)
    seed: int = 0

    def tests(self, tasks: int, device: str) -> TestPlan:
        """Return this as a plan of so many test tasks."""
        return TestPlan(tasks=tasks, seed=self.seed, device=device)


def measure_run(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    """Measure one run: learning curves, accuracies and freezing, similarity, weight distance.

    Tables measured before on the same checkpoints, data and plan are read, not measured again.

    Args:
        folder: a run that has ended.
        imageset: where test tasks come from.
        plan: how much.
    """
    parts: dict[str, Callable[[RunFolder, ImageSet, Plan], Table]] = {"accuracy": _accuracies, "distance": _distances}
    if (
        folder.read_config().algorithm != "anil"
    ):  # ANIL's body does not adapt: freezing it and comparing it says nothing
        parts |= {"freezing": _freezing, "similarity": _similarity}
    key = _key(folder, imageset, plan)
    tables = [learning_curves(folder)]
    for name, measure in parts.items():
        path, note = folder.path / "tables" / f"{name}.csv", folder.path / "tables" / f"{name}.json"
        if path.exists() and note.exists() and note.read_text(encoding="utf-8") == key:
            tables.append(Table.read_csv(path))
            continue
        table = measure(folder, imageset, plan)
        table.write_csv(path)
        write_text(note, key)  # after the table: a note without its table would vouch for an older one
        tables.append(table)
    return sum(tables, Table())


def learning_curves(folder: RunFolder) -> Table:
    """Return a run's loss (nats) and accuracy (percent) at each validation, from its metrics.jsonl.

    A training value is the mean over the outer steps since the validation before; a validation value has its interval
    over the validation tasks.
    """
    config = folder.read_config()
    rows, since = [], []
    for record in folder.read_metrics():
        since.append(record)
        if "val_loss" not in record:
            continue
        identity = Row(
            algorithm=config.algorithm,
            seed=config.seed,
            iteration=int(record["iteration"]),
            measure="",
            value=None,
            source="metrics.jsonl",
        )
        for name in ("loss", "accuracy"):
            mean = statistics.fmean(step[f"train_{name}"] for step in since)
            value, half = record[f"val_{name}"], record[f"val_{name}_half_width"]
            bounds = {"low": value - half, "high": value + half}
            rows += [
                dataclasses.replace(identity, measure=f"train_{name}", value=mean, n=len(since) * config.meta_batch),
                dataclasses.replace(identity, measure=f"val_{name}", value=value, n=config.val_tasks, **bounds),
            ]
        since = []
    return Table.of(rows)


def _accuracies(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    """The run's last checkpoint as it is, before adaptation, and with the NIL head."""
    checkpoint = load_checkpoint(folder.checkpoint("last"))
    tests = plan.tests(plan.tasks, checkpoint.config.device)
    with ProgressLine(f"accuracy of {folder.path.name}", 3 * plan.tasks, unit="tasks") as bar:

        def advance(done: int) -> None:
            bar.advance(steps=done)

        own = accuracy_of(checkpoint, imageset, tests, advance=advance)
        before = accuracy_of(checkpoint, imageset, tests, inner_steps=0, advance=advance)
        nil = accuracy_of(checkpoint, imageset, tests, head="nil", advance=advance)
    # MAML's own accuracy is the first row of its freezing table, on the same tasks.
    return (own if checkpoint.config.algorithm == "anil" else Table()) + before + nil


def _freezing(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    device = folder.read_config().device
    tables = []
    for stage in _STAGES:
        steps = load_checkpoint(folder.checkpoint(stage)).adaptation.steps
        with ProgressLine(f"freezing {folder.path.name} at {stage}", 0, unit="tasks") as bar:
            last = stage == "last"
            tables.append(
                freeze(
                    folder.checkpoint(stage),
                    imageset,
                    plan.tests(plan.tasks, device),
                    inner_steps=(steps, *(n for n in plan.head_steps if last and n != steps)),
                    random_row=last,
                    progress=bar.reach,
                )
            )
    return sum(tables, Table())


def _similarity(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    tables = []
    for stage in _STAGES:
        store = folder.path / "captures" / f"{stage}.h5"
        capture_checkpoint(
            folder.checkpoint(stage),
            imageset,
            store,
            tasks=plan.capture_tasks,
            steps="all" if stage == "last" else "last",
            seed=plan.seed,
        )
        tables.append(similarity(store))
    return sum(tables, Table())


def _distances(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    tests = plan.tests(plan.capture_tasks, folder.read_config().device)
    return sum((weight_distance(folder.checkpoint(s), imageset, tests) for s in ("start", *_STAGES)), Table())


def _key(folder: RunFolder, imageset: ImageSet, plan: Plan) -> str:
    """What a table depends on, as text."""
    checkpoints = {name: load_checkpoint(folder.checkpoint(name)).fingerprint for name in ("start", *_STAGES)}
    parts = {"checkpoints": checkpoints, "data": imageset.fingerprint, "plan": dataclasses.asdict(plan)}
    return json.dumps(parts, indent=1, sort_keys=True) + "\n"
