"""Arrays and stores in, tables out: similarity measures of representations."""

from analyses.measures.cca import mean_cca, pwcca, svcca
from analyses.measures.cka import debiased_cka, linear_cka
from analyses.measures.measure import INVARIANCES, MEASURES, Measure, Null, shuffled_nulls
from analyses.measures.pair import Pair
from analyses.measures.procrustes import procrustes
from analyses.measures.result import Similarity
from analyses.measures.rsa import rsa_pearson, rsa_spearman

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
    "rsa_pearson",
    "rsa_spearman",
    "shuffled_nulls",
    "svcca",
]
