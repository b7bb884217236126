"""What can be measured on checkpoints of runs, and the tables it gives: functions that steps call, by their kinds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from metaprobe.analyses.clustering.bound import bound_terms
from metaprobe.analyses.clustering.clusters import agreement
from metaprobe.analyses.clustering.embedding import EmbeddingPlan, embedding
from metaprobe.analyses.dissimilarity import dissimilarity
from metaprobe.analyses.freezing import all_subsets, freeze
from metaprobe.analyses.learned_rates import learned_rates
from metaprobe.analyses.learning_curves import learning_curves
from metaprobe.analyses.measures.measure import DEFAULTS, MEASURES
from metaprobe.analyses.pairs import Comparisons, StoreOf, compare_trainings
from metaprobe.analyses.similarity import similarity_over_seeds
from metaprobe.analyses.stability import training_stability
from metaprobe.analyses.steps import step_curves
from metaprobe.analyses.table import Table
from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.accuracy import accuracy_of, group_accuracy
from metaprobe.analyses.testing.reuse import reuse_table
from metaprobe.analyses.testing.step_timing import STAGES, time_by_steps
from metaprobe.analyses.testing.timing import CONDITIONS, time_learners
from metaprobe.analyses.theory.plans import LogisticTraining
from metaprobe.analyses.theory.rows import logistic_rows, scalar_rows
from metaprobe.analyses.update_map import update_map
from metaprobe.analyses.weight_distance import weight_distance
from metaprobe.probe.capturing import capture_checkpoint
from metaprobe.trainers.adapt import layers_of
from metaprobe.trainers.checkpoint import Checkpoint, load_checkpoint
from metaprobe.trainers.collapse import collapsed
from metaprobe.trainers.config import TestNorm
from metaprobe.trainers.evaluate import TestHead
from metaprobe.trainers.progress import ProgressLine
from metaprobe.trainers.run import RunFolder

__all__ = ["KINDS", "TEST_QUERIES", "Input", "Kind", "Subject"]

TEST_QUERIES = 15
"""Query images of a class in every test, whatever the run was trained with."""


@dataclass(frozen=True)
class Input:
    """A checkpoint of a run, what the study calls what was trained, the seed, and the algorithm that trained it."""

    path: Path
    learner: str
    seed: int
    algorithm: str

    @property
    def store(self) -> Path:
        """Where the activations of the checkpoint are captured to."""
        return self.path.parent.parent / "captures" / f"{self.path.stem}.h5"


@dataclass(frozen=True)
class Subject:
    """What a measurement is made on: checkpoints, data to test them on, how many tasks, and what tells the progress."""

    inputs: tuple[Input, ...]
    data: Any
    tasks: int
    bar: ProgressLine

    @property
    def path(self) -> Path:
        """Where the first checkpoint lies."""
        return self.inputs[0].path

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The first checkpoint."""
        return load_checkpoint(self.path)

    @property
    def plan(self) -> TestPlan:
        """So many test tasks, always the same, of which each has a row of its own."""
        return TestPlan(self.tasks, n_query=TEST_QUERIES, device=self.checkpoint.config.device, per_task=True)

    def counted(self, total: int) -> Callable[[int], None]:
        """Return what counts tasks just done towards a total."""
        done = 0

        def advance(tasks: int) -> None:
            nonlocal done
            done += tasks
            self.bar.reach(done, total)

        return advance


def _refuse_nothing(data: Any, tasks: int) -> None:
    """Take any data, and any number of tasks."""


@dataclass(frozen=True)
class Kind:
    """A kind of measurement."""

    function: Callable[..., Table]  # from a `Subject`, and options by their names, to the table
    # "checkpoint", of each run and name; "first", of the first run alone; "seeds", of all runs of a learner, by name;
    # "study", of all runs
    per: Literal["checkpoint", "first", "seeds", "study"] = "checkpoint"
    stores: bool = False  # whether it reads what was captured from the checkpoints, and not them
    metrics: bool = False  # whether it reads metrics.jsonl of the checkpoint's run, too
    common: str = ""  # key of the learner of the same seed whose last checkpoint it reads too; "" for none
    training: bool = False  # whether it is of how a run was trained, of which an imported one says nothing
    alone: bool = False  # whether nothing may run beside it, as where it measures time
    # refuses data, or a number of tasks, that it cannot be made on
    check: Callable[[Any, int], object] = _refuse_nothing


def _tested(analysis: Callable[..., Table], on: Subject, **options: Any) -> Table:
    return analysis(on.checkpoint, on.data, on.plan, advance=on.counted(on.tasks), **options)


def _by_domain(analysis: Callable[..., Table], more: int, on: Subject, **options: Any) -> Table:
    # so many tasks of each domain, and `more` times as many of all together
    advance = on.counted(on.tasks * (len(on.data.domain_names) + more) + options.get("fit_tasks", 0))
    return analysis(on.checkpoint, on.data, on.plan, advance=advance, **options)


def _embedding(on: Subject) -> Table:
    # tasks of a learner with clusters are assigned, and adapted from its base and from its own initialisations
    passes = 1 if on.checkpoint.clusters is None else 3
    return _by_domain(embedding, (passes - 1) * len(on.data.domain_names), on)


def _accuracy(
    on: Subject,
    heads: Sequence[TestHead] = ("own",),
    steps: Sequence[int] = (),
    test_steps: int | None = None,
    norm: TestNorm | None = None,
) -> Table:
    # rows of queries normalised by another norm than in training say so in `view`: they are of another test
    plan = dataclasses.replace(on.plan, norm=norm)
    advance = on.counted(on.tasks * (len(heads) + len(steps)))
    test = partial(accuracy_of, on.checkpoint, on.data, plan, advance=advance)
    found = [test(head=head, inner_steps=test_steps if head == "own" else None) for head in heads]
    found += [test(inner_steps=count) for count in steps]
    return Table.of(dataclasses.replace(row, view=norm) for table in found for row in table.rows)


def _freezing(
    on: Subject, steps: Sequence[int] = (), subsets: bool = False, test_steps: int | None = None, **how: Any
) -> Table:
    counts = tuple(dict.fromkeys((test_steps or on.checkpoint.adaptation.steps, *steps)))
    frozen = all_subsets(layers_of(on.checkpoint.network())[:-1]) if subsets else None
    how = {"random_row": False, "frozen": frozen, "inner_steps": counts, **how}
    return freeze(on.path, on.data, on.plan, progress=on.bar.reach, **how)


def _reuse(on: Subject, view: str | None = None) -> Table:
    # the body without linear layers before the head; and with its own untrained network, whose rows are left out: those
    # of a study's learners may be of other networks. Where a study tests the same learner otherwise too, `view` parts
    # the rows
    body = layers_of(on.checkpoint.network())[: -1 - len(on.checkpoint.config.linnet)]
    steps = on.checkpoint.adaptation.steps
    table = freeze(on.path, on.data, on.plan, frozen=((), body), nil_head=True, progress=on.bar.reach)
    rows = (*(row for row in table.rows if row.algorithm != "random"), *reuse_table(table, body, steps).rows)
    return Table.of(dataclasses.replace(row, view=view) for row in rows)


def _collapsed(on: Subject) -> Table:
    rows = accuracy_of(collapsed(on.checkpoint), on.data, on.plan, advance=on.counted(on.tasks)).rows
    of = on.checkpoint.fingerprint[:12]  # whose function it is; the collapsed one is in no file
    return Table.of(dataclasses.replace(row, view="collapsed", checkpoint=of) for row in rows)


def _logistic_theory(on: Subject, how: Sequence[LogisticTraining]) -> Table:
    return Table.of(row for one in how for row in logistic_rows(one, on.tasks).rows)


def _noted(analysis: Callable[[RunFolder], Table], on: Subject) -> Table:
    # of what its run noted down while it trained
    rows = analysis(RunFolder(on.path.parent.parent)).rows
    return Table.of(dataclasses.replace(row, checkpoint=on.checkpoint.fingerprint[:12]) for row in rows)


def _capture(on: Subject, steps: Literal["last", "all"] = "last", test_steps: int | None = None) -> Table:
    how = {"n_query": TEST_QUERIES, "device": on.plan.device, "advance": on.counted(on.tasks)}
    store = on.inputs[0].store
    capture_checkpoint(on.path, on.data, store, tasks=on.tasks, steps=steps, inner_steps=test_steps, **how)
    return Table()


def _similarity(on: Subject, measures: Sequence[str] = (), **how: Any) -> Table:
    chosen = tuple(MEASURES[name] for name in measures) or DEFAULTS
    return similarity_over_seeds([one.store for one in on.inputs], chosen, **how)


def _pairs(on: Subject, wanted: Comparisons, **how: Any) -> Table:
    stores = [StoreOf(one.store, one.learner, one.seed, one.algorithm) for one in on.inputs]
    return compare_trainings(stores, wanted, progress=on.bar.reach, **how)


def _timing(on: Subject, rounds: int) -> Table:
    return time_learners(on.checkpoint.config, on.data, rounds=rounds, advance=on.counted(rounds * len(CONDITIONS)))


def _step_timing(on: Subject, rounds: int, steps: Sequence[int]) -> Table:
    configs = {one.learner: load_checkpoint(one.path).config for one in reversed(on.inputs)}  # of the first seed
    two = {name: configs[name] for name in dict.fromkeys(one.learner for one in on.inputs)}
    advance = on.counted(rounds * len(steps) * len(STAGES))
    return time_by_steps(two, on.data, steps, rounds=rounds, advance=advance)


KINDS: dict[str, Kind] = {
    "accuracy": Kind(_accuracy),
    "group_accuracy": Kind(partial(_by_domain, group_accuracy, 1)),
    "freezing": Kind(_freezing),
    "distance": Kind(lambda on, test_steps=None: weight_distance(on.path, on.data, on.plan, test_steps)),
    "dissimilarity": Kind(
        lambda on, test_steps=None: dissimilarity(on.path, on.data, on.plan, test_steps, on.counted(on.tasks))
    ),
    "reuse": Kind(_reuse),
    "collapsed": Kind(_collapsed),
    "update_map": Kind(partial(_tested, update_map)),
    "scalar_theory": Kind(lambda on, how: scalar_rows(how), per="first"),
    "logistic_theory": Kind(_logistic_theory, per="first"),
    "learned_rates": Kind(lambda on: learned_rates(on.checkpoint)),
    "stability": Kind(partial(_noted, training_stability), metrics=True, training=True),
    "curves": Kind(partial(_noted, learning_curves), metrics=True, training=True),
    "steps": Kind(partial(_tested, step_curves)),
    "clusters": Kind(partial(_by_domain, partial(agreement, with_usage=True), 0)),
    "embedding": Kind(
        _embedding,
        check=lambda data, tasks: EmbeddingPlan().check(tasks * len(data.domain_names)),
    ),
    "bound": Kind(  # the common optimum is found from the second checkpoint
        lambda on, **how: _tested(bound_terms, on, common=load_checkpoint(on.inputs[1].path), **how), common="base"
    ),
    "capture": Kind(_capture),  # into the checkpoint's store: no rows
    "similarity": Kind(_similarity, per="seeds", stores=True),
    "pairs": Kind(_pairs, per="study", stores=True),
    "timing": Kind(_timing, per="first", alone=True, training=True),
    "step_timing": Kind(_step_timing, per="study", alone=True, training=True),
}
"""What a `Measurement` may ask for, by its kind."""
