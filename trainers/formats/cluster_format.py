"""The tensors of clusters in a checkpoint's file: their names, and what must hold of them. No torch.

The base lies under the network's own names; beside it `clusters.members` (m,), and with a leading axis of the clusters
`clusters.centres.NAME` and `clusters.initialisations.NAME`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from metaprobe.trainers.formats.tensor_names import BESIDE, UNTRAINED
from metaprobe.trainers.formats.text import visible

__all__ = ["CENTRES", "CLUSTERS", "INITIALISATIONS", "MEMBERS", "cluster_problems", "layer_of_tensor"]

CLUSTERS = "clusters."
MEMBERS = "clusters.members"
CENTRES = "clusters.centres."
INITIALISATIONS = "clusters.initialisations."

_PARTS = (CENTRES, INITIALISATIONS)


def layer_of_tensor(name: str) -> str:
    """Return the layer that a tensor of a file belongs to: `conv1`, `update_rule.conv1`, `clusters.centres.conv1` …."""
    first, second, third, *_ = [*name.split(".", 3), "", ""]
    if f"{first}." in (UNTRAINED, *BESIDE) and second:
        return f"{first}.{second}"
    if f"{first}." != CLUSTERS or not second:
        return first
    part = f"{first}.{second}"
    return f"{part}.{third}" if f"{part}." in _PARTS and third else part


def cluster_problems(tensors: Mapping[str, tuple[object, tuple[int, ...]]], int64: object) -> Iterator[str]:
    """Say in sentences what is wrong with the clusters of a file, from the dtypes and shapes of its tensors alone.

    Args:
        tensors: (dtype, shape) of every tensor of the file by name.
        int64: how whole numbers of 64 bits are spelled among those dtypes.

    Yields:
        One sentence a problem, each naming a tensor; none where the clusters are sound.
    """
    wanted = f"expected {int64} (m,), the number of tasks in each of m ≥ 1 clusters"
    if MEMBERS not in tensors:
        yield f"{MEMBERS} is missing; {wanted}"
        return
    dtype, shape = tensors[MEMBERS]
    if dtype != int64 or len(shape) != 1 or not shape[0]:
        yield f"{MEMBERS} is {dtype} {shape}, {wanted}"
        return
    base = {name: kind for name, kind in sorted(tensors.items()) if not name.startswith(CLUSTERS)}
    for name, kind in sorted(tensors.items()):
        if not name.startswith(CLUSTERS) or name == MEMBERS:
            continue
        part = next((part for part in _PARTS if name.startswith(part)), None)
        own = None if part is None else base.get(name.removeprefix(part))
        if own is None:
            yield f"{visible(name, 80)} is neither a centre nor an initialisation of a parameter of the base"
        elif kind != (own[0], (*shape, *own[1])):
            yield f"{visible(name, 80)} is {kind[0]} {kind[1]}, expected {own[0]} {(*shape, *own[1])}"
    for name in base:
        if f"{INITIALISATIONS}{name}" not in tensors:
            yield f"{INITIALISATIONS}{visible(name, 80)} is missing; every parameter of the base needs one"
    if not any(name.startswith(CENTRES) for name in tensors):
        yield f"{CENTRES}* is missing; expected the centres of the parameters that tasks are clustered by"
