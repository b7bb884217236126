"""How the clusters of two TSA-MAML checkpoints differ: their numbers, their members, and each initialisation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaprobe.probe.inspection.cluster_views import adaptation_told
from metaprobe.probe.inspection.clusters import ClustersReport, distance_of_rows, inspect_clusters
from metaprobe.probe.inspection.distance import Distance
from metaprobe.probe.inspection.tensor_files import TensorFile
from metaprobe.trainers.formats.cluster_format import CENTRES, CLUSTERS, INITIALISATIONS

__all__ = ["ClusterDifference", "ClustersDifference", "diff_clusters"]

_MOST_LISTED = 16  # members in a sentence
_MOST_PAIRED = 8  # clusters whose nearest in the other file is looked for: that reads every pair


@dataclass(frozen=True)
class ClusterDifference:
    """The cluster of one number in both files.

    Attributes:
        cluster: the number. members_a, members_b: tasks that it had.
        centres, initialisations: how far B's are from A's, over all parameters that both have.
            None where nothing can be compared, and where a value is NaN or infinite.
        nearest_in_b: the cluster of B whose initialisation is nearest; None where it was not looked for.
    """

    cluster: int
    members_a: int
    members_b: int
    centres: Distance | None
    initialisations: Distance | None
    nearest_in_b: int | None


@dataclass(frozen=True)
class ClustersDifference:
    """What `diff_clusters` found: sentences that say it, and a line for each cluster where both have as many."""

    sentences: tuple[str, ...]
    clusters: tuple[ClusterDifference, ...]


def diff_clusters(a: TensorFile, b: TensorFile) -> ClustersDifference | None:
    """Compare the clusters of two open files; None where neither has any."""
    of_a, of_b = inspect_clusters(a, stats=False), inspect_clusters(b, stats=False)
    if of_a is None and of_b is None:
        return None
    if of_a is None or of_b is None:
        return ClustersDifference((_one_sided("A", "B", a, of_a) if of_a else _one_sided("B", "A", b, of_b),), ())
    if not of_a.clusters or not of_b.clusters:
        sides = (("A", of_a), ("B", of_b))
        told = (f"{side}: {problem}" for side, found in sides for problem in found.problems if not found.clusters)
        return ClustersDifference(("the clusters are not compared", *told), ())
    if of_a.count != of_b.count:
        told = f"A has {of_a.count} clusters, B has {of_b.count}, so the shapes of their centres and initialisations "
        return ClustersDifference((told + "differ and only the bases are compared", *_settings(of_a, of_b)), ())
    sentences = (_members(of_a, of_b), *_settings(of_a, of_b))
    return ClustersDifference(sentences, tuple(_each(a, b, of_a, of_b)))


def _one_sided(having: str, lacking: str, file: TensorFile, found: ClustersReport | None) -> str:
    tensors = sum(tensor.name.startswith(CLUSTERS) for tensor in file.tensors)
    count = "clusters" if found is None or found.count is None else _counted(found.count)
    return (
        f"only {having} has {count}: its {tensors} tensors {CLUSTERS}* have no counterpart in {lacking}, "
        f"and its base is compared with the weights of {lacking}"
    )


def _counted(count: int) -> str:
    return "1 cluster" if count == 1 else f"{count:,} clusters"


def _members(a: ClustersReport, b: ClustersReport) -> str:
    of_a, of_b = ([cluster.members for cluster in found.clusters] for found in (a, b))
    both = f"both have {_counted(len(of_a))}, compared by number"
    if of_a == of_b:
        return f"{both}; each has as many members in A as in B"
    if len(of_a) > _MOST_LISTED:
        differing = sum(x != y for x, y in zip(of_a, of_b, strict=True))
        return f"{both}; {differing:,} of them have another number of members in A than in B"
    return f"{both}; their members differ: {_listed(of_a)} tasks in A, {_listed(of_b)} in B"


def _listed(numbers: list[int]) -> str:
    return ", ".join(f"{number:,}" for number in numbers[:-1]) + (" and " if numbers[1:] else "") + f"{numbers[-1]:,}"


def _settings(a: ClustersReport, b: ClustersReport) -> Iterator[str]:
    if a.clustered_by != b.clustered_by:
        yield (
            f"the parameters that tasks are clustered by differ: {a.clustered_by} in A, {b.clustered_by} in B; "
            "centres are compared over those that both have"
        )
    if a.norms != b.norms and a.clustered_by == b.clustered_by:
        yield f"the norms' parameters are among those in {'A' if a.norms else 'B'} alone; centres are compared without"
    told = adaptation_told(a), adaptation_told(b)
    if told[0] != told[1]:
        yield f"how tasks adapt to be clustered differs: by {told[0]} in A, by {told[1]} in B"
    if a.compared_with != b.compared_with:
        yield f"what tasks are compared with differs: {a.compared_with} in A, {b.compared_with} in B"
    if a.base != b.base:
        yield "they began with different base checkpoints"


def _each(a: TensorFile, b: TensorFile, of_a: ClustersReport, of_b: ClustersReport) -> Iterator[ClusterDifference]:
    for x, y in zip(of_a.clusters, of_b.clusters, strict=True):
        number = x.cluster
        own = _between(a, b, INITIALISATIONS, number, number)
        to_all = []
        if len(of_a.clusters) <= _MOST_PAIRED and own is not None:
            numbers = range(len(of_b.clusters))
            to_all = [own if to == number else _between(a, b, INITIALISATIONS, number, to) for to in numbers]
        nearest = min(((found.l2, to) for to, found in enumerate(to_all) if found), default=(0.0, None))[1]
        centres = _between(a, b, CENTRES, number, number)
        yield ClusterDifference(number, x.members, y.members, centres, own, nearest)


def _between(a: TensorFile, b: TensorFile, part: str, of_a: int, of_b: int) -> Distance | None:
    rows_a, rows_b = a.rows, b.rows
    if rows_a is None or rows_b is None:
        return None
    in_a, in_b = ({tensor.name: tensor for tensor in file.tensors if tensor.name.startswith(part)} for file in (a, b))
    if any(
        (in_a[name].dtype, in_a[name].shape) != (in_b[name].dtype, in_b[name].shape) for name in in_a if name in in_b
    ):
        return None
    return distance_of_rows(
        (rows_a(in_a[name], of_a), rows_b(in_b[name], of_b), in_a[name].dtype) for name in in_a if name in in_b
    )
