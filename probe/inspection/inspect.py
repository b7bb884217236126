"""What is inside a file of tensors: its tree, statistics, metadata and fingerprint. No torch, but for torch's files.

Without `stats` only the header is read, so a file of any size answers at once: names, shapes, dtypes, parameters and
bytes of every tensor and layer, the metadata, the provenance and the recorded fingerprint. Norms, ranges, the NaN, Inf
and all-zero flags and the check of the fingerprint need every value; they come with `stats`, read as a stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from metaprobe.probe.inspection.clusters import ClustersReport, inspect_clusters
from metaprobe.probe.inspection.rates import RatesReport, inspect_rates
from metaprobe.probe.inspection.tensor_files import TensorFile, TensorInfo, open_tensors
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.formats.checkpoint_format import CheckpointMetadata, tensor_fingerprint
from metaprobe.trainers.formats.text import visible

if TYPE_CHECKING:
    from metaprobe.probe.inspection.numbers import Accumulator, Statistics

__all__ = ["Inspection", "LayerReport", "TensorReport", "inspect_file"]


@dataclass(frozen=True)
class TensorReport:
    """One tensor: what the header says, and its statistics where they were asked for."""

    info: TensorInfo
    statistics: Statistics | None


@dataclass(frozen=True)
class LayerReport:
    """One layer, which is the tensors that share the first dotted part of their names (see `TensorInfo.layer`).

    Attributes:
        name: that part. tensors, parameters, nbytes: how many tensors, numbers and bytes.
        norm: L2 over every finite value of its parameters; None without statistics, where it has no parameters, or
            where a dtype of theirs has no decoder.
        nan, inf, all_zero: how many of its tensors hold a NaN, hold an infinity, are all zero; None without statistics.
    """

    name: str
    tensors: int
    parameters: int
    nbytes: int
    norm: float | None
    nan: int | None
    inf: int | None
    all_zero: int | None


@dataclass(frozen=True)
class Inspection:
    """What `inspect_file` found.

    Attributes:
        path, kind, file_size: the file, what it is, its bytes on disk.
        tensors, layers: those that the pattern chose, by name. total: how many tensors the file holds in all.
        checkpoint: our metadata, or None for a file of another origin. metadata: what else it says, as (key, text).
        fingerprint: of all tensors, recomputed; None where values were not read:
            without statistics, clusters and learned rates.
        clusters: of a checkpoint that has some, all of them whatever the pattern; else None.
        rates: those that its update rule has learned for each step, all of them whatever the pattern.
        statistics: whether those of the tensors are there.
    """

    path: Path
    kind: str
    file_size: int
    tensors: tuple[TensorReport, ...]
    layers: tuple[LayerReport, ...]
    total: int
    checkpoint: CheckpointMetadata | None
    metadata: tuple[tuple[str, str], ...]
    fingerprint: str | None
    clusters: ClustersReport | None = None
    rates: tuple[RatesReport, ...] = ()
    statistics: bool = False

    @property
    def fingerprint_matches(self) -> bool | None:
        """Whether the recorded fingerprint is that of the tensors; None where one of the two is not known."""
        if self.checkpoint is None or self.fingerprint is None:
            return None
        return self.checkpoint.fingerprint == self.fingerprint


def inspect_file(path: Path | str, glob: str | None = None, stats: bool = False, key: str | None = None) -> Inspection:
    """Look into a checkpoint, a plain safetensors file or a PyTorch state dict.

    Args:
        path: the file.
        glob: show only tensors whose name, or whose layer or module (a dotted beginning of the name), matches.
        stats: read every value too: statistics of the chosen tensors, and the fingerprint of all.
        key: where in a file of torch.save the weights are (default: under a usual key).

    Raises:
        UnreadableInput: when the file is missing, damaged or hostile.
        MetaprobeError: when `glob` matches nothing.
    """
    with open_tensors(path, key) as file:
        chosen = tuple(tensor for tensor in file.tensors if glob is None or _matches(tensor.name, glob))
        if glob is not None and not chosen:
            raise _no_match(glob, file)
        clusters = inspect_clusters(file, stats)  # whose sizes are values, shown or not believed
        rates = inspect_rates(file)
        read = stats or clusters is not None or bool(rates)
        fingerprint, accumulators = _read_values(file, chosen if stats else ()) if read else (None, {})
        return Inspection(
            path=file.path,
            kind=file.kind,
            file_size=file.size,
            tensors=tuple(
                TensorReport(tensor, accumulators[tensor.name].result() if stats else None) for tensor in chosen
            ),
            layers=_layers(chosen, accumulators),
            total=len(file.tensors),
            checkpoint=file.checkpoint,
            metadata=file.metadata,
            fingerprint=fingerprint,
            clusters=clusters,
            rates=rates,
            statistics=stats,
        )


def _matches(name: str, glob: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), glob) for end in range(len(parts), 0, -1))


def _no_match(glob: str, file: TensorFile) -> MetaprobeError:
    layers = list(dict.fromkeys(tensor.layer for tensor in file.tensors))
    known = ", ".join(visible(layer, 40) for layer in layers[:20]) + (", …" if len(layers) > 20 else "")
    return MetaprobeError(
        f"no tensor of {visible(str(file.path))} matches {visible(glob)!r}. Its layers: {known or 'none'}. "
        "Quote the pattern, so that the shell does not expand it."
    )


def _read_values(file: TensorFile, chosen: Sequence[TensorInfo]) -> tuple[str, dict[str, Accumulator]]:
    from metaprobe.probe.inspection.numbers import Accumulator  # numpy, which a look at the header does not need

    accumulators = {tensor.name: Accumulator(tensor.dtype) for tensor in chosen}

    def watched(tensor: TensorInfo) -> Iterator[memoryview]:
        for piece in file.pieces(tensor):
            if tensor.name in accumulators:
                accumulators[tensor.name].add(piece)
            yield piece

    fingerprint = tensor_fingerprint(
        (tensor.name, tensor.dtype, tensor.shape, watched(tensor)) for tensor in file.tensors
    )
    return fingerprint, accumulators


def _layers(tensors: Sequence[TensorInfo], accumulators: dict[str, Accumulator]) -> tuple[LayerReport, ...]:
    groups: dict[str, list[TensorInfo]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.layer, []).append(tensor)
    return tuple(
        _layer(name, group, [accumulators[t.name] for t in group if accumulators]) for name, group in groups.items()
    )


def _layer(name: str, group: Sequence[TensorInfo], accumulators: Sequence[Accumulator]) -> LayerReport:
    results = [accumulator.result() for accumulator in accumulators]
    # not of buffers: a counter of batches would be all that a norm tells
    weights = [taken for tensor, taken in zip(group, accumulators, strict=bool(accumulators)) if tensor.parameters]
    norm = None
    if weights and all(accumulator.result().computed for accumulator in weights):
        from metaprobe.probe.inspection.numbers import ScaledSum

        squares = ScaledSum()
        for accumulator in weights:
            squares.add_sum(accumulator.squares)
        norm = squares.root()
    return LayerReport(
        name=name,
        tensors=len(group),
        parameters=sum(tensor.parameters for tensor in group),
        nbytes=sum(tensor.nbytes for tensor in group),
        norm=norm,
        nan=sum(result.nan > 0 for result in results) if results else None,
        inf=sum(result.inf > 0 for result in results) if results else None,
        all_zero=sum(result.all_zero for result in results) if results else None,
    )
