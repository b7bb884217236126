"""The reuse index: what share of a learner's gain over random features is there without touching the body."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from analyses.bootstrap import REPLICATES, Interval, bounds, over_seeds, task_draws
from analyses.table import Row, Table
from trainers.errors import MetaprobeError

__all__ = ["reuse_index", "reuse_of_learners", "reuse_table"]


def reuse_index(
    full: Float[np.ndarray, "seed task"],
    frozen: Float[np.ndarray, "seed task"],
    untrained: Float[np.ndarray, "seed task"],
) -> Interval | str:
    """Return the reuse index with its 95 % interval, or why it has no number.

    With mean accuracies over tasks A(full) of a learner that adapts all layers, A(frozen) of the same learner with the
    whole body frozen, and U(frozen) of the untrained network tested like A(frozen), of a seed

        index = (A(frozen) − U(frozen)) / (A(full) − U(frozen)),

    and the mean of that over seeds. 1: the body that training left does all that the adapted one does (reused); 0: it
    is worth no more than random features (relearned). It is not cut to [0, 1]: above 1 adapting the body does harm,
    below 0 the frozen body is worse than random features. What it is better at than its relatives: the cost of freezing
    alone, A(full) − A(frozen), is small too where there was nothing to lose, as in an untrained network; the share of
    accuracy kept, A(frozen)/A(full), is high already at chance; and taking chance for U(frozen) counts as reuse what
    any random convolution gives. U(frozen) must be tested with as many inner steps as A(frozen), so that what a head
    learns in those steps is on both sides of each difference; A(full) is the learner as it was trained.

    What it does not tell apart: with the body frozen the head alone must fit the task, from a start and with a rate
    that were trained for both. Where the index grows with the number of steps, it is the head that lacked them, and
    U(frozen) lacks a trained head, too. The index with the NIL head, which has no weights and takes no steps, is free
    of that on both sides: A(frozen) and U(frozen) are then accuracies of the NIL head on the trained and on the
    untrained body. It is the one to quote where the two disagree; what it asks is whether the features do, not
    whether this head can read them.

    The interval is by the bootstrap: seeds and tasks are drawn together, all three tests on the same draw of tasks
    (`analyses.bootstrap`).

    Args:
        full: accuracy (any unit) of each task with nothing frozen.
        frozen: with the body frozen, of the same tasks and seeds.
        untrained: of the untrained network with the body frozen, likewise.

    Returns:
        The interval; or the reason, when the gain A(full) − U(frozen) of a seed is not above 0: when its own 95 %
        interval, or one of its replicates, reaches 0.

    Raises:
        ValueError: shapes differ or are empty, or a number is not finite.
    """
    parts = [np.asarray(part, dtype=np.float64) for part in (full, frozen, untrained)]
    if any(part.shape != parts[0].shape or part.ndim != 2 or not part.size for part in parts):
        shapes = ", ".join(str(part.shape) for part in parts)
        raise ValueError(f"reuse index: expected three arrays (seed, task) of one shape; got {shapes}")
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("reuse index: every task needs a finite accuracy in all three tests; leave the others out")
    kept, gain = parts[1] - parts[2], parts[0] - parts[2]
    seeds, tasks = gain.shape
    if tasks < 2:
        return "of one task there is no telling whether the gain over random features is above 0"
    draws = task_draws(tasks, REPLICATES)
    gains, keeps = (values @ draws.T / tasks for values in (gain, kept))  # (seed, replicate)
    means = gain.mean(axis=1)
    lows = [bounds(float(mean), row)[0] for mean, row in zip(means, gains, strict=True)]
    if unsure := sum(low <= 0 or row.min() <= 0 for low, row in zip(lows, gains, strict=True)):
        of = "" if seeds == 1 else f" of {unsure} of {seeds} seeds"
        worst = int(np.argmin(lows))
        return (
            f"the gain over random features{of} is not above 0 in every resample ({means[worst]:.1f} on average): with "
            "nothing gained there is nothing to reuse"
        )
    return over_seeds(kept.mean(axis=1) / means, keeps / gains, tasks=tasks)


def reuse_table(table: Table, body: Sequence[str], trained_steps: int) -> Table:
    """Return the reuse index of every learner in a table of tests, at every number of inner steps and with each head.

    A(full) is taken at the trained number of steps, A(frozen) and U(frozen) at each; see `reuse_index`. Where the
    table has the NIL head on both bodies, a row with `head` "nil" follows.

    Args:
        table: with rows of single tasks (`TestPlan.per_task`), of one or more seeds, the untrained network ("random")
            of each among them. Of a learner that has rows with `adapts` "all", those count: as it was trained its head
            alone adapts, and freezing the body changes nothing.
        body: the layers that A(frozen) freezes.
        trained_steps: inner steps of the training.

    Returns:
        Rows "reuse_index" of each seed, whose interval is over tasks, and where there are several one of all, with
        `seed` None, whose interval is over seeds too; `source` names the checkpoints, those of the untrained networks
        last. Learners without all three tests have none.

    Raises:
        MetaprobeError: the table cannot tell two checkpoints of one seed apart, or the tests of a learner are not of
            the same tasks.
    """
    tests, rows = _tests(table), []
    for learner, frozen, steps in list(tests):
        if frozen or steps != trained_steps or learner.algorithm == "random" or learner.head == "nil":
            continue
        if learner.adapts is None and any(who == dataclasses.replace(learner, adapts="all") for who, _, _ in tests):
            continue
        everything = ",".join(body)
        counts = sorted({at for who, names, at in tests if (who, names) == (learner, everything)})
        kinds = [(learner, everything, at) for at in counts]
        for kind in (*kinds, (dataclasses.replace(learner, adapts=None, head="nil"), "", 0)):
            full, kept, floor = tests[learner, frozen, steps], tests.get(kind, {}), _untrained(tests, *kind)
            seeds = [seed for seed in full if seed in kept and seed in floor]
            for some in [(seed,) for seed in seeds] + ([tuple(seeds)] if len(seeds) > 1 else []):
                rows.append(_row([part[seed] for part in (full, kept, floor) for seed in some], len(some)))
    return Table.of(rows)


def reuse_of_learners(table: Table, body: Sequence[str], trained_steps: int) -> Table:
    """Return `reuse_table` of every learner of a study, each on the tasks that it and the untrained network were given.

    Args:
        table: as there, of learners by what the study calls them (`Row.learner`, else their algorithm).
        body: as there.
        trained_steps: as there.

    Raises:
        MetaprobeError: as there.
    """
    single = [row for row in table.rows if row.task is not None and row.measure == "accuracy"]
    control = [row for row in single if row.algorithm == "random"]
    learners: dict[str | None, list[Row]] = defaultdict(list)
    for row in single:
        if row.algorithm != "random":
            learners[row.learner or row.algorithm].append(row)
    rows: list[Row] = []
    for mine in learners.values():  # with all layers adapting a learner may have been tested on fewer tasks
        tasks = {row.task for row in mine if row.adapts == "all"} or {row.task for row in mine}
        tests = Table.of(row for row in (*mine, *control) if row.task in tasks)
        rows += reuse_table(tests, body, trained_steps).rows
    return Table.of(rows)


@dataclasses.dataclass(frozen=True)
class _Learner:
    """What tells learners apart but for their seed."""

    algorithm: str | None
    iteration: int | None
    adapts: str | None
    head: str | None
    group: str | None


_Tests = dict[tuple[_Learner, str, int], dict[int | None, list[Row]]]  # the rows of single tasks, by seed


def _tests(table: Table) -> _Tests:
    found: _Tests = defaultdict(lambda: defaultdict(list))
    for row in table.rows:
        if row.task is None or row.measure != "accuracy" or row.frozen is None:
            continue
        learner = _Learner(row.algorithm, row.iteration, row.adapts, row.head, row.group)
        found[learner, row.frozen, row.inner_steps or 0][row.seed].append(row)
    for (learner, _, _), by_seed in found.items():
        for seed, rows in by_seed.items():
            ids = sorted({row.checkpoint or "unnamed" for row in rows})
            if len(ids) > 1:
                raise MetaprobeError(
                    f"checkpoints {' and '.join(ids)} are both {learner.algorithm} of seed {seed} after "
                    f"{learner.iteration} iterations; compute the reuse index of each from a table of its own"
                )
            by_seed[seed] = _of_each_task(rows)
    return found


def _of_each_task(rows: Iterable[Row]) -> list[Row]:
    """Return one row a task, by task: every run of a seed may have tested the same untrained network."""
    first: dict[int, Row] = {}
    for row in rows:
        kept = first.setdefault(row.task or 0, row)
        if kept.value != row.value:
            raise MetaprobeError(
                f"two tests of {row.algorithm} {row.checkpoint} with {row.frozen or 'nothing'} frozen differ on task "
                f"{row.task}: {kept.value} and {row.value} % after {row.inner_steps} steps; keep the one that was "
                "adapted, with the same rate on the same data, as the learner that it is compared with"
            )
    return [first[task] for task in sorted(first)]


def _untrained(tests: _Tests, learner: _Learner, frozen: str, steps: int) -> dict[int | None, list[Row]]:
    """Return the untrained network's test of that kind, by seed: adapted as the learner was, else as another was.

    With the body frozen it is the head that adapts in either.
    """
    head = "nil" if learner.head == "nil" else "own"
    floors = {
        who: by_seed
        for (who, names, at), by_seed in tests.items()
        if (who.algorithm, names, at, who.group) == ("random", frozen, steps, learner.group) and who.head == head
    }
    alike = [by_seed for who, by_seed in floors.items() if who.adapts == learner.adapts]
    return next(iter(alike or floors.values()), {})


def _row(tests: list[list[Row]], seeds: int) -> Row:
    """Return the row of an index from the tests with nothing frozen, the body frozen, and untrained, a seed each."""
    kept = tests[seeds][0]  # the first task of the first seed with the body frozen
    if any([row.task for row in rows] != [row.task for row in tests[0]] for rows in tests):
        sizes = ", ".join(str(len(rows)) for rows in tests)
        raise MetaprobeError(
            f"the tests of {kept.algorithm} with nothing and with {kept.frozen} frozen, and of the untrained network, "
            f"are not of the same tasks ({sizes} of them); a reuse index pairs them, test all with one plan"
        )
    ids = dict.fromkeys(rows[0].checkpoint or "unnamed" for rows in tests)
    several = {"seed": None, "checkpoint": None} if seeds > 1 else {}
    row = dataclasses.replace(
        kept, **several, task=None, measure="reuse_index", value=None, n=len(tests[0]), source="+".join(ids)
    )
    lost = sum(any(rows[place].value is None for rows in tests) for place in range(len(tests[0])))
    if lost:
        reason = f"{lost} of {len(tests[0])} tasks have no accuracy in one of the tests: their inner loop diverged"
        return dataclasses.replace(row, status="undefined", reason=reason)
    accuracies = np.array([[one.value for one in rows] for rows in tests], dtype=np.float64)
    found = reuse_index(*accuracies.reshape(3, seeds, -1))
    if isinstance(found, str):
        return dataclasses.replace(row, status="undefined", reason=found)
    return dataclasses.replace(row, value=found.value, low=found.low, high=found.high)
