"""Arrays and stores in, tables out: similarity measures of representations."""

from metaprobe.analyses.measures.angular import angular_cka, angular_procrustes
from metaprobe.analyses.measures.cca import mean_cca, pwcca, svcca
from metaprobe.analyses.measures.cka import debiased_cka, linear_cka
from metaprobe.analyses.measures.gulp import gulp
from metaprobe.analyses.measures.kernels import (
    debiased_distance_correlation,
    debiased_rbf_cka,
    distance_correlation,
    rbf_cka,
)
from metaprobe.analyses.measures.matching import permutation_matching, soft_matching
from metaprobe.analyses.measures.measure import INVARIANCES, MEASURES, Measure, Null, shuffled_nulls
from metaprobe.analyses.measures.neighbours import cknna, mutual_knn
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.procrustes import procrustes
from metaprobe.analyses.measures.regression import r2_x_from_y, r2_y_from_x
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.rsa import rsa_pearson, rsa_spearman

__all__ = [
    "INVARIANCES",
    "MEASURES",
    "Measure",
    "Null",
    "Pair",
    "Similarity",
    "angular_cka",
    "angular_procrustes",
    "cknna",
    "debiased_cka",
    "debiased_distance_correlation",
    "debiased_rbf_cka",
    "distance_correlation",
    "gulp",
    "linear_cka",
    "mean_cca",
    "mutual_knn",
    "permutation_matching",
    "procrustes",
    "pwcca",
    "r2_x_from_y",
    "r2_y_from_x",
    "rbf_cka",
    "rsa_pearson",
    "rsa_spearman",
    "shuffled_nulls",
    "soft_matching",
    "svcca",
]
