"""How well two groupings of the same tasks agree, with bootstrap intervals over tasks."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float64, Int64

__all__ = [
    "Score",
    "adjusted_rand",
    "agreement_scores",
    "between_score",
    "chance_of_agreeing",
    "normalised_mutual_information",
    "purity",
    "resampled",
    "table_of",
]

_REPEATS = 1000

Counts = Int64[np.ndarray, "*resample group cluster"]
Values = Float64[np.ndarray, "*resample"]


@dataclasses.dataclass(frozen=True)
class Score:
    """A value with its 95 % interval; None where a group has but one task, which resampling cannot vary."""

    value: float
    low: float | None
    high: float | None


def table_of(
    groups: Int64[np.ndarray, " task"], clusters: Int64[np.ndarray, " task"], shape: tuple[int, int]
) -> Int64[np.ndarray, "group cluster"]:
    """Return how many tasks of each group are in each cluster; both count from 0."""
    return np.bincount(groups * shape[1] + clusters, minlength=shape[0] * shape[1]).reshape(shape)


def purity(tables: Counts) -> Values:
    """Return the share of tasks that are of their cluster's most frequent group, from 1/groups … 1."""
    return tables.max(axis=-2).sum(axis=-1) / tables.sum(axis=(-2, -1))


def adjusted_rand(tables: Counts) -> Values:
    """Return the adjusted Rand index (Hubert and Arabie 1985, Eq. 5): 1 for equal partitions, 0 expected by chance."""
    counts = tables.astype(np.float64)
    n = counts.sum(axis=(-2, -1))
    together = (counts**2).sum(axis=(-2, -1))  # ordered pairs, a task with itself included
    rows, columns = (counts.sum(axis=axis) for axis in (-1, -2))
    same_row, same_column = (rows**2).sum(axis=-1), (columns**2).sum(axis=-1)
    tp, fn, fp = together - n, same_row - together, same_column - together
    tn = n**2 - fn - fp - together
    scale = (tp + fn) * (fn + tn) + (tp + fp) * (fp + tn)
    equal = (fn == 0) & (fp == 0)
    return np.where(equal, 1.0, 2 * (tp * tn - fn * fp) / np.where(equal, 1.0, scale))


def normalised_mutual_information(tables: Counts) -> Values:
    """Return mutual information over the mean of both entropies (Kvålseth 1987), 0 … 1."""
    joint = tables / tables.sum(axis=(-2, -1), keepdims=True)
    rows, columns = joint.sum(axis=-1), joint.sum(axis=-2)
    entropies = _entropy(rows) + _entropy(columns)
    shared = entropies - _entropy(joint.reshape(*joint.shape[:-2], -1))
    trivial = entropies == 0  # one group and one cluster: equal partitions
    return np.where(trivial, 1.0, np.maximum(2 * shared / np.where(trivial, 1.0, entropies), 0.0))


def resampled(
    table: Int64[np.ndarray, "group cluster"], generator: np.random.Generator, repeats: int = _REPEATS
) -> Int64[np.ndarray, "resample group cluster"]:
    """Return the tables of bootstrap resamples of the tasks of each group, drawn as counts: each row is multinomial."""
    sizes = table.sum(axis=1)
    return generator.multinomial(sizes, table / sizes[:, None], size=(repeats, len(sizes)))


def agreement_scores(
    groups: Int64[np.ndarray, " task"], clusters: Int64[np.ndarray, " task"], m: int, generator: np.random.Generator
) -> dict[str, Score]:
    """Return purity, adjusted Rand index and normalised mutual information of clusters against groups.

    Values are scikit-learn's (purity from its contingency matrix). Intervals are percentiles of 1,000 bootstrap
    resamples of the tasks, within groups. Resampling adds chance agreement: where clusters hardly follow groups, the
    interval of purity and of mutual information lies a little high.

    Args:
        groups: ground truth, counted from 0, each with at least one task.
        clusters: found, 0 … m − 1.
        m: how many clusters there are.
        generator: of the resamples.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    values = {
        "purity": contingency_matrix(groups, clusters).max(axis=0).sum() / len(groups),
        "adjusted_rand": adjusted_rand_score(groups, clusters),
        "normalised_mutual_information": normalized_mutual_info_score(groups, clusters),
    }
    functions = (purity, adjusted_rand, normalised_mutual_information)
    table = table_of(groups, clusters, (int(groups.max()) + 1, m))
    draws = resampled(table, generator) if table.sum(axis=1).min() > 1 else None
    return {
        name: _score(float(value), None if draws is None else function(draws))
        for (name, value), function in zip(values.items(), functions, strict=True)
    }


def between_score(
    groups: Int64[np.ndarray, " task"],
    first: Int64[np.ndarray, " task"],
    second: Int64[np.ndarray, " task"],
    m: int,
    generator: np.random.Generator,
) -> Score:
    """Return the adjusted Rand index of two clusterings of the same tasks, resampled within groups as above."""
    from sklearn.metrics import adjusted_rand_score

    table = table_of(groups, first * m + second, (int(groups.max()) + 1, m * m))
    value = float(adjusted_rand_score(first, second))
    if table.sum(axis=1).min() < 2:
        return _score(value, None)
    return _score(value, adjusted_rand(resampled(table, generator).sum(axis=1).reshape(-1, m, m)))


def chance_of_agreeing(
    first: Int64[np.ndarray, " task"], second: Int64[np.ndarray, " task"], m: int, generator: np.random.Generator
) -> Score:
    """Return the share of tasks in the same cluster twice that is expected where the second says nothing of the first.

    Were the tasks exchanged at random in the second, with shares p_i of tasks in cluster i first and q_i then, the
    expected share is Σ p_i q_i. The interval holds 95 % of 1,000 such exchanges: what chance gives on so many tasks.

    Args:
        first: each task's cluster, 0 … m − 1.
        second: each task's cluster the other time.
        m: how many clusters there are.
        generator: of the exchanges.
    """
    shares = (np.bincount(each, minlength=m) / len(each) for each in (first, second))
    value = float(np.dot(*shares))
    if len(first) < 2:
        return _score(value, None)
    return _score(value, np.array([(generator.permutation(first) == second).mean() for _ in range(_REPEATS)]))


def _score(value: float, draws: Values | None) -> Score:
    if draws is None:
        return Score(value, None, None)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Score(value, float(low), float(high))


def _entropy(shares: Float64[np.ndarray, "*resample share"]) -> Values:
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return -(shares * logs).sum(axis=-1)
