"""Arrays and stores in, tables out: similarity measures of representations."""

from analyses.cca import mean_cca, pwcca, svcca
from analyses.cka import debiased_cka, linear_cka
from analyses.measure import INVARIANCES, MEASURES, Measure, Null, shuffled_null, shuffled_nulls
from analyses.pair import Pair
from analyses.procrustes import procrustes
from analyses.result import Similarity

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "Measure",
    "Null",
    "Pair",
    "Similarity",
    "debiased_cka",
    "linear_cka",
    "mean_cca",
    "procrustes",
    "pwcca",
    "shuffled_null",
    "shuffled_nulls",
    "svcca",
]
