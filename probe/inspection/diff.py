"""How two files of tensors differ: their names, shapes, dtypes, values by tensor and layer, and configurations."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaprobe.probe.inspection.cluster_diff import ClustersDifference, diff_clusters
from metaprobe.probe.inspection.distance import Distance, DistanceSums, largest_gap
from metaprobe.probe.inspection.numbers import INTEGERS, decode
from metaprobe.probe.inspection.tensor_files import TensorFile, TensorInfo, open_tensors
from metaprobe.probe.inspection.wrapping import PREFIX
from metaprobe.trainers.network_config import network_as_told

__all__ = ["Difference", "KeyDifference", "LayerDifference", "TensorDifference", "diff_files"]

_CONFIGURATIONS = ("config", "network", "adaptation")


@dataclass(frozen=True)
class TensorDifference:
    """One name that both files have: what each says of it, whether the bytes agree, and the distance of the values.

    `distance` is None where the shapes differ, there are no values, or a dtype has no decoder; `reason` says which.
    """

    a: TensorInfo
    b: TensorInfo
    equal: bool
    distance: Distance | None
    reason: str = ""


@dataclass(frozen=True)
class LayerDifference:
    """A layer: how many tensors both files have, how many differ, the distance of the comparable ones as one vector."""

    name: str
    tensors: int
    different: int
    distance: Distance | None


@dataclass(frozen=True)
class KeyDifference:
    """A piece of metadata that differs; a side that lacks it is None. Values are JSON text.

    `counts` says whether it makes the files different (configurations do), or is only listed.
    """

    key: str
    a: str | None
    b: str | None
    counts: bool


@dataclass(frozen=True)
class Difference:
    """What `diff_files` found.

    Attributes:
        a, b: the two files. kind_a, kind_b: what they are.
        only_a, only_b: tensors that one alone has. tensors: every name in both. layers: those, by layer.
        keys: metadata that differs.
        note: what could not be compared, "" where everything could.
        clusters: how the clusters of checkpoints that have some differ; None where neither has.
    """

    a: Path
    b: Path
    kind_a: str
    kind_b: str
    only_a: tuple[TensorInfo, ...]
    only_b: tuple[TensorInfo, ...]
    tensors: tuple[TensorDifference, ...]
    layers: tuple[LayerDifference, ...]
    keys: tuple[KeyDifference, ...]
    note: str
    clusters: ClustersDifference | None = None

    @property
    def same(self) -> bool:
        """Whether names, dtypes, shapes and every bit of the values agree, and the configurations where both have one.

        Iteration, metrics, provenance and foreign metadata are listed and do not count: they say how the weights came
        to be, not what they are. Bits: a NaN equals the same NaN, and -0 is not 0.
        """
        return (
            not self.only_a
            and not self.only_b
            and all(tensor.equal for tensor in self.tensors)
            and not any(key.counts for key in self.keys)
        )


def diff_files(a: Path | str, b: Path | str) -> Difference:
    """Compare two files of tensors of any kind that `open_tensors` reads, with bounded memory.

    Raises:
        UnreadableInput: when either is missing, damaged or hostile.
    """
    with open_tensors(a) as file_a, open_tensors(b) as file_b:
        in_a = {tensor.name: tensor for tensor in file_a.tensors}
        in_b = {tensor.name: tensor for tensor in file_b.tensors}
        layers: dict[str, DistanceSums] = {}
        counts: dict[str, list[bool]] = {}
        tensors = []
        for name in (name for name in in_a if name in in_b):
            found, sums = _compare(file_a, in_a[name], file_b, in_b[name])
            tensors.append(found)
            if sums is not None:
                layers.setdefault(in_a[name].layer, DistanceSums()).add_sums(sums)
            counts.setdefault(in_a[name].layer, []).append(found.equal)
        return Difference(
            a=file_a.path,
            b=file_b.path,
            kind_a=file_a.kind,
            kind_b=file_b.kind,
            only_a=tuple(tensor for name, tensor in in_a.items() if name not in in_b),
            only_b=tuple(tensor for name, tensor in in_b.items() if name not in in_a),
            tensors=tuple(tensors),
            layers=tuple(
                LayerDifference(
                    name, len(equal), equal.count(False), layers[name].distance() if name in layers else None
                )
                for name, equal in counts.items()
            ),
            keys=tuple(_key_differences(file_a, file_b)),
            note=_note(file_a, file_b),
            clusters=diff_clusters(file_a, file_b),
        )


def _compare(
    file_a: TensorFile, a: TensorInfo, file_b: TensorFile, b: TensorInfo
) -> tuple[TensorDifference, DistanceSums | None]:
    if a.shape != b.shape:
        return TensorDifference(a, b, False, None, "the shapes differ"), None
    sums, equal, readable = DistanceSums(), a.dtype == b.dtype, True
    exact = a.dtype == b.dtype and a.dtype in INTEGERS
    complex_numbers = {dtype for dtype in (a.dtype, b.dtype) if dtype.startswith("C")}
    comparable = len(complex_numbers) in (0, len({a.dtype, b.dtype}))
    largest = 0
    for piece_a, piece_b in zip(file_a.pieces(a), file_b.pieces(b), strict=True):
        equal = equal and bytes(piece_a) == bytes(piece_b)  # a comparison of views goes element by element
        left, right = decode(piece_a, a.dtype), decode(piece_b, b.dtype)
        if left is None or right is None or not comparable:
            readable = False
            continue
        sums.add(left, right)
        largest = max(largest, largest_gap(piece_a, piece_b, INTEGERS[a.dtype])) if exact else largest
    if not readable:
        return TensorDifference(a, b, equal, None, f"values not compared: {a.dtype} and {b.dtype}"), None
    sums.max_abs = largest if exact else sums.max_abs
    distance = sums.distance()
    reason = "" if distance else "no finite values in both" if sums.count else "no values"
    return TensorDifference(a, b, equal, distance, reason), sums


def _key_differences(a: TensorFile, b: TensorFile) -> Iterator[KeyDifference]:
    left, right = dict(_metadata(a)), dict(_metadata(b))
    both = a.checkpoint is not None and b.checkpoint is not None
    for key in sorted({*left, *right}):
        if left.get(key) != right.get(key):
            counts = both and key.partition(".")[0] in _CONFIGURATIONS
            yield KeyDifference(key, left.get(key), right.get(key), counts)


def _metadata(file: TensorFile) -> Iterator[tuple[str, str]]:
    if file.checkpoint is not None:
        for part in (*_CONFIGURATIONS, "metrics", "provenance"):
            values = getattr(file.checkpoint, part)
            yield from _flat(part, network_as_told(values) if part == "network" else values)
        for part in ("kind", "iteration", "fingerprint"):
            yield part, json.dumps(getattr(file.checkpoint, part), ensure_ascii=False)
    for key, text in file.metadata:
        yield f"metadata.{key}", json.dumps(text, ensure_ascii=False)


def _flat(name: str, value: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _flat(f"{name}.{key}", inner)
        else:
            yield f"{name}.{key}", json.dumps(inner, sort_keys=True, ensure_ascii=False)


def _note(a: TensorFile, b: TensorFile) -> str:
    sides = (("A", a), ("B", b))
    without = [side for side, file in sides if file.checkpoint is None]
    notes = [f"configurations not compared: {' and '.join(without)} holds none"] if without else []
    for side, file in sides:
        notes += [f"{text} taken off all names of {side}" for key, text in file.metadata if key == PREFIX]
    return "; ".join(notes)
