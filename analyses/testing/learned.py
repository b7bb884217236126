"""Whether a learner learned anything that it could reuse: its gain over the untrained network, and over chance."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence

from metaprobe.analyses.contrasts import contrast
from metaprobe.analyses.table import Row, Table
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.intervals import PERCENT
from metaprobe.trainers.task_kinds import REGRESSION

__all__ = ["MARGIN", "learned_table"]

MARGIN = 2.0
"""Points by which a gain must be over 0, with its whole interval, to count: ours, near the largest cost of freezing
that Raghu et al. (2020, Table 1) take for none, 2.1."""

_UNTESTED = "the untrained network was not tested with the NIL head on the same tasks: metaprobe freeze does"


def learned_table(table: Table, n_way: int, test_steps: int) -> Table:
    """Return by how much every learner in a table of tests is better than an untrained network, and than chance.

    Like is compared with like: the NIL head on the trained body with the NIL head on the untrained one, on the same
    tasks. Only where this gain, and that of the learner as it was trained over chance (100/n_way), are over `MARGIN`
    with their whole intervals is there something that could be reused; `reason` says whether they are.

    Args:
        table: with rows of single tasks (`TestPlan.per_task`), of one or more seeds, with nothing frozen.
        n_way: classes of a task.
        test_steps: inner steps of the tests that count, with the own head.

    Returns:
        In percentage points, of each seed and, where there are several, of all (`seed` None): "gain_over_untrained"
        (`head` "nil"), undefined where the untrained network was not tested so, and "gain_over_chance" of each head.
    """
    if any(row.measure == REGRESSION.metric for row in table.rows):
        raise MetaprobeError(
            "gains over an untrained network are told with the NIL head, and over chance; a regression has neither: "
            "compare the rows of the untrained network instead"
        )
    tests: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    untrained: dict[str | None, list[Row]] = defaultdict(list)
    for row in table.rows:
        if row.task is None or row.measure != "accuracy" or row.frozen or row.adapts:
            continue
        if row.algorithm == "random":
            if row.head == "nil":
                untrained[row.group].append(row)
        elif row.inner_steps == (0 if row.head == "nil" else test_steps):
            tests[row.learner, row.algorithm, row.iteration, row.group, row.head].append(row)
    rows: list[Row] = []
    for mine in tests.values():
        if any(row.seed is None for row in mine):
            raise MetaprobeError("what a learner gained is paired by seed; give the rows of its tests a seed each")
        seeds = list(dict.fromkeys(row.seed for row in mine))
        for some in [[seed] for seed in seeds] + [seeds] * (len(seeds) > 1):
            rows += _of_seeds([row for row in mine if row.seed in some], untrained[mine[0].group], 100 / n_way)
    return Table.of(rows)


def _of_seeds(mine: Sequence[Row], untrained: Sequence[Row], chance: float) -> Iterator[Row]:
    (level, *_) = contrast(mine, None, None, PERCENT)
    one = len({row.seed for row in mine}) == 1
    level = dataclasses.replace(level, **({"seed": mine[0].seed, "checkpoint": mine[0].checkpoint} if one else {}))
    if level.head == "nil":
        lacking = {row.seed for row in mine} - {row.seed for row in untrained}
        found = [] if lacking else contrast(mine, untrained, "untrained", PERCENT)
        gain = found[0] if found else dataclasses.replace(level, value=None, reason=_UNTESTED)
        gain = dataclasses.replace(gain, seed=level.seed, checkpoint=level.checkpoint, minus=None)
        yield _told(dataclasses.replace(gain, measure="gain_over_untrained"), "untrained features")
    ends = (None if end is None else end - chance for end in (level.value, level.low, level.high))
    value, low, high = ends
    gain = dataclasses.replace(level, measure="gain_over_chance", value=value, low=low, high=high)
    yield _told(gain, f"chance, {chance:.3g} %")


def _told(row: Row, over: str) -> Row:
    """Return a row that says whether its gain is clear of the margin, or why it has no number."""
    if row.value is None:
        return dataclasses.replace(row, low=None, high=None, status="undefined")
    clear = row.low is not None and row.low > MARGIN
    verdict = f"more than {MARGIN:g} points over {over}" if clear else f"not clear of {over} by {MARGIN:g} points"
    more = "" if clear else ": nothing is shown to be learned that could be reused"
    return dataclasses.replace(row, reason="; ".join(filter(None, (verdict + more, row.reason))))
