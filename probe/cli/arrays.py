"""What `metaprobe similarity` does with files of arrays: each two of them, as rows."""

from __future__ import annotations

import contextlib
import itertools
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
) -> tuple[Table, dict[str, str]]:
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
        The rows, and the names of the two files by what rows say of their source.

    Raises:
        MetaprobeError: a file is given twice, or files do not hold the same samples.
        UnreadableInput: a file is damaged, or holds no activations.
    """
    from metaprobe.analyses.arrays import open_arrays, similarity_of_arrays
    from metaprobe.analyses.arrays.files import read_groups
    from metaprobe.analyses.table import Table
    from metaprobe.probe.cli.comparing import refuse_twice
    from metaprobe.trainers.progress import ProgressLine

    refuse_twice(paths, "file")
    table, titles = Table(), dict[str, str]()
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open_arrays(path)) for path in paths]
        for reason in itertools.chain.from_iterable(file.left_out for file in files):
            warnings.warn(f"left out: {reason}", stacklevel=2)
        own = None if groups is None else read_groups(groups, files[0].arrays[0].samples)
        if len(files) == 1 and len(files[0].arrays) == 1:
            raise MetaprobeError(f"{paths[0]} holds one array; give another file to compare it with")
        for a, b in itertools.combinations(files, 2) if len(files) > 1 else [(files[0], files[0])]:
            with ProgressLine(f"{a.path.name} and {b.path.name}", 0, unit="layers") as bar:
                found = similarity_of_arrays(
                    a, b, measures, layers=layers, samples=samples, channel_axis=channel_axis, groups=own,
                    progress=bar.reach, **amount,
                )  # fmt: skip
            titles |= {str(found.rows[0].source): f"{a.path.name} against {b.path.name}"}
            table += found
    return table, titles
