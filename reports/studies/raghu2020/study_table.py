"""Questions to the table of one study."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from reports.entries import Entry
from reports.evidence import Estimate, Reading, minus, pool
from reports.studies.raghu2020.derived import BETWEEN, FIXED

__all__ = ["BLOCKS", "BODY", "FULL", "SHOWN", "StudyTable", "frozen_order"]

SHOWN = ("maml", "fomaml", "anil", "random")
"""What all sections but that on training regimes are about; "random" is the untrained network."""

BODY = ("conv1", "conv2", "conv3", "conv4")

BLOCKS = tuple(",".join(BODY[:k]) for k in range(1, len(BODY) + 1))
"""The paper's frozen blocks, from the first layer on."""

FULL = BLOCKS[-1]
"""The whole body frozen."""


@dataclass(frozen=True)
class StudyTable:
    """Questions to the table of one study.

    Attributes:
        entries: the rows of its table.
        trained_steps: inner-loop steps of the training, the number that test accuracies are judged at.
        n_way: classes of a task, for the level of chance.
    """

    entries: tuple[Entry, ...]
    trained_steps: int
    n_way: int

    @cached_property
    def _found(self) -> dict[tuple[str, str, str], list[Entry]]:
        found: dict[tuple[str, str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.task is None and not entry.other_layer:  # of single tasks, and of pairs, others read
                found[entry.measure, entry.algorithm, entry.adapts].append(entry)
        return dict(found)

    def shown(self) -> list[Entry]:
        """Return the rows of all sections but that on training regimes."""
        return [
            entry
            for entry in self.entries
            if entry.algorithm in SHOWN and entry.head != "maml" and not entry.adapts and entry.task is None
        ]

    def every(self, measure: str, algorithm: str, adapts: str = "") -> list[Entry]:
        """Return all rows of a measure and an algorithm, those of single tasks and of pairs of layers left out.

        Args:
            measure: the measure.
            algorithm: the learner.
            adapts: "all" for tests in which more layers adapt than in training; "" for all others.
        """
        return self._found.get((measure, algorithm, adapts), [])

    def rows(self, measure: str, algorithm: str, iteration: int | None = None, adapts: str = "") -> list[Entry]:
        """Return the rows of `every` at one iteration, or (None) at each seed's last one."""
        rows = self.every(measure, algorithm, adapts)
        if iteration is not None:
            return [row for row in rows if (row.iteration or 0) == iteration]
        last: dict[int | None, int] = {}
        for row in rows:
            last[row.seed] = max(last.get(row.seed, 0), row.iteration or 0)
        return [row for row in rows if (row.iteration or 0) == last[row.seed]]

    def iterations(self, algorithm: str, *measures: str, start: bool = False) -> tuple[int, ...]:
        """Return the training iterations that have rows of any of the measures, ascending; 0 if `start` is set."""
        found = {row.iteration or 0 for measure in measures for row in self.every(measure, algorithm)}
        return tuple(sorted(found if start else found - {0}))

    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the study, ascending."""
        return tuple(sorted({entry.seed for entry in self.entries if entry.seed is not None}))

    def test(
        self,
        algorithm: str,
        frozen: str = "",
        *,
        steps: int | None = None,
        iteration: int | None = None,
        measure: str = "accuracy",
    ) -> Reading:
        """Return test accuracy after adaptation with the learner's own head (percent), or another measure of the test.

        Args:
            algorithm: "maml", "anil", or "random" for the untrained network.
            frozen: names of the frozen layers, comma-separated.
            steps: inner-loop steps of the test; None for the trained number.
            iteration: training iteration; None for the last.
            measure: "accuracy" or "accuracy_difference" (paired, to nothing frozen, percentage points).
        """
        wanted = self.trained_steps if steps is None else steps
        rows = [r for r in self.rows(measure, algorithm, iteration) if r.frozen == frozen and self.own_head(r)]
        return pool([row for row in rows if self.steps_of(row) == wanted])

    def of_these_seeds(self, algorithm: str, frozen: str = "", *, measure: str = "accuracy_difference") -> Reading:
        """Return the same at the last iteration, of these seeds alone: None where there is one, and no other to be."""
        return self.test(algorithm, frozen, measure=measure + FIXED)

    def between(self, algorithm: str, other: str, frozen: str = "", head: str = "own", fixed: bool = False) -> Reading:
        """Return the accuracy of a learner − that of another on the same tasks (points), drawn together.

        Args:
            algorithm: the learner.
            other: what is taken from it.
            frozen: layers that are frozen in both.
            head: "own" or "nil", of both.
            fixed: of these seeds alone, though there are several.
        """
        rows = self.every(BETWEEN + FIXED * fixed, algorithm)
        return pool([r for r in rows if (r.other_algorithm, r.frozen, r.head) == (other, frozen, head)])

    def gap(self, algorithm: str, other: str, frozen: str = "") -> Reading:
        """Return `between` with the learners' own heads; where the table has no such row, as if independent."""
        found = self.between(algorithm, other, frozen)
        return minus(self.test(algorithm, frozen), self.test(other, frozen)) if found is None else found

    def reuse(self, algorithm: str, steps: int | None = None, head: str = "own") -> Reading:
        """Return the reuse index at a number of inner steps (None: the trained one), or with the NIL head.

        Args:
            algorithm: the learner.
            steps: of the test.
            head: "own" (of a regime, "maml"), or "nil".
        """
        wanted = 0 if head == "nil" else self.trained_steps if steps is None else steps
        rows = [row for adapts in ("", "all") for row in self.rows("reuse_index", algorithm, adapts=adapts)]
        rows = [row for row in rows if (row.head == "nil") == (head == "nil")]
        return pool([row for row in rows if row.inner_steps == wanted])

    def cost_steps(self) -> tuple[int, ...]:
        """Return the numbers of steps, other than the trained one, at which freezing MAML's whole body was tested."""
        rows = (r for r in self.every("accuracy_difference", "maml") if r.frozen == FULL and self.own_head(r))
        return tuple(sorted({self.steps_of(row) for row in rows} - {self.trained_steps, 0}))

    def similarity(
        self, measure: str, algorithm: str, layer: str, *, iteration: int | None = None, step: int | None = None
    ) -> Reading:
        """Return a layer's similarity before against after adaptation, by position where both kinds are there.

        Args:
            measure: a measure's name, or its name with "_null" for the null.
            algorithm: the learner.
            layer: the layer.
            iteration: training iteration; None for the last.
            step: after how many inner steps; None for the last captured.
        """
        rows = [row for row in self.rows(measure, algorithm, iteration) if row.layer == layer]
        kinds = {row.samples for row in rows}
        kind = next((kind for kind in ("positions", "images") if kind in kinds), "")
        return pool(self._at_step([row for row in rows if row.samples == kind], step), top=1.0)

    def distance(self, measure: str, algorithm: str, layer: str, iteration: int | None = None) -> Reading:
        """Return the mean distance of a layer's weights before to after adaptation, after the last captured step."""
        rows = [row for row in self.rows(measure, algorithm, iteration) if row.layer == layer]
        found = pool(self._at_step(rows, None))
        if isinstance(found, Estimate) and found.low is not None:  # Student's t over few seeds knows no zero
            return dataclasses.replace(found, low=max(0.0, found.low))
        return found

    def layers(self, *measures: str) -> tuple[str, ...]:
        """Return the layers that have rows of any of the measures: by kind and number, the head last."""
        names = {row.layer for row in self.entries if row.measure in measures and not row.other_layer} - {""}
        return tuple(sorted(names, key=lambda name: (name == "head", re.sub(r"\d+", lambda m: m[0].zfill(6), name))))

    def steps_of(self, row: Entry) -> int:
        """Return the inner steps of a test; the trained number where the row names none."""
        return self.trained_steps if row.inner_steps is None else row.inner_steps

    def own_head(self, row: Entry) -> bool:
        """Return whether a row is of a test after adaptation, with the learner's own head."""
        return row.head not in ("nil", "maml") and row.phase != "pre"

    def _at_step(self, rows: list[Entry], step: int | None) -> list[Entry]:
        taken = [self.trained_steps if row.step is None else row.step for row in rows]
        wanted = max(taken, default=0) if step is None else step
        return [row for row, at in zip(rows, taken, strict=True) if at == wanted]


def frozen_order(sets: Collection[str]) -> tuple[str, ...]:
    """Sort frozen sets: nothing, the blocks from the first layer on by size, then all others by name."""
    blocks = ("", *BLOCKS)
    return tuple([block for block in blocks if block in sets] + sorted(set(sets) - set(blocks)))
