"""How a run clusters tasks. No torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

from metaprobe.trainers.config import AssignTo, Clustered, TrainConfig
from metaprobe.trainers.errors import MetaprobeError

__all__ = ["Clustering", "clustered_names"]


@dataclass(frozen=True)
class Clustering:
    """How tasks are clustered, with the defaults of Zhou et al. (2021) for what a run's config leaves open.

    Steps and norms are those of its code: 20 steps however many training takes, and no norm in the vector.

    Attributes:
        m: clusters.
        by: which adapted parameters.
        assign_to: what later tasks are compared with.
        tasks: that the clusters are found in.
        norms: whether the norms' affine parameters are among those.
        steps: after which tasks are clustered and assigned.
        label_orders, symmetric_head: see `trainers.clustering.moves.Moves`.
    """

    m: int = 3
    by: Clustered = "all"
    assign_to: AssignTo = "centres"
    tasks: int = 10_000
    norms: bool = False
    steps: int = 20
    label_orders: int = 1
    symmetric_head: bool = False

    def __post_init__(self) -> None:
        if self.m > self.tasks:
            told = f"{self.m} clusters cannot be found in {self.tasks} tasks"
            raise MetaprobeError(f"{told}; lower --clusters or raise --cluster-tasks")
        if self.symmetric_head and self.by != "body":
            told = f"--symmetric-head clusters tasks by the body, the head only follows their labels; got {self.by!r}"
            raise MetaprobeError(f"{told}; leave out --clustered")

    @classmethod
    def of(cls, config: TrainConfig) -> Self:
        """Return what a run's config asks for.

        Raises:
            MetaprobeError: more clusters than tasks, or a symmetric head by whose parameters tasks are clustered.
        """
        by = config.clustered or ("body" if config.symmetric_head else None)
        asked = {"m": config.clusters, "by": by, "assign_to": config.assign_to, "tasks": config.cluster_tasks}
        asked |= {"steps": config.cluster_steps, "label_orders": config.label_orders}
        asked |= {"norms": config.cluster_norms, "symmetric_head": config.symmetric_head}
        return cls(**{name: value for name, value in asked.items() if value is not None})


def clustered_names(names: Iterable[str], norms: Collection[str], head: str, wanted: Clustering) -> tuple[str, ...]:
    """Return the parameters that tasks are clustered by, in their order.

    Args:
        names: all parameters.
        norms: those of the norms.
        head: the name of the last layer.
        wanted: which are asked for.
    """
    inside = (name for name in names if wanted.norms or name not in norms)
    parts = ((name, name.partition(".")[0] == head) for name in inside)
    return tuple(name for name, of_head in parts if wanted.by == "all" or of_head == (wanted.by == "head"))
