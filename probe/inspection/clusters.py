"""The clusters of a TSA-MAML checkpoint: how many tasks each had, how far it is from the base, and from another file's.

Members are read always, they are few bytes; distances need all values and come when asked for. No torch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from metaprobe.probe.inspection.tensor_files import TensorFile, TensorInfo
from metaprobe.trainers.formats.cluster_format import CENTRES, CLUSTERS, INITIALISATIONS, MEMBERS, cluster_problems
from metaprobe.trainers.formats.text import visible

if TYPE_CHECKING:
    from metaprobe.probe.inspection.distance import Distance

__all__ = ["ClusterReport", "ClustersReport", "distance_of_rows", "inspect_clusters"]

_MOST_CLUSTERS = 1000
_MOST_PROBLEMS = 5
_ALGORITHM = "tsa_maml"
_NORM = ".norm."  # in the names of the norms' parameters


@dataclass(frozen=True)
class ClusterReport:
    """One cluster.

    Attributes:
        cluster: its number, from 0. members: of the tasks that the clusters were found in, how many. share: 0…1.
        centre_to_base: L2 between its centre and the base, over the parameters that tasks are clustered by.
        initialisation_to_base: L2 between its initialisation and the base, over all parameters.
            Both None without statistics, and where a value is NaN or infinite.
    """

    cluster: int
    members: int
    share: float | None
    centre_to_base: float | None = None
    initialisation_to_base: float | None = None


@dataclass(frozen=True)
class ClustersReport:
    """The clusters of a file.

    Attributes:
        count: how many, m; None where the file does not say.
        clustered_by: the parameters that have centres: "all", "body", "head", or "other"; norms need not have any.
        norms: whether those of the norms have some.
        steps: inner steps after which tasks are clustered and assigned; None where the file does not say.
        label_orders: how many orders of a task's labels are averaged over.
        symmetric_head: whether tasks adapt under a head of equal rows for it.
        compared_with: what a task's adapted parameters are compared with: "centres" or "initialisations".
        base: fingerprint of the checkpoint that training began with, None where it is not recorded.
        clusters: each of them; empty where the problems leave nothing to tell.
        problems: what is wrong with the file's clusters, in sentences.
    """

    count: int | None
    clustered_by: str
    norms: bool
    steps: int | None
    label_orders: int
    symmetric_head: bool
    compared_with: str
    base: str | None
    clusters: tuple[ClusterReport, ...]
    problems: tuple[str, ...]


def inspect_clusters(file: TensorFile, stats: bool) -> ClustersReport | None:
    """Look into the clusters of a checkpoint of ours; None for a file that has none, nor should.

    Args:
        file: an open file.
        stats: read all values too, for the distances.
    """
    if file.checkpoint is None or file.checkpoint.kind != "checkpoint":
        return None
    of_clusters = any(tensor.name.startswith(CLUSTERS) for tensor in file.tensors)
    if not of_clusters and file.checkpoint.config.get("algorithm") != _ALGORITHM:
        return None
    tensors = {tensor.name: tensor for tensor in file.tensors}
    kinds = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    problems = list(islice(cluster_problems(kinds, "I64"), _MOST_PROBLEMS + 1))
    if len(problems) > _MOST_PROBLEMS:
        problems[-1] = "… and more like these"
    counted = tensors.get(MEMBERS)
    count = counted.shape[0] if counted is not None and len(counted.shape) == 1 else None
    if not problems and count is not None and count > _MOST_CLUSTERS:
        problems.append(f"{count:,} clusters are more than the {_MOST_CLUSTERS:,} that are listed")
    members = [] if problems or counted is None else _members(file, counted)
    if any(member < 0 for member in members):
        problems.append(f"{MEMBERS} counts {min(members)} tasks in cluster {members.index(min(members))}")
        members = []
    asked = file.checkpoint.config.get("clusters")
    if count is not None and asked is not None and asked != count:
        problems.append(f"there are {count:,} clusters, but its config asked for {visible(str(asked), 40)}")
    base, config = file.checkpoint.provenance.get("base"), file.checkpoint.config
    steps = config.get("cluster_steps", file.checkpoint.adaptation.get("steps"))  # as a test, in earlier versions
    orders = config.get("label_orders", 1)
    return ClustersReport(
        count=count,
        clustered_by=_clustered_by(file, tensors),
        norms=any(name.startswith(CENTRES) and _NORM in name for name in tensors),
        steps=steps if type(steps) is int else None,
        label_orders=orders if type(orders) is int else 1,
        symmetric_head=config.get("symmetric_head") is True,
        compared_with=visible(str(config.get("assign_to", "centres")), 40),
        base=None if base is None else visible(str(base), 80),
        clusters=tuple(_clusters(file, tensors, members, stats)),
        problems=tuple(problems),
    )


def distance_of_rows(
    pairs: Iterable[tuple[Iterator[memoryview], Iterator[memoryview], str]],
) -> Distance | None:
    """Return how far the second of each pair of equally long streams is from the first, all pairs as one vector.

    Args:
        pairs: (pieces of A, pieces of B, their dtype) each.

    Returns:
        None where a value is NaN or infinite, a dtype has no decoder, or there are no values.
    """
    from metaprobe.probe.inspection.distance import DistanceSums  # numpy, which a look at the header does not need
    from metaprobe.probe.inspection.numbers import decode

    sums = DistanceSums()
    for a, b, dtype in pairs:
        for piece_a, piece_b in zip(a, b, strict=True):
            left, right = decode(piece_a, dtype), decode(piece_b, dtype)
            if left is None or right is None:
                return None
            sums.add(left, right)
    return None if sums.left_out else sums.distance()


def _members(file: TensorFile, tensor: TensorInfo) -> list[int]:
    return [number for piece in file.pieces(tensor) for (number,) in struct.iter_unpack("<q", piece)]


def _clusters(
    file: TensorFile, tensors: dict[str, TensorInfo], members: list[int], stats: bool
) -> Iterator[ClusterReport]:
    total = sum(members)
    for cluster, number in enumerate(members):
        distances = [_to_base(file, tensors, part, cluster) if stats else None for part in (CENTRES, INITIALISATIONS)]
        yield ClusterReport(cluster, number, number / total if total > 0 else None, *distances)


def _to_base(file: TensorFile, tensors: dict[str, TensorInfo], part: str, cluster: int) -> float | None:
    rows = file.rows
    if rows is None:
        return None
    distance = distance_of_rows(
        (file.pieces(tensors[name.removeprefix(part)]), rows(tensor, cluster), tensor.dtype)
        for name, tensor in tensors.items()
        if name.startswith(part)
    )
    return None if distance is None else distance.l2


def _clustered_by(file: TensorFile, tensors: dict[str, TensorInfo]) -> str:
    centres = {name.removeprefix(CENTRES) for name in tensors if name.startswith(CENTRES)}
    base = {name for name in tensors if not name.startswith(CLUSTERS)}
    head = {name for name in base if tensors[name].layer == _head(file)}
    norms = {name for name in base if _NORM in name}
    kinds = {"all": base, "head": head, "body": base - head}
    return next((kind for kind, names in kinds.items() if names and centres in (names, names - norms)), "other")


def _head(file: TensorFile) -> str:
    layers = file.checkpoint.adaptation.get("layers") if file.checkpoint is not None else None
    return str(layers[-1]) if isinstance(layers, list) and layers else "head"
