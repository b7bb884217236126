"""What a benchmark measured: rows, their tables, and the targets that they are held against."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from tests.benchmarks.contender import Contender
from tests.benchmarks.peers import PEERS
from tests.benchmarks.work import RULES, TESTS

TARGETS = {
    ("omniglot-1step", "maml"): 3.0,
    ("omniglot-5step", "maml"): 2.5,
    ("cifar", "maml"): 2.0,
    ("mini", "maml"): 1.5,
    ("gpu", "maml"): 15.0,
    ("omniglot-1step", "anil"): 2.5,
    **{(name, "anil"): 2.0 for name in ("omniglot-5step", "omniglot-20way", "cifar", "mini")},
}
"""Times that the best peer should take as long as ours, with the same allocator."""

RULE_TARGET = 1.3
"""An iteration of MAML with an update rule, at most so many times a plain one's."""

FROZEN_TARGET = 4.0
"""The same for a test that adapts every layer, against one with the body frozen, or none adapted."""

COLUMNS = (
    "workload", "work", "contender", "s", "least", "most", "tasks/s", "peak MiB", "of matmul", "× ours",
    "full / this", "engine",
)  # fmt: skip
TARGET_COLUMNS = ("workload", "work", "who", "against", "ratio", "target", "met", "by flops", "peak / least peer's")
LEFT = {"workload", "work", "contender", "who", "against", "engine"}


@dataclass
class Row:
    """What one contender did in one kind of work; `seconds` of an iteration, a round each."""

    workload: str
    kind: str
    contender: Contender
    tasks: int
    flops: int = 0  # of one iteration
    engine: str | None = None
    peak: int | None = None
    error: str | None = None
    seconds: list[float] = field(default_factory=list)
    profile: list[tuple[str, float]] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median time of an iteration."""
        return statistics.median(self.seconds)

    def times(self, other: Row) -> float:
        """How many times as long this takes as another: the median over the rounds."""
        return statistics.median(mine / its for mine, its in zip(self.seconds, other.seconds, strict=True))


def cells(row: Row, rows: Iterable[Row]) -> list[str]:
    """Return a row as words, in the order of `COLUMNS`; the others are what it is set against."""
    words = dict.fromkeys(COLUMNS, "") | {"workload": row.workload, "work": row.kind, "contender": row.contender.label}
    if row.error is not None:
        return list((words | {"s": row.error}).values())
    good = [other for other in rows if other.error is None and other.workload == row.workload]
    matmul = dataclasses.replace(row.contender, name="matmul").label
    yardstick = next((r for r in good if r.kind == row.kind and r.contender.label == matmul), None)
    ours = next((r for r in good if r.kind == row.kind and r.contender.ours), None)
    full = next((r for r in good if r.kind == "full" and r.contender == row.contender and row.kind in TESTS), None)
    spread = (row.median, min(row.seconds), max(row.seconds))
    words |= dict(zip(("s", "least", "most"), (f"{seconds:.4f}" for seconds in spread), strict=True))
    if row is yardstick:
        return list((words | {"of matmul": f"{row.flops / row.median / 1e9:.0f} GFLOP/s"}).values())
    words["tasks/s"] = f"{row.tasks / row.median:.1f}"
    words["peak MiB"] = "" if row.peak is None else f"{row.peak / 2**20:.0f}"
    words["engine"] = row.engine or ""
    if yardstick:
        share = (row.flops / row.median) / (yardstick.flops / yardstick.median)
        words["of matmul"] = f"{100 * share:.1f} %"
    if ours:
        words["× ours"] = f"{row.times(ours):.2f}"
    if full:
        words["full / this"] = f"{full.times(row):.2f}"
    return list(words.values())


def verdicts(rows: Iterable[Row]) -> Iterator[list[str]]:
    """Yield `TARGET_COLUMNS` for ours against the best peer, its rules against MAML, its tests against the full one."""
    good = [row for row in rows if row.error is None]
    for ours in (row for row in good if row.contender.ours):
        start = [ours.workload, ours.kind, ours.contender.label]
        rivals = [r for r in good if r.contender.name in PEERS and [r.workload, r.kind] == start[:2]]
        if rivals:
            best = min(rivals, key=lambda rival: rival.times(ours))
            least = min((rival.peak for rival in rivals if rival.peak), default=None)
            memory = f"{ours.peak / least:.2f}" if ours.peak is not None and least else ""
            yield [*start, best.contender.label, *_met(best.times(ours), TARGETS.get((ours.workload, ours.kind))), "",
                   memory]  # fmt: skip
        full = [r for r in good if (r.workload, r.kind, r.contender) == (ours.workload, "full", ours.contender)]
        plain = [r for r in good if (r.workload, r.kind, r.contender) == (ours.workload, "maml", ours.contender)]
        if plain and ours.kind in RULES:
            ratio = ours.times(plain[0])
            met = "yes" if ratio <= RULE_TARGET else "no"
            yield [*start, "maml, the same", f"{ratio:.2f}", f"{RULE_TARGET}", met, "", ""]
        if full and ours.kind in ("frozen", "nil"):
            by_flops = f"{full[0].flops / ours.flops:.1f}" if ours.flops else ""
            yield [*start, "full, the same", *_met(full[0].times(ours), FROZEN_TARGET), by_flops, ""]


def show(console: Console, title: str, columns: tuple[str, ...], lines: Iterable[list[str]]) -> None:
    """Print a table, without columns that are empty."""
    kept = list(lines)
    table = Table(box=None, pad_edge=False)
    places = [place for place, _ in enumerate(columns) if any(line[place] for line in kept)]
    for place in places:
        table.add_column(columns[place], justify="left" if columns[place] in LEFT else "right", no_wrap=True)
    for line in kept:
        table.add_row(*(line[place] for place in places))
    console.print(title, table, "", sep="\n", highlight=False)


def _met(ratio: float, target: float | None) -> tuple[str, str, str]:
    return (
        (f"{ratio:.2f}", "", "")
        if target is None
        else (f"{ratio:.2f}", f"{target:.1f}", "yes" if ratio >= target else "no")
    )
