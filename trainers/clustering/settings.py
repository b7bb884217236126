"""How a run clusters tasks. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.config import AssignTo, Clustered, TrainConfig
from trainers.errors import MetaprobeError

__all__ = ["Clustering"]


@dataclass(frozen=True)
class Clustering:
    """How tasks are clustered, with the defaults of Zhou et al. (2021, Section 5) for what a run's config leaves open.

    Attributes:
        m: clusters.
        by: which adapted parameters.
        assign_to: what later tasks are compared with.
        tasks: that the clusters are found in.
    """

    m: int = 3
    by: Clustered = "all"
    assign_to: AssignTo = "centres"
    tasks: int = 10_000

    def __post_init__(self) -> None:
        if self.m > self.tasks:
            told = f"{self.m} clusters cannot be found in {self.tasks} tasks"
            raise MetaprobeError(f"{told}; lower --clusters or raise --cluster-tasks")

    @classmethod
    def of(cls, config: TrainConfig) -> Clustering:
        """Return what a run's config asks for.

        Raises:
            MetaprobeError: more clusters than tasks.
        """
        asked = {"m": config.clusters, "by": config.clustered}
        asked |= {"assign_to": config.assign_to, "tasks": config.cluster_tasks}
        return cls(**{name: value for name, value in asked.items() if value is not None})
