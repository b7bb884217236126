"""The adapted parameters of thousands of tasks: more than memory holds, so they lie in temporary files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
from jaxtyping import Float32, Int64
from scipy.linalg import get_blas_funcs, get_lapack_funcs

from metaprobe.trainers.errors import MetaprobeError

__all__ = ["TaskVectors", "isometric"]

_WIDTH = 4096  # columns in a file: 10,000 tasks × 4,096 numbers are 164 MB, and no more of them is ever in memory


@dataclass(frozen=True)
class _Segment:
    name: str
    columns: slice  # of the parameter, flattened
    file: IO[bytes]


class TaskVectors:
    """A matrix (task, feature) in float32 whose features are the numbers of named parameters; use it in a `with` block.

    It lies in temporary files without a name, which vanish with the process, however that ends.

    Args:
        shapes: of the parameters, by name.
        tasks: how many rows there will be.
        folder: where the files lie.

    Raises:
        MetaprobeError: the disk has too little room.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], tasks: int, folder: Path) -> None:
        self.shapes, self.tasks = dict(shapes), tasks
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        self.features = sum(sizes.values())
        needed, free = 4 * tasks * self.features, shutil.disk_usage(folder).free
        if needed > free:
            raise MetaprobeError(
                f"the adapted parameters of {tasks:,} tasks take {needed / 2**30:.1f} GiB for a while in {folder}, "
                f"which has {free / 2**30:.1f} GiB free; lower --cluster-tasks, or choose an --out on another disk"
            )
        self._segments = [
            _Segment(name, slice(first, min(first + _WIDTH, size)), tempfile.TemporaryFile(dir=folder))  # noqa: SIM115
            for name, size in sizes.items()
            for first in range(0, size, _WIDTH)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for segment in self._segments:
            segment.file.close()

    def append(self, rows: Mapping[str, Float32[np.ndarray, "task feature"]]) -> None:
        """Add the rows of some tasks, each parameter flattened."""
        for segment in self._segments:
            segment.file.write(np.ascontiguousarray(rows[segment.name][:, segment.columns], np.float32).tobytes())

    def blocks(self, names: Collection[str]) -> Iterator[tuple[str, slice, Float32[np.ndarray, "task column"]]]:
        """Yield the columns of some parameters, a block at a time, with the parameter's name and its columns."""
        for segment in self._segments:
            if segment.name in names:
                segment.file.seek(0)
                yield (
                    segment.name,
                    segment.columns,
                    np.frombuffer(segment.file.read(), np.float32).reshape(self.tasks, -1),
                )

    def points(self, names: Collection[str]) -> Float32[np.ndarray, "task coordinate"]:
        """Return points that lie to each other as the rows of some parameters do: the rows, or fewer coordinates.

        Peak memory: with n tasks and more features than that, 12 n² bytes (1.2 GB for 10,000 tasks) and a block.
        """
        if sum(int(np.prod(self.shapes[name])) for name in names) <= self.tasks:
            return np.concatenate([block for _, _, block in self.blocks(names)], axis=1)
        return isometric(block for _, _, block in self.blocks(names))

    def means(self, labels: Int64[np.ndarray, " task"], m: int) -> dict[str, Float32[np.ndarray, "cluster ..."]]:
        """Return the mean row of each cluster, by parameter and in its shape; sums are in float64."""
        counts = np.bincount(labels, minlength=m)
        found = {name: np.empty((m, int(np.prod(shape))), np.float32) for name, shape in self.shapes.items()}
        for name, columns, block in self.blocks(self.shapes):
            for cluster in range(m):
                found[name][cluster, columns] = block[labels == cluster].sum(0, dtype=np.float64) / counts[cluster]
        return {name: value.reshape(m, *self.shapes[name]) for name, value in found.items()}


def isometric(blocks: Iterator[Float32[np.ndarray, "task column"]]) -> Float32[np.ndarray, "task coordinate"]:
    """Return coordinates with the distances that the rows of a wide matrix have, from its columns block by block.

    Columns are centred, which moves no distance and keeps products small. G = Σ_b X_b X_bᵀ, each product in float32
    and their sum in float64, is factored as Pᵀ G P = Uᵀ U (Cholesky with pivots); the rows of P Uᵀ are the points. What
    lies below G's rounding is left out.
    """
    (product,) = get_blas_funcs(("syrk",), dtype=np.float32)
    (factored,) = get_lapack_funcs(("pstrf",), dtype=np.float64)
    # The upper triangle of X Xᵀ: the rows of X lie as the columns of Xᵀ do in Fortran, so that nothing is copied.
    gram = product(1.0, _centred(next(blocks)).T, trans=1).astype(np.float64, order="F")
    for block in blocks:
        gram += product(1.0, _centred(block).T, trans=1)
    tolerance = 1e-6 * float(gram.diagonal().max(initial=0.0))
    factor, pivots, rank, _ = factored(gram, tol=tolerance, overwrite_a=True)
    del gram
    points = np.zeros((len(factor), max(rank, 1)), np.float32)
    for place, row in enumerate(pivots - 1):  # the task of column `place` of U
        end = min(place + 1, rank)
        points[row, :end] = factor[:end, place]
    return points


def _centred(block: Float32[np.ndarray, "task column"]) -> Float32[np.ndarray, "task column"]:
    return (block - block.mean(axis=0, dtype=np.float64)).astype(np.float32)
