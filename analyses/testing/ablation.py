"""What a freezing ablation is made of: sets of layers to freeze, numbers of inner steps, and the rows of the tests."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from metaprobe.analyses.contrasts import minus_of
from metaprobe.analyses.table import Row
from metaprobe.analyses.testing.accuracy import score_rows
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import Evaluation

__all__ = ["LAYERS_LIMIT", "Ablation", "OtherSteps", "all_subsets", "contiguous_blocks"]

OtherSteps = Literal["ends", "all"]
"""Which sets are tested at numbers of steps other than the first: the first and the last set, or all."""

LAYERS_LIMIT = 10
"""The most layers all of whose subsets are tested: 1,024 tests."""


def contiguous_blocks(layers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the blocks of Raghu et al. (2020, Table 1): none, the first layer, the first two, …, all but the head."""
    return tuple(tuple(layers[:size]) for size in range(len(layers)))


def all_subsets(layers: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return every subset of some layers, small ones first: none, each layer, each pair, …, all of them.

    Of a body (all layers but the head) it tells what contiguous blocks cannot: whether what a layer does depends on
    which of the others adapt.

    Raises:
        MetaprobeError: there would be more than 2**`LAYERS_LIMIT` of them.
    """
    if len(layers) > LAYERS_LIMIT:
        raise MetaprobeError(
            f"{len(layers)} layers have {2 ** len(layers):,} subsets, a test each; at most {2**LAYERS_LIMIT:,} "
            f"({LAYERS_LIMIT} layers) are tested. Name the sets that matter"
        )
    return tuple(itertools.chain.from_iterable(itertools.combinations(layers, size) for size in range(len(layers) + 1)))


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Which tests a freezing ablation is made of.

    Attributes:
        wanted: the sets of frozen layers to test at each number of inner steps, in order.
    """

    wanted: Mapping[int, Sequence[tuple[str, ...]]]

    @classmethod
    def of(
        cls,
        sets: Sequence[Sequence[str]],
        inner_steps: Sequence[int],
        trained: int,
        other_steps: OtherSteps,
    ) -> Ablation:
        """Return the tests of some sets of layers at some numbers of steps (default: the trained one).

        At the first number all sets are tested, at the others those of `other_steps`.

        Raises:
            MetaprobeError: there is no set.
        """
        sets = [tuple(names) for names in sets]
        if not sets:
            raise MetaprobeError("a freezing ablation needs at least one set of layers; the empty set freezes nothing")
        others = sets if other_steps == "all" else list(dict.fromkeys((sets[0], sets[-1])))
        counts = tuple(inner_steps) or (trained,)
        return cls({count: sets if count == counts[0] else others for count in counts})

    def __len__(self) -> int:
        return sum(map(len, self.wanted.values()))

    def rows(
        self, identity: Row, test: Callable[[tuple[str, ...], int], Evaluation], tasks: Sequence[int] = ()
    ) -> list[Row]:
        """Run the tests; differences are to the first set at the same number of steps, paired by task.

        Args:
            identity: says what is tested.
            test: from frozen layers and a number of steps to the scores of all tasks, the same ones each time.
            tasks: the index of each task, for rows of their own; see `analyses.testing.accuracy.score_rows`.
        """
        rows = []
        for steps, sets in self.wanted.items():
            first: tuple[str, Evaluation] | None = None
            for names in sets:
                result = test(names, steps)
                rows += score_rows(identity, names, steps, "own", result, tasks, first)
                first = first or (minus_of({"frozen": ",".join(names)}), result)
        return rows
