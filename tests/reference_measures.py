"""Similarity measures written a second time, by other means and without care for speed or hard input.

Nothing here is imported by the project; the tests hold the measures against it. Inputs are float64 matrices of full
rank with more samples than features, unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.spatial.distance
import scipy.stats
import sklearn.metrics.pairwise
import sklearn.neighbors

__all__ = ["REFERENCES", "centred", "debiased_cka", "linear_cka", "mean_cca", "procrustes", "pwcca", "svcca"]


def centred(x: np.ndarray) -> np.ndarray:
    """Subtract the mean of each column, twice, in float64."""
    x = x.astype(np.float64)
    x = x - x.mean(axis=0)
    return x - x.mean(axis=0)


def mean_cca(x: np.ndarray, y: np.ndarray) -> float:
    """Mean cosine of the principal angles between the column spaces (scipy's, which are exact for small angles too)."""
    return float(np.cos(scipy.linalg.subspace_angles(centred(x), centred(y))).mean())


def svcca(x: np.ndarray, y: np.ndarray, variance: float = 0.99) -> float:
    """Mean CCA of the scores on the leading eigenvectors of the covariance matrices."""
    return mean_cca(_scores(centred(x), variance), _scores(centred(y), variance))


def pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """Morcos et al. (2018), with the variates from the eigenproblem Sxx⁻¹SxySyy⁻¹Syx a = ρ²a."""
    x, y = centred(x), centred(y)
    sxx, syy, sxy = x.T @ x, y.T @ y, x.T @ y
    squared, a = scipy.linalg.eigh(sxy @ np.linalg.solve(syy, sxy.T), sxx)
    count = min(x.shape[1], y.shape[1])
    variates = x @ a[:, -count:]  # orthonormal, because aᵀ Sxx a = 1
    weights = np.abs(variates.T @ x).sum(axis=1)
    return float((weights * np.sqrt(squared[-count:])).sum() / weights.sum())


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC of n × n Gram matrices with an explicit centring matrix; any shapes."""
    return _aligned(_hsic0, x @ x.T, y @ y.T)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC₁ of Gram matrices of *uncentred* data; any shapes."""
    return _aligned(_hsic1, x @ x.T, y @ y.T)


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """1 − d²/2, with d the distance that is left after scipy's best rotation of the padded, unit-norm data."""
    width = max(x.shape[1], y.shape[1])
    a, b = (np.pad(centred(z), ((0, 0), (0, width - z.shape[1]))) for z in (x, y))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    rotation, _ = scipy.linalg.orthogonal_procrustes(a, b)
    return float(1 - np.sum((a @ rotation - b) ** 2) / 2)


def rsa_pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation of scipy's correlation distances."""
    return float(scipy.stats.pearsonr(*(scipy.spatial.distance.pdist(z, "correlation") for z in (x, y))).statistic)


def rsa_spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation of scipy's correlation distances."""
    return float(scipy.stats.spearmanr(*(scipy.spatial.distance.pdist(z, "correlation") for z in (x, y))).statistic)


def angular_cka(x: np.ndarray, y: np.ndarray) -> float:
    """The angle of two unit vectors a and b, 2·atan2(‖a − b‖, ‖a + b‖), of centred Gram matrices."""
    grams = (centred(z) @ centred(z).T for z in (x, y))
    a, b = (gram / np.linalg.norm(gram) for gram in grams)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


def angular_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """The angle of which the distance that the best rotation leaves is the chord."""
    return float(2 * np.arcsin(np.sqrt(max(0.0, (1 - procrustes(x, y)) / 2))))


def r2_y_from_x(x: np.ndarray, y: np.ndarray) -> float:
    """What is left of y by least squares with a constant, features of x having unit variance for its digits' sake."""
    regressors = np.column_stack([np.ones(len(x)), centred(x) / centred(x).std(axis=0)])
    left = y - regressors @ scipy.linalg.lstsq(regressors, y)[0]
    return float(1 - np.sum(left**2) / np.sum(centred(y) ** 2))


def gulp(x: np.ndarray, y: np.ndarray, ridge: float = 0.01) -> float:
    """The covariances' form of it, with inverses (Boix-Adserà et al. 2022)."""
    x, y = (centred(z) / np.sqrt(np.mean(np.sum(centred(z) ** 2, axis=1))) for z in (x, y))
    sxx, syy, sxy = x.T @ x / len(x), y.T @ y / len(x), x.T @ y / len(x)
    one, two = (np.linalg.inv(s + ridge * np.eye(len(s))) for s in (sxx, syy))
    square = np.trace(one @ sxx @ one @ sxx) + np.trace(two @ syy @ two @ syy) - 2 * np.trace(one @ sxy @ two @ sxy.T)
    return float(np.sqrt(square))


def permutation_matching(x: np.ndarray, y: np.ndarray) -> float:
    """The linear program of the assignment, whose corners are permutations."""
    r = _correlations(x, y)
    rows, columns = np.kron(np.eye(len(r)), np.ones(r.shape[1])), np.kron(np.ones(len(r)), np.eye(r.shape[1]))
    exact, most = (rows, columns) if len(r) <= r.shape[1] else (columns, rows)
    ones = np.ones(len(exact)), np.ones(len(most))
    found = scipy.optimize.linprog(-r.ravel(), A_eq=exact, b_eq=ones[0], A_ub=most, b_ub=ones[1])
    return float(-found.fun / min(r.shape))


def soft_matching(x: np.ndarray, y: np.ndarray) -> float:
    """Each feature as often as makes both sides equally many, matched one to one."""
    r = _correlations(x, y)
    size = int(np.lcm(*r.shape))
    r = np.repeat(np.repeat(r, size // len(r), axis=0), size // r.shape[1], axis=1)
    return float(r[scipy.optimize.linear_sum_assignment(-r)].mean())


def distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Székely et al. (2007): S₁ + S₂ − 2S₃ in place of centred distances."""

    def covariance(a: np.ndarray, b: np.ndarray) -> float:
        return float((a * b).mean() + a.mean() * b.mean() - 2 * (a.mean(axis=0) * b.mean(axis=0)).mean())

    return float(np.sqrt(_aligned(covariance, _distances(x), _distances(y))))


def debiased_distance_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC₁ of distances, which U-statistics of them come to."""
    return _aligned(_hsic1, _distances(x), _distances(y))


def rbf_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC of scikit-learn's kernels with an explicit centring matrix."""
    return _aligned(_hsic0, _radial(x), _radial(y))


def debiased_rbf_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC₁ of scikit-learn's kernels."""
    return _aligned(_hsic1, _radial(x), _radial(y))


def mutual_knn(x: np.ndarray, y: np.ndarray, k: int = 10) -> float:
    """Sets of scikit-learn's neighbours."""
    return float(np.mean([len(a & b) / k for a, b in zip(_neighbours(x, k), _neighbours(y, k), strict=True)]))


def cknna(x: np.ndarray, y: np.ndarray, k: int = 10) -> float:
    """The sums of Huh et al. (2024), pair by pair."""
    near = {"x": _neighbours(x, k), "y": _neighbours(y, k)}
    data = {"x": centred(x), "y": centred(y)}

    def aligned(one: str, two: str) -> float:
        pairs = [(i, j) for i in range(len(x)) for j in near[one][i] & near[two][i]]
        return float(sum((data[one][i] @ data[one][j]) * (data[two][i] @ data[two][j]) for i, j in pairs))

    return aligned("x", "y") / np.sqrt(aligned("x", "x") * aligned("y", "y"))


REFERENCES = {
    "mean_cca": mean_cca,
    "svcca": svcca,
    "pwcca": pwcca,
    "linear_cka": linear_cka,
    "debiased_cka": debiased_cka,
    "procrustes": procrustes,
    "rsa_pearson": rsa_pearson,
    "rsa_spearman": rsa_spearman,
    "angular_cka": angular_cka,
    "angular_procrustes": angular_procrustes,
    "r2_y_from_x": r2_y_from_x,
    "r2_x_from_y": lambda x, y: r2_y_from_x(y, x),
    "gulp": gulp,
    "permutation_matching": permutation_matching,
    "soft_matching": soft_matching,
    "distance_correlation": distance_correlation,
    "debiased_distance_correlation": debiased_distance_correlation,
    "rbf_cka": rbf_cka,
    "debiased_rbf_cka": debiased_rbf_cka,
    "mutual_knn": mutual_knn,
    "cknna": cknna,
}


def _scores(x: np.ndarray, variance: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    count = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= variance * values.sum())
    return x @ vectors[:, :count]


def _aligned(hsic: Callable[[np.ndarray, np.ndarray], float], k: np.ndarray, m: np.ndarray) -> float:
    return float(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))


def _hsic0(k: np.ndarray, m: np.ndarray) -> float:
    h = np.eye(len(k)) - 1 / len(k)
    return float(np.trace(k @ h @ m @ h)) / (len(k) - 1) ** 2


def _hsic1(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. (2012, eq. 5), literally."""
    n = len(k)
    k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
    total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
    return float(total - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


def _distances(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(x[:, None] - x[None]).sum(axis=2))


def _radial(x: np.ndarray) -> np.ndarray:
    width = 0.8 * np.median(scipy.spatial.distance.pdist(x))
    return sklearn.metrics.pairwise.rbf_kernel(x, gamma=1 / (2 * width**2))


def _neighbours(x: np.ndarray, k: int) -> list[set[int]]:
    found = sklearn.neighbors.NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)
    return [set(row) for row in found.tolist()]


def _correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.corrcoef(x, y, rowvar=False)[: x.shape[1], x.shape[1] :]
