"""What `metaprobe similarity` does with several stores: each two of them, as rows."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metaprobe.probe.cli.arguments import at_least_one, comma_separated
from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.analyses.compared import Over
    from metaprobe.analyses.measures.measure import Measure
    from metaprobe.analyses.table import Table

__all__ = ["compared", "refuse_twice"]


def compared(
    stores: Sequence[Path],
    measures: Sequence[Measure],
    phases: str,
    layers: Literal["all", "matching"],
    over: Over,
    amount: Mapping[str, int],
) -> Table:
    """Compare each two of several stores.

    Args:
        stores: activation stores.
        measures: which.
        phases: names of phases, joined by commas.
        layers: every layer against every layer, or only against that of its name.
        over: each task by itself, or all tasks together.
        amount: how many replicates and permutations.

    Raises:
        MetaprobeError: a phase is unknown, a store is given twice, or two stores do not
            hold the same tasks.
        UnreadableInput: a store is damaged.
    """
    from metaprobe.analyses.compare import compare, phases_named
    from metaprobe.analyses.table import Table
    from metaprobe.trainers.progress import ProgressLine

    chosen = phases_named(comma_separated(phases))
    at_least_one(chosen, "phase after --phases")
    refuse_twice(stores, "store", ", or compare with itself by --each")
    table = Table()
    for a, b in itertools.combinations(stores, 2):
        with ProgressLine(f"{a.name} and {b.name}", 0, unit="layers") as bar:
            table += compare(a, b, measures, phases=chosen, layers=layers, over=over, progress=bar.reach, **amount)
    return table


def refuse_twice(paths: Sequence[Path], kind: str, advice: str = "") -> None:
    """Refuse a file that is named twice, as a `MetaprobeError`; its message ends with the advice."""
    places = [os.path.realpath(path) for path in paths]
    for path, place in zip(paths, places, strict=True):
        if places.count(place) > 1:
            raise MetaprobeError(f"{path} is given twice; name each {kind} once{advice}")
