"""The similarity measures there are, and what each gives on samples that have nothing to do with each other.

A new measure is one file with a function `Pair → Similarity` and a `Measure` record, and its name in `_ALL`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.angular import ANGULAR_CKA, ANGULAR_PROCRUSTES
from metaprobe.analyses.measures.cca import MEAN_CCA, PWCCA, SVCCA
from metaprobe.analyses.measures.cka import DEBIASED_CKA, LINEAR_CKA
from metaprobe.analyses.measures.gulp import GULP
from metaprobe.analyses.measures.kernels import (
    DEBIASED_DISTANCE_CORRELATION,
    DEBIASED_RBF_CKA,
    DISTANCE_CORRELATION,
    RBF_CKA,
)
from metaprobe.analyses.measures.matching import PERMUTATION_MATCHING, SOFT_MATCHING
from metaprobe.analyses.measures.neighbours import CKNNA, MUTUAL_KNN
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.procrustes import PROCRUSTES
from metaprobe.analyses.measures.record import INVARIANCES, Measure
from metaprobe.analyses.measures.regression import R2_X_FROM_Y, R2_Y_FROM_X
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.rsa import RSA_PEARSON, RSA_SPEARMAN
from metaprobe.probe.paired import checked_pair
from metaprobe.trainers.plugins import Registry

__all__ = ["ALIASES", "DEFAULTS", "INVARIANCES", "MEASURES", "RSA", "Measure", "Null", "shuffled_nulls"]

_ALL = (MEAN_CCA, SVCCA, PWCCA, LINEAR_CKA, DEBIASED_CKA, PROCRUSTES, RSA_PEARSON, RSA_SPEARMAN, ANGULAR_CKA)
_ALL += (ANGULAR_PROCRUSTES, R2_Y_FROM_X, R2_X_FROM_Y, GULP, PERMUTATION_MATCHING, SOFT_MATCHING)
_ALL += (DISTANCE_CORRELATION, DEBIASED_DISTANCE_CORRELATION, RBF_CKA, DEBIASED_RBF_CKA, MUTUAL_KNN, CKNNA)

MEASURES = Registry("measures", Measure, _ALL)

DEFAULTS = (MEAN_CCA, SVCCA, PWCCA, LINEAR_CKA, DEBIASED_CKA, PROCRUSTES)
"""What is measured where no measure is named: every store answers these, and they cost little."""

RSA = (RSA_PEARSON, RSA_SPEARMAN)
"""Representational similarity analysis, by Pearson's correlation and by Spearman's."""

ALIASES = {
    "cca": "mean_cca",
    "cka": "linear_cka",
    "rv": "linear_cka",  # the RV coefficient (Robert and Escoufier 1976): the cosine of XXᵀ and YYᵀ of centred data
    "bures": "procrustes",  # normalised Bures similarity (Tang et al. 2020): tr (K^½LK^½)^½ of these is ‖XᵀY‖_*
    "shape_metric": "angular_procrustes",  # under rotations, angular (Williams et al. 2021)
}
"""Other names that a measure is known by: short ones, and those of measures that are the same number."""


@dataclasses.dataclass(frozen=True)
class Null:
    """A measure's values after the rows of y were shuffled.

    Attributes:
        mean: their mean; None exactly when a shuffle leaves the measure undefined.
        spread: their standard deviation (n−1 in the denominator); None when undefined or with a single repeat.
        values: one a shuffle; none where there are too few different ones to tell how the mean spreads.
        reason: why the measure is undefined; of one that is defined, what to mind about it, or empty.
    """

    mean: float | None
    spread: float | None
    values: tuple[float, ...]
    reason: str

    @classmethod
    def of(cls, results: Sequence[Similarity]) -> Null:
        """Return the null of what a measure gave, one result a shuffle."""
        values = tuple(result.value for result in results if result.value is not None)
        if len(values) < len(results):
            return cls(None, None, (), next(result.reason for result in results if result.value is None))
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, values, "")


def shuffled_nulls(
    measures: Sequence[Measure],
    x: Float[np.ndarray, "sample feature"],
    y: Float[np.ndarray, "sample other"],
    generator: np.random.Generator,
    repeats: int = 10,
) -> tuple[Null, ...]:
    """Return what measures give when row i of x no longer belongs to row i of y, all on the same permutations.

    Every value of a similarity is to be read against this one: with few samples it is far from 0. Rows are exchanged
    singly; where neighbouring rows are dependent (positions of one image), the null is of independent rows.

    Args:
        measures: any of `MEASURES`, or others.
        x: samples by features.
        y: the same samples by other features.
        generator: source of the permutations.
        repeats: number of permutations.

    Returns:
        One null a measure, in the order given.

    Raises:
        ValueError: `repeats` is not positive, or the arrays are not what `Pair.of_arrays` takes.
    """
    if repeats < 1:
        raise ValueError(f"shuffled null: repeats must be at least 1, got {repeats}")
    x, y = checked_pair(x, y)
    pairs = (Pair.of_arrays(x, y[generator.permutation(len(y))]) for _ in range(repeats))
    results = [[measure.apply(pair) for measure in measures] for pair in pairs]
    return tuple(Null.of([row[i] for row in results]) for i in range(len(measures)))
