"""What is measured on a run, kept as CSV in its `measured/`, and measured again only when something changed."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

from analyses.freezing import TestPlan, accuracy_of, freeze
from analyses.heads import compare_heads
from analyses.similarity import similarity
from analyses.table import Row, Table
from analyses.weight_distance import weight_distance
from probe.capturing import capture_checkpoint
from reports.studies.kept import kept_key, measured, read_note
from reports.studies.runs import HEADLESS, NEW_HEAD
from trainers.checkpoint import load_checkpoint
from trainers.progress import ProgressLine
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = ["TEST_QUERIES", "Plan", "learning_curves", "measure_run", "measured_plan"]

TEST_QUERIES = 15
"""Query images of a class in every test, whatever the run was trained with."""

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
        return TestPlan(tasks=tasks, n_query=TEST_QUERIES, seed=self.seed, device=device)


def measure_run(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    """Measure one run: learning curves, accuracies and freezing, similarity, weight distance.

    On a body that was trained without a task head, the NIL head alone is tested; on a new head, it and the NIL head.
    Tables measured before on the same checkpoints, data and plan, by the same versions, are read, not measured again.
    They lie in `measured/`, apart from the `tables/` of a report that is written into the run's folder.

    Args:
        folder: a run that has ended.
        imageset: where test tasks come from.
        plan: how much.
    """
    key = _key(folder, imageset, plan)
    tables = [learning_curves(folder)] if "distance" in _parts(folder) else []
    for name, measure in _parts(folder).items():
        tables.append(measured(folder, name, key, lambda measure=measure: measure(folder, imageset, plan)))
    return sum(tables, Table())


def measured_plan(folder: RunFolder) -> Plan | None:
    """Return the plan that everything measured on a run was measured with; None where something is missing."""
    notes = [read_note(folder, name) for name in _parts(folder)]
    plans = [note.get("plan") if note else None for note in notes]
    if any(plan != plans[0] for plan in plans):
        return None
    plan = plans[0] if isinstance(plans[0], dict) else {}
    tasks, capture_tasks = plan.get("tasks"), plan.get("capture_tasks")
    if not isinstance(tasks, int) or not isinstance(capture_tasks, int) or min(tasks, capture_tasks) < 1:
        return None
    return Plan(tasks=tasks, capture_tasks=capture_tasks)


def _parts(folder: RunFolder) -> dict[str, Callable[[RunFolder, ImageSet, Plan], Table]]:
    """The measurements of a run; a body that does not adapt is not frozen or compared, as that would say nothing."""
    algorithm = folder.read_config().algorithm
    if algorithm in (*HEADLESS, NEW_HEAD):
        return {"accuracy": _accuracies}
    if algorithm == "anil":
        return {"accuracy": _accuracies, "distance": _distances}
    return {"accuracy": _accuracies, "distance": _distances, "freezing": _freezing, "similarity": _similarity}


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
    """The run's last checkpoint with the NIL head; where it has a head, that too, and before adaptation.

    Accuracies with its own head are left to the freezing table, where there is one.
    """
    checkpoint = load_checkpoint(folder.checkpoint("last"))
    tests, algorithm = plan.tests(plan.tasks, checkpoint.config.device), checkpoint.config.algorithm
    headless, new_head = algorithm in HEADLESS, algorithm == NEW_HEAD
    times = 1 if headless else 2 if new_head else 3
    with ProgressLine(f"accuracy of {folder.path.name}", times * plan.tasks, unit="tasks") as bar:

        def advance(done: int) -> None:
            bar.advance(steps=done)

        if headless:
            return accuracy_of(checkpoint, imageset, tests, head="nil", advance=advance)
        heads = compare_heads(checkpoint, imageset, tests, advance=advance)
        if new_head:
            return heads
        if "freezing" in _parts(folder):
            heads = Table.of(row for row in heads.rows if row.head != "own")
        return heads + accuracy_of(checkpoint, imageset, tests, inner_steps=0, advance=advance)


def _freezing(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    config = folder.read_config()
    stages = _stages(folder, *_STAGES)
    tables = []
    for stage in stages:
        steps = load_checkpoint(folder.checkpoint(stage)).adaptation.steps
        with ProgressLine(f"freezing {folder.path.name} at {stage}", 0, unit="tasks") as bar:
            last = stage == "last"
            tables.append(
                freeze(
                    folder.checkpoint(stage),
                    imageset,
                    plan.tests(plan.tasks, config.device),
                    inner_steps=(steps, *(n for n in plan.head_steps if last and n != steps)),
                    random_row=last and config.algorithm == "maml",  # FOMAML would test the same untrained network
                    progress=bar.reach,
                )
            )
    return sum(tables, Table())


def _similarity(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    tables = []
    for stage in _stages(folder, *_STAGES):
        store = folder.path / "captures" / f"{stage}.h5"
        with ProgressLine(f"capture of {folder.path.name} at {stage}", plan.capture_tasks, unit="tasks") as bar:
            capture_checkpoint(
                folder.checkpoint(stage),
                imageset,
                store,
                tasks=plan.capture_tasks,
                steps="all" if stage == "last" else "last",
                seed=plan.seed,
                n_query=TEST_QUERIES,
                device=folder.read_config().device,
                advance=lambda done, bar=bar: bar.advance(steps=done),
            )
        with ProgressLine(f"similarity of {folder.path.name} at {stage}", 1, unit="stores") as bar:
            tables.append(similarity(store))
            bar.advance()
    return sum(tables, Table())


def _distances(folder: RunFolder, imageset: ImageSet, plan: Plan) -> Table:
    tests = plan.tests(plan.capture_tasks, folder.read_config().device)
    stages = _stages(folder, "start", *_STAGES)
    tables = []
    with ProgressLine(f"weight distance of {folder.path.name}", len(stages), unit="checkpoints") as bar:
        for stage in stages:
            tables.append(weight_distance(folder.checkpoint(stage), imageset, tests))
            bar.advance()
    return sum(tables, Table())


def _stages(folder: RunFolder, *names: str) -> tuple[str, ...]:
    """Return the names with one an iteration, the later: a very short run has fewer stages than names."""
    at = {load_checkpoint(folder.checkpoint(name)).iteration: name for name in names}
    return tuple(at[iteration] for iteration in sorted(at))


def _key(folder: RunFolder, imageset: ImageSet, plan: Plan) -> dict[str, Any]:
    """What a table depends on, as it comes back from JSON."""
    return kept_key(folder, imageset, ("start", *_STAGES), plan=dataclasses.asdict(plan), test_queries=TEST_QUERIES)
