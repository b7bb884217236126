"""What is measured on the runs of the study: functions that steps call, in this process or in another."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path

from analyses.bootstrap import REPLICATES
from analyses.freezing import all_subsets, freeze
from analyses.image_null import PERMUTATIONS
from analyses.similarity import similarity_over_seeds
from analyses.table import Row, Table
from analyses.testing import TestPlan
from analyses.testing.accuracy import accuracy_of
from analyses.testing.heads import compare_heads
from analyses.testing.timing import time_learners
from analyses.weight_distance import weight_distance
from reports.studies.raghu2020.pairs.rows import StoreOf, study_pairs
from reports.studies.runs import HEADLESS, NEW_HEAD
from trainers.adapt import layers_of
from trainers.checkpoint import load_checkpoint
from trainers.config import TrainConfig
from trainers.run import RunFolder
from trainers.tasks.imageset import ImageSet

__all__ = [
    "TEST_QUERIES",
    "Plan",
    "accuracies",
    "distances",
    "freezing",
    "learning_curves",
    "pairs",
    "similarities",
    "timing",
]

TEST_QUERIES = 15
"""Query images of a class in every test, whatever the run was trained with."""

Advance = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much to measure.

    Attributes:
        tasks: test tasks behind an accuracy.
        capture_tasks: test tasks behind similarities and distances, and behind freezing in regimes other than MAML.
        head_steps: test-time steps beside the trained number, for what freezing costs when the head may take more.
        rounds: how often each learner is timed.
        replicates: resamples of tasks behind the interval of a similarity.
        permutations: of images, behind its null.
        subsets: whether to freeze every set of layers of MAML's body, not only blocks from the first layer on.
        seed: names the test tasks.
    """

    tasks: int
    capture_tasks: int
    head_steps: tuple[int, ...] = (10, 30)
    rounds: int = 30
    replicates: int = REPLICATES
    permutations: int = PERMUTATIONS
    subsets: bool = False
    seed: int = 0

    def tests(self, tasks: int, device: str) -> TestPlan:
        """Return this as a plan of so many test tasks, of which each has a row of its own."""
        return TestPlan(tasks=tasks, n_query=TEST_QUERIES, seed=self.seed, device=device, per_task=True)


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


def accuracies(checkpoint: Path, plan: Plan, imageset: ImageSet, advance: Advance) -> Table:
    """Test a run's last checkpoint with the NIL head; where it has a head, with that too, and before adaptation."""
    found = load_checkpoint(checkpoint)
    tests, algorithm = plan.tests(plan.tasks, found.config.device), found.config.algorithm
    if algorithm in HEADLESS:
        return accuracy_of(found, imageset, tests, head="nil", advance=advance)
    heads = compare_heads(found, imageset, tests, advance=advance)
    if algorithm == NEW_HEAD:
        return heads
    if algorithm != "anil":  # the freezing table has the same tests with the learner's own head; of MAML, with both
        known = ("own", "nil") if algorithm == "maml" else ("own",)
        heads = Table.of(row for row in heads.rows if row.head not in known)
    return heads + accuracy_of(found, imageset, tests, inner_steps=0, advance=advance)


def freezing(checkpoint: Path, plan: Plan, last: bool, imageset: ImageSet, advance: Advance) -> Table:
    """Freeze layers of a checkpoint; of the last one with several numbers of steps, and with the untrained control.

    Args:
        checkpoint: the learner.
        plan: how much.
        last: whether it is the last of its run.
        imageset: where test tasks come from.
        advance: called with the number of tasks just done.
    """
    found = load_checkpoint(checkpoint)
    config, trained = found.config, found.adaptation.steps
    full = config.algorithm in ("maml", "fomaml")
    layers = layers_of(found.network())
    return freeze(
        checkpoint,
        imageset,
        plan.tests(plan.tasks if full else plan.capture_tasks, config.device),
        frozen=all_subsets(layers[:-1]) if plan.subsets and last and config.algorithm == "maml" else None,
        inner_steps=(trained, *(n for n in plan.head_steps if last and n != trained)),
        adapts=None if full else "all",
        nil_head=last and config.algorithm == "maml",  # for the reuse index; of the untrained network, too
        random_row=last and config.algorithm == "maml",  # FOMAML would test the same untrained network
        progress=counted(advance),
    )


def counted(advance: Advance) -> Callable[[int, int], None]:
    """Return what takes (done, in all) and hands on what was done since."""
    before = 0

    def progress(done: int, _: int) -> None:
        nonlocal before
        advance(done - before)
        before = done

    return progress


def distances(checkpoints: tuple[Path, ...], plan: Plan, imageset: ImageSet, advance: Advance) -> Table:
    """Measure how far adaptation moves the weights of each checkpoint."""
    tables = []
    for path in checkpoints:
        tests = plan.tests(plan.capture_tasks, load_checkpoint(path).config.device)
        tables.append(weight_distance(path, imageset, tests))
        advance(plan.capture_tasks)
    return sum(tables, Table())


def similarities(stores: tuple[Path, ...], plan: Plan, imageset: ImageSet, advance: Advance) -> Table:
    """Compare before with after adaptation in stores of several seeds of one learner."""
    del imageset, advance  # what stores were captured from is in them
    return similarity_over_seeds(stores, replicates=plan.replicates, permutations=plan.permutations)


def pairs(stores: tuple[StoreOf, ...], plan: Plan, imageset: ImageSet, advance: Advance) -> Table:
    """Compare learners and seeds with one another."""
    del imageset
    return study_pairs(stores, replicates=plan.replicates, permutations=plan.permutations, progress=counted(advance))


def timing(config: TrainConfig, rounds: int, imageset: ImageSet, advance: Advance) -> Table:
    """Time MAML, FOMAML and ANIL in turn."""
    return time_learners(config, imageset, rounds=rounds, advance=advance)
