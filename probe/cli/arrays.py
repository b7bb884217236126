"""What `metaprobe similarity` does with files of arrays: each two of them, as rows."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metaprobe.trainers.errors import MetaprobeError

if TYPE_CHECKING:
    from metaprobe.analyses.measures.measure import Measure
    from metaprobe.analyses.table import Table

__all__ = ["compared_arrays", "of_arrays"]


def of_arrays(paths: Sequence[Path]) -> bool:
    """Tell whether files are arrays rather than activation stores, by their content.

    Raises:
        MetaprobeError: some are and some are not.
        UnreadableInput: some are, and another is neither.
    """
    from metaprobe.analyses.arrays import open_arrays
    from metaprobe.analyses.arrays.files import holds_arrays
    from metaprobe.analyses.arrays.hdf5 import is_store

    found = {path: holds_arrays(path) for path in paths}
    if len(set(found.values())) > 1:
        array = next(path for path, is_array in found.items() if is_array)
        store = next(path for path, is_array in found.items() if not is_array)
        if not is_store(store):
            with open_arrays(store):  # says what is wrong with it
                pass
        raise MetaprobeError(
            f"{array} holds arrays and {store} is an activation store; compare stores with each other, or arrays"
        )
    return next(iter(found.values()))


def compared_arrays(
    paths: Sequence[Path],
    measures: Sequence[Measure],
    layers: Literal["all", "matching"],
    samples: Literal["positions", "images"],
    channel_axis: int | None,
    groups: Path | None,
    amount: Mapping[str, int],
) -> list[tuple[Table, tuple[str, str]]]:
    """Compare each two of several files of arrays, or the layers of one with each other.

    Args:
        paths: the files.
        measures: which.
        layers: every layer against every layer, or only against that of its name.
        samples: what a sample is of arrays of more than two axes.
        channel_axis: where their features are; None for the usual place.
        groups: a .npy file with the group of each sample; None where samples are independent.
        amount: how many `replicates` and `permutations`.

    Returns:
        Of each two files the rows, and their names, which are different ones; of one file with itself, its name twice.

    Raises:
        MetaprobeError: a file is given twice, or files do not hold the same samples.
        UnreadableInput: a file is damaged, or holds no activations.
    """
    from metaprobe.analyses.arrays import open_arrays, similarity_of_arrays
    from metaprobe.analyses.arrays.files import read_groups
    from metaprobe.probe.cli.comparing import refuse_twice
    from metaprobe.trainers.progress import ProgressLine

    refuse_twice(paths, "file")
    found = list[tuple["Table", tuple[str, str]]]()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_arrays(path)) for path in paths]
        for reason in itertools.chain.from_iterable(file.left_out for file in files):
            warnings.warn(f"left out: {reason}", stacklevel=2)
        own = None if groups is None else read_groups(groups, files[0].arrays[0].samples)
        if len(files) == 1 and len(files[0].arrays) == 1:
            raise MetaprobeError(f"{paths[0]} holds one array; give another file to compare it with")
        named = list(zip(files, _names(paths), strict=True))
        for (a, own_name), (b, name) in itertools.combinations(named, 2) if len(named) > 1 else [(named[0], named[0])]:
            with ProgressLine(f"{own_name} and {name}", 0, unit="layers") as bar:
                rows = similarity_of_arrays(
                    a, b, measures, layers=layers, samples=samples, channel_axis=channel_axis, groups=own,
                    progress=bar.reach, **amount,
                )  # fmt: skip
            found.append((rows, (own_name, name)))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Name files by the ends of their paths: as many folders as tell all of them apart."""
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    kept = next(n for n in itertools.count(1) if len({one[-n:] for one in parts}) == len(parts))
    return [str(Path(*one[-kept:])) for one in parts]
