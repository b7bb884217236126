"""Similarity measures written a second time, by other means and without care for speed or hard input.

Nothing here is imported by the project; the tests hold the measures against it. Inputs are float64 matrices of full
rank with more samples than features, unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.spatial.distance
import scipy.stats

__all__ = [
    "REFERENCES",
    "centred",
    "debiased_cka",
    "linear_cka",
    "mean_cca",
    "procrustes",
    "pwcca",
    "rsa_pearson",
    "rsa_spearman",
    "svcca",
]


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

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        h = np.eye(len(k)) - 1 / len(k)
        return float(np.trace(k @ h @ m @ h)) / (len(k) - 1) ** 2

    return _aligned(hsic, x, y)


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """HSIC₁ of Song et al. (2012, eq. 5), literally, on Gram matrices of *uncentred* data; any shapes."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n = len(k)
        k, m, one = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), np.ones(n)
        total = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float(total - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))

    return _aligned(hsic, x, y)


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


REFERENCES = {
    "mean_cca": mean_cca,
    "svcca": svcca,
    "pwcca": pwcca,
    "linear_cka": linear_cka,
    "debiased_cka": debiased_cka,
    "procrustes": procrustes,
    "rsa_pearson": rsa_pearson,
    "rsa_spearman": rsa_spearman,
}


def _scores(x: np.ndarray, variance: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    count = next(k for k in range(1, len(values) + 1) if values[:k].sum() >= variance * values.sum())
    return x @ vectors[:, :count]


def _aligned(hsic: Callable[[np.ndarray, np.ndarray], float], x: np.ndarray, y: np.ndarray) -> float:
    k, m = x @ x.T, y @ y.T
    return float(hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m)))
