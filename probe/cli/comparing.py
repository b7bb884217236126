"""What `metaprobe similarity` does with several stores, each two of them as rows; and what must not be given twice."""

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

__all__ = ["compared", "refuse_alike", "refuse_same_stores", "refuse_twice"]


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
        MetaprobeError: a phase is unknown, a store is given twice, be it as a copy, or two stores do not hold the same
            tasks.
        UnreadableInput: a store is damaged.
    """
    from metaprobe.analyses.compare import compare, phases_named
    from metaprobe.analyses.table import Table
    from metaprobe.trainers.progress import ProgressLine

    chosen = phases_named(comma_separated(phases))
    at_least_one(chosen, "phase after --phases")
    refuse_same_stores(stores, ", or compare with itself by --each")
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


def refuse_same_stores(stores: Sequence[Path], advice: str = "") -> None:
    """Refuse a store that is named twice or given as a copy, too: rows name a store by its bytes, so theirs are alike.

    Args:
        stores: activation stores.
        advice: what the message ends with.

    Raises:
        MetaprobeError: two of them have the same bytes.
    """
    from metaprobe.trainers.files import sha256_of

    refuse_twice(stores, "store", advice)
    sizes = [path.stat().st_size for path in stores]
    seen: dict[str, Path] = {}
    for path, size in zip(stores, sizes, strict=True):
        if sizes.count(size) == 1:
            continue
        if (first := seen.setdefault(sha256_of(path), path)) is not path:
            raise MetaprobeError(f"{path} is a copy of {first}, byte for byte; name each store once{advice}")


def refuse_alike(checkpoints: Sequence[Path]) -> None:
    """Refuse checkpoints whose rows would not say which of them they are of.

    Raises:
        MetaprobeError: two have the same weights, algorithm, update rule, seed and iteration.
        UnreadableInput: one is no checkpoint, or damaged.
    """
    from metaprobe.trainers.formats.checkpoint_format import read_metadata

    refuse_twice(checkpoints, "checkpoint")
    seen: dict[tuple[object, ...], Path] = {}
    for path in checkpoints if len(checkpoints) > 1 else ():
        found = read_metadata(path)
        named = (found.config.get(name) for name in ("algorithm", "update_rule", "seed"))
        if (first := seen.setdefault((found.checkpoint_id, found.iteration, *named), path)) is not path:
            told = f"{path} has the weights of {first} ({found.checkpoint_id}), its algorithm and its seed"
            raise MetaprobeError(f"{told}, so rows would not say which they are of; give them one at a time")
