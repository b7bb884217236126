"""What analyses of clusters share: the clusters and domains that there are, and rows about groupings of tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64
from scipy import stats

from metaprobe.analyses.clustering.partitions import Score, agreement_scores
from metaprobe.analyses.table import Row
from metaprobe.analyses.testing import TestPlan
from metaprobe.trainers.checkpoint import Checkpoint
from metaprobe.trainers.clustering.clusters import Clusters
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.tasks.imageset import ImageSet

__all__ = [
    "SCORES",
    "bootstrap_generator",
    "clusters_of",
    "domains_of",
    "score_rows",
    "scored_row",
    "share_row",
    "undefined_row",
]

SCORES = ("purity", "adjusted_rand", "normalised_mutual_information")
"""Measures of agreement with the known groups."""

_BOOTSTRAP = 0  # spawn key: what a plan's seed names here


def clusters_of(checkpoint: Checkpoint, path: Path | str = "CHECKPOINT") -> Clusters:
    """Return a checkpoint's clusters.

    Raises:
        MetaprobeError: it has none.
    """
    if checkpoint.clusters is None:
        raise MetaprobeError(
            f"{path}: a checkpoint of {checkpoint.config.algorithm} has no clusters; one that starts there and has: "
            f"metaprobe train tsa_maml --base {path} --data {checkpoint.config.data}"
        )
    return checkpoint.clusters


def domains_of(imageset: ImageSet, plan: TestPlan) -> tuple[str, ...]:
    """Return the domains that a plan takes tasks of: all of the data, or the plan's own."""
    return imageset.domain_names if plan.group is None else (plan.group,)


def score_rows(
    identity: Row,
    domains: Sequence[str],
    groups: Int64[np.ndarray, " task"],
    clusters: Int64[np.ndarray, " task"],
    m: int,
    seed: int,
) -> list[Row]:
    """Return a row of each of `SCORES`, undefined where there is one domain only.

    Args:
        identity: what they are of.
        domains: names of the groups.
        groups: the place of each task's domain there.
        clusters: found, 0 … m − 1.
        m: how many clusters there are.
        seed: of the bootstrap.
    """
    row = dataclasses.replace(identity, n=len(clusters))
    if len(domains) < 2:
        why = f"all tasks are of one domain, {domains[0]}: nothing to compare clusters with; see --data mixture:A,B"
        return [undefined_row(row, measure, why) for measure in SCORES]
    scores = agreement_scores(groups, clusters, m, bootstrap_generator(seed))
    return [scored_row(row, measure, scores[measure]) for measure in SCORES]


def share_row(identity: Row, measure: str, true: Bool[np.ndarray, " task"]) -> Row:
    """Return the row of a share of tasks, 0 … 1, with Wilson's 95 % interval (1927)."""
    interval = stats.binomtest(int(true.sum()), len(true)).proportion_ci(method="wilson")
    low, high = float(interval.low), float(interval.high)
    return dataclasses.replace(identity, measure=measure, value=float(true.mean()), low=low, high=high, n=len(true))


def scored_row(identity: Row, measure: str, score: Score) -> Row:
    """Return the row of a score."""
    return dataclasses.replace(identity, measure=measure, value=score.value, low=score.low, high=score.high)


def undefined_row(identity: Row, measure: str, reason: str) -> Row:
    """Return the row of a measure that has no value here."""
    return dataclasses.replace(identity, measure=measure, value=None, status="undefined", reason=reason)


def bootstrap_generator(seed: int) -> np.random.Generator:
    """Return the generator of resamples that a plan's seed names."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_BOOTSTRAP,)))
