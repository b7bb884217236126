"""Questions to the table of what was measured on the study's learners."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from reports.entries import Entry
from reports.evidence import Estimate, Reading, pool
from reports.studies.zhou2021.learners import BASE, CONTINUED, GAINS, LARGE, Learner

__all__ = ["ZhouTable", "lowest"]


@dataclass(frozen=True)
class ZhouTable:
    """Questions to the table of one study.

    Attributes:
        entries: the rows of its table.
        learners: what was trained, those of the sweep in its order.
        trained_steps: inner steps of the training.
        n_way: classes of a task.
        inner_lr: α.
    """

    entries: tuple[Entry, ...]
    learners: tuple[Learner, ...]
    trained_steps: int
    n_way: int
    inner_lr: float

    @cached_property
    def _found(self) -> dict[tuple[str, str], list[Entry]]:
        keys = {learner.checkpoint: learner.key for learner in self.learners}
        found: dict[tuple[str, str], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            found[entry.measure, keys.get(entry.checkpoint, "")].append(entry)
        return dict(found)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """Keys of the learners: MAML, then the sweep by m, then the larger network."""
        order = {"base": 0, "tsa": 1, "large": 2}
        every = sorted(self.learners, key=lambda learner: (order[learner.role], learner.m))
        return tuple(dict.fromkeys(learner.key for learner in every))

    @property
    def main(self) -> str:
        """Key of the TSA-MAML that all but the sweep is measured on, the first of several initialisations."""
        return next((one.key for one in self.learners if one.role == "tsa" and one.m > 1), "")

    @property
    def plain(self) -> str:
        """Key of the MAML that TSA-MAML is compared with: trained for as long, or else its base."""
        return CONTINUED if CONTINUED in self.keys else BASE

    @property
    def sweep(self) -> tuple[str, ...]:
        """Keys of the learners of the sweep, by m."""
        return tuple(key for key in self.keys if key not in (BASE, LARGE))

    @cached_property
    def domains(self) -> tuple[str, ...]:
        """The domains of tasks, in the order of the table."""
        return tuple(dict.fromkeys(entry.group for entry in self.entries if entry.group))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the study, ascending."""
        return tuple(sorted({learner.seed for learner in self.learners}))

    def m_of(self, key: str) -> int:
        """Return how many initialisations a learner has."""
        return next(learner.m for learner in self.learners if learner.key == key)

    def parameters(self, key: str) -> int:
        """Return how many parameters the network of a learner has; 0 where that is not known."""
        return next((learner.parameters for learner in self.learners if learner.key == key), 0)

    def every(self, measure: str, key: str) -> list[Entry]:
        """Return all rows of a measure and a learner."""
        return self._found.get((measure, key), [])

    def rows(
        self, measure: str, key: str, *, group: str | None = "", view: str | None = "", step: int | None = None
    ) -> list[Entry]:
        """Return the rows of a measure and a learner that are of no single task.

        Args:
            measure: of the rows.
            key: of the learner.
            group: the domain; "" for all together, None for any.
            view: what a task is described by; None for any.
            step: inner step, or None for any.
        """
        return [
            row
            for row in self.every(measure, key)
            if row.task is None
            and group in (None, row.group)
            and view in (None, row.view)
            and (step is None or row.step == step)
        ]

    def accuracy(self, key: str, group: str = "") -> Reading:
        """Return a learner's test accuracy (percent) on a domain, or "" for all together."""
        return pool(self.rows("accuracy", key, group=group))

    def gain(self, key: str, over: str, group: str = "") -> Reading:
        """Return the paired gain in accuracy (points) of a learner over `BASE`, `CONTINUED` or "first"."""
        return pool(self.rows(GAINS[over], key, group=group))

    def agreement(self, view: str, measure: str = "adjusted_rand") -> Reading:
        """Return how clusters by a view agree with the domains, of the main learner."""
        return pool(self.rows(measure, self.main, view=view))

    def at_step(self, measure: str, key: str, step: int) -> Reading:
        """Return a mean of the curves over inner steps."""
        return pool([row for row in self.rows(measure, key, step=step)])

    def steps(self, measure: str, key: str) -> tuple[int, ...]:
        """Return the inner steps that a curve has, ascending."""
        return tuple(sorted({row.step for row in self.rows(measure, key) if row.step is not None}))

    def usage(self, seed: int, measure: str = "usage_frequency") -> list[Entry]:
        """Return how often each initialisation is used on each domain, of one training."""
        rows = self.rows(measure, self.main, group=None, view="assignment")
        return [row for row in rows if row.seed == seed and row.cluster is not None]

    def favourites(self, seed: int) -> dict[str, Entry]:
        """Return for each domain the row of its most frequent initialisation, of one training."""
        best: dict[str, Entry] = {}
        for row in self.usage(seed):
            if row.group not in best or (row.value or 0) > (best[row.group].value or 0):
                best[row.group] = row
        return best

    def favourite(self, domain: str) -> Reading:
        """Return the share of a domain's tasks that start from its most frequent initialisation."""
        return pool([row for seed in self.seeds if (row := self.favourites(seed).get(domain))], top=1.0)

    def favourites_differ(self) -> bool:
        """Return whether no two domains share their most frequent initialisation, in any training."""
        found = [[row.cluster for row in self.favourites(seed).values()] for seed in self.seeds]
        return all(len(set(own)) == len(own) for own in found)


def lowest(curve: Sequence[Reading]) -> int | None:
    """Return the place of the smallest value of a curve; None where it has none."""
    known = [place for place, one in enumerate(curve) if isinstance(one, Estimate)]
    return min(known, key=lambda place: getattr(curve[place], "value", 0.0), default=None)
