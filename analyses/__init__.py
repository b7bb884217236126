"""Arrays and stores in, tables out: similarity measures of representations."""

from analyses.measures.angular import angular_cka, angular_procrustes
from analyses.measures.cca import mean_cca, pwcca, svcca
from analyses.measures.cka import debiased_cka, linear_cka
from analyses.measures.gulp import gulp
from analyses.measures.kernels import debiased_distance_correlation, debiased_rbf_cka, distance_correlation, rbf_cka
from analyses.measures.matching import permutation_matching, soft_matching
from analyses.measures.measure import INVARIANCES, MEASURES, Measure, Null, shuffled_nulls
from analyses.measures.neighbours import cknna, mutual_knn
from analyses.measures.pair import Pair
from analyses.measures.procrustes import procrustes
from analyses.measures.regression import r2_x_from_y, r2_y_from_x
from analyses.measures.result import Similarity
from analyses.measures.rsa import rsa_pearson, rsa_spearman

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
