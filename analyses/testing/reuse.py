"""The reuse index: what share of a learner's gain over random features is there without touching the body."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.bootstrap import REPLICATES, Interval, bounds, over_seeds, task_draws
from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.plan import UNMODULATED
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.text import count
from metaprobe.trainers.task_kinds import REGRESSION

__all__ = ["reuse_index", "reuse_of_learners", "reuse_table"]


def reuse_index(
    full: Float[np.ndarray, "seed task"],
    frozen: Float[np.ndarray, "seed task"],
    untrained: Float[np.ndarray, "seed task"],
) -> Interval | str:
    """Return the reuse index with its 95 % interval, or why it has no number.

    With mean accuracies over tasks A(full) of a learner that adapts all layers, A(frozen) of the same learner with the
    whole body frozen, and U of the NIL head on the body of the untrained network, of a seed

        index = (A(frozen) − U) / (A(full) − U),

    and the mean of that over seeds. 1: the body that training left does all that the adapted one does (reused); 0: it
    is worth no more than random features (relearned). It is not cut to [0, 1]: above 1 adapting the body does harm,
    below 0 the frozen body is worse than random features.

    A(frozen) is of the learner's own head, after some inner steps, or of the NIL head, which has no weights and takes
    no steps; A(full) is the learner as it was trained. U is what random features are worth to whoever can read them.
    A head that was never trained cannot, in a few steps: an untrained network under its own head is near chance where
    the NIL head on the same body is far above it (22.9 and 37.9 % on Omniglot, 5-way 1-shot). Taking the former for U,
    as this index did before, counts as features what is the head's: 0.28 of a MAML that has about 0.06 now. With the
    NIL head on both sides like is compared with like: it is the index to quote where the two disagree. With the own
    head A(frozen) has, above U, what training gave this head, too, and lacks what the head would still learn: where the
    index grows with the number of steps, it is the head that lacked them.

    What it is better at than its relatives: the cost of freezing alone, A(full) − A(frozen), is small too where there
    was nothing to lose, as in an untrained network; the share of accuracy kept, A(frozen)/A(full), is high already at
    chance; and taking chance for U counts as reuse what any random convolution gives.

    The interval is by the bootstrap: seeds and tasks are drawn together, all three tests on the same draw of tasks
    (`analyses.bootstrap`).

    Args:
        full: accuracy (any unit) of each task with nothing frozen.
        frozen: with the body frozen, of the same tasks and seeds.
        untrained: of the NIL head on the untrained body, likewise.

    Returns:
        The interval; or the reason, when the gain A(full) − U of a seed is not above 0: when its own 95 % interval, or
        one of its replicates, reaches 0.

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


def reuse_table(table: Table, body: Sequence[str], test_steps: int) -> Table:
    """Return the reuse index of every learner in a table of tests, at every number of inner steps and with each head.

    A(full) is taken at the steps of the test, A(frozen) at each; see `reuse_index`. Where the table has the NIL
    head on the trained body, a row with `head` "nil" follows.

    Args:
        table: with rows of single tasks (`TestPlan.per_task`), of one or more seeds, the untrained network ("random")
            of each with the NIL head among them. Of a learner that has rows with `adapts` "all", those count: as it was
            trained its head alone adapts, and freezing the body changes nothing.
        body: the layers that A(frozen) freezes.
        test_steps: inner steps of the tests of A(full).

    Returns:
        Rows "reuse_index" of each seed, whose interval is over tasks, and where there are several one of all, with
        `seed` None, whose interval is over seeds too; `source` names the checkpoints, those of the untrained networks
        last. Undefined, with the reason, where the untrained network of a seed was not tested with the NIL head;
        learners without the other two tests have none.

    Raises:
        MetaprobeError: the tests are of regressions, the table cannot tell two checkpoints of one seed apart, or the
            tests of a learner are not of the same tasks.
    """
    if any(row.measure == REGRESSION.metric for row in table.rows):
        raise MetaprobeError(
            "the reuse index is a share of the gain over what the NIL head makes of an untrained body, and a "
            "regression has no NIL head; compare the rows of the untrained network instead"
        )
    tests, rows = _tests(table), []
    modulated = {row.checkpoint for row in table.rows if UNMODULATED in (row.reason or "")}
    for learner, frozen, steps in list(tests):
        if frozen or steps != test_steps or learner.algorithm == "random" or learner.head == "nil":
            continue
        if learner.adapts is None and any(who == dataclasses.replace(learner, adapts="all") for who, _, _ in tests):
            continue
        everything = ",".join(body)
        counts = sorted({at for who, names, at in tests if (who, names) == (learner, everything)})
        kinds = [(learner, everything, at) for at in counts]
        for kind in (*kinds, (dataclasses.replace(learner, adapts=None, head="nil"), "", 0)):
            full, kept, floor = tests[learner, frozen, steps], tests.get(kind, {}), _floor(tests, learner.group)
            seeds = [seed for seed in full if seed in kept]
            for some in [(seed,) for seed in seeds] + ([tuple(seeds)] if len(seeds) > 1 else []):
                parts = (full, kept, floor) if all(seed in floor for seed in some) else (full, kept)
                rows.append(_row([part[seed] for part in parts for seed in some], len(some), modulated))
    return Table.of(rows)


def reuse_of_learners(table: Table, body: Sequence[str], test_steps: int) -> Table:
    """Return `reuse_table` of every learner of a study, each on the tasks that it and the untrained network were given.

    Args:
        table: as there, of learners by what the study calls them (`Row.learner`, else their algorithm).
        body: as there.
        test_steps: as there.

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
        rows += reuse_table(tests, body, test_steps).rows
    return Table.of(rows)


@dataclasses.dataclass(frozen=True)
class _Learner:
    """What tells learners apart but for their seed."""

    algorithm: str | None
    iteration: int | None
    adapts: str | None
    head: str | None
    group: str | None

    @property
    def after(self) -> str:
        """When in its training it was tested, in words; "" where nobody told."""
        return "" if self.iteration is None else f" after {count(self.iteration, 'iteration')}"


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
                    f"checkpoints {' and '.join(ids)} are both {learner.algorithm} of seed {seed}{learner.after}; "
                    "compute the reuse index of each from a table of its own"
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


def _floor(tests: _Tests, group: str | None) -> dict[int | None, list[Row]]:
    """Return the test of the NIL head on the untrained body, by seed."""
    return next(
        (
            by_seed
            for (who, frozen, _), by_seed in tests.items()
            if (who.algorithm, who.head, who.group, frozen) == ("random", "nil", group, "")
        ),
        {},
    )


def _row(tests: list[list[Row]], seeds: int, modulated: Collection[str | None]) -> Row:
    """Return the row of an index from the tests with nothing frozen, the body frozen, and untrained, a seed each.

    Without those of the untrained networks it is undefined.
    """
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
    if kept.checkpoint in modulated:
        reason = f"{UNMODULATED}, so its frozen body is not the one that its tasks begin with, and tells nothing of it"
        return dataclasses.replace(row, status="undefined", reason=reason)
    if len(tests) < 3 * seeds:
        reason = (
            "the untrained network was not tested with the NIL head on these tasks, which is what the index is counted "
            "from: metaprobe freeze does, in Python freeze(…, nil_head=True) and freeze_module(…, nil_head=True)"
        )
        return dataclasses.replace(row, status="undefined", reason=reason)
    lost = sum(any(rows[place].value is None for rows in tests) for place in range(len(tests[0])))
    if lost:
        reason = f"{lost} of {len(tests[0])} tasks have no accuracy in one of the tests: their inner loop diverged"
        return dataclasses.replace(row, status="undefined", reason=reason)
    accuracies = np.array([[one.value for one in rows] for rows in tests], dtype=np.float64)
    found = reuse_index(*accuracies.reshape(3, seeds, -1))
    if isinstance(found, str):
        return dataclasses.replace(row, status="undefined", reason=found)
    return dataclasses.replace(row, value=found.value, low=found.low, high=found.high)
