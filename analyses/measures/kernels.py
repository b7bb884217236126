"""Alignment of kernels of the distances between samples: distance correlation and CKA with radial kernels.

K and L, a kernel of the distances within x and one of those within y, are centred and compared by their cosine.
Centred doubly, over all orders of the samples of y, the mean cosine is exactly e = tr K·tr L/((n−1)·‖K‖·‖L‖), which is
large when samples are few; from 1/4 on the result has a remark with it. Centred as Székely and Rizzo (2014) do, which
is HSIC₁ of Song et al. (2012), independent samples give about 0, so the value may be negative.

A sample is a whole image: those of one image's positions are alike in any network, and they have 10⁹ pairs a task.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.cka import DEBIASED_CKA, LINEAR_CKA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity
from metaprobe.analyses.measures.side import EPS
from metaprobe.analyses.measures.work import Work

__all__ = ["DEBIASED_DISTANCE_CORRELATION", "DEBIASED_RBF_CKA", "DISTANCE_CORRELATION", "RBF_CKA"]
__all__ += ["debiased_distance_correlation", "debiased_rbf_cka", "distance_correlation", "rbf_cka"]

_MOST = 10_000  # images: a matrix of their distances is then 0.8 GB
_WIDTH = 0.8  # σ of the radial kernel in median distances: the best of the three in Kornblith et al. (2019), table 2


def distance_correlation(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return distance correlation, the root of the cosine of doubly centred distances (Székely et al. 2007, section 2).

    Args:
        x: images by features, any floating type.
        y: the same images by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return DISTANCE_CORRELATION.function(x, y)


def debiased_distance_correlation(
    x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]
) -> Similarity:
    """Return the bias-corrected *squared* distance correlation (Székely and Rizzo 2014, section 3).

    Arguments and errors as `distance_correlation`.
    """
    return DEBIASED_DISTANCE_CORRELATION.function(x, y)


def rbf_cka(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return CKA with kernels exp(−d²/2σ²), σ being 0.8 of the median distance (Kornblith et al. 2019, section 3).

    Arguments and errors as `distance_correlation`.
    """
    return RBF_CKA.function(x, y)


def debiased_rbf_cka(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return `rbf_cka` from the unbiased estimator of HSIC (Song et al. 2012, eq. 5)."""
    return DEBIASED_RBF_CKA.function(x, y)


Kernel = Callable[[Float[np.ndarray, "sample sample"]], Float[np.ndarray, "sample sample"]]


def _aligned(pair: Pair, kernel: Kernel, debiased: bool, root: bool = False) -> Similarity:
    n, sides = pair.n, []
    for name, distances in zip("xy", pair.distances, strict=True):
        if kernel is _radial and not np.median(distances[np.triu_indices(n, 1)]):
            return pair.undefined(f"more than half of the pairs of images coincide in {name}: no width for the kernel")
        values = kernel(distances)
        centred = _without_own(values) if debiased else _centred(values)
        length = float(np.linalg.norm(centred))
        if length <= 8 * n * EPS * np.abs(values).max():
            return pair.undefined(f"all pairs of images are equally far apart in {name}")
        sides.append(centred / length)
    cosine = float(np.clip(np.vdot(*sides), -1.0 if debiased else 0.0, 1.0))
    found = pair.defined(math.sqrt(cosine) if root else cosine)
    expected = float(np.prod([np.trace(side) for side in sides])) / (n - 1)
    if debiased or expected < FEW:
        return found
    value, how = (math.sqrt(expected), "as root mean square") if root else (expected, "on average")
    remark = f"few samples: with those of y in any order, n={n} give {value:.2f} {how}"
    return dataclasses.replace(found, remark=remark)


def _linear(distances: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample sample"]:
    return -distances


def _radial(distances: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample sample"]:
    median = np.median(distances[np.triu_indices(len(distances), 1)])
    return np.exp(-np.square(distances / (_WIDTH * median)) / 2)


def _centred(k: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample sample"]:
    means = k.mean(axis=0)
    return k - means - means[:, None] + means.mean()


def _without_own(k: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample sample"]:
    """Return the U-centred matrix, of what lies beside the diagonal: its rows sum to 0 without it."""
    n, u = len(k), k.copy()
    np.fill_diagonal(u, 0.0)
    sums = u.sum(axis=0)
    u += sums.sum() / ((n - 1) * (n - 2)) - (sums + sums[:, None]) / (n - 2)
    np.fill_diagonal(u, 0.0)
    return u


DISTANCE_CORRELATION = Measure(
    name="distance_correlation",
    compute=functools.partial(_aligned, kernel=_linear, debiased=False, root=True),
    citation=Work(
        "szekely2007measuring",
        "article",
        ("Székely, Gábor J.", "Rizzo, Maria L.", "Bakirov, Nail K."),
        "Measuring and Testing Dependence by Correlation of Distances",
        "The Annals of Statistics",
        2007,
        {"volume": "35", "number": "6", "pages": "2769–2794"},
    ),
    range=(0.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=3,
    maximum_samples=_MOST,
    needs="images",
    summary="correlation of doubly centred distances between images",
    misleads=(
        "With few images it is large whatever they are. It is a root: what is weakly related looks more so than "
        "in measures that are not."
    ),
)
DEBIASED_DISTANCE_CORRELATION = Measure(
    name="debiased_distance_correlation",
    compute=functools.partial(_aligned, kernel=_linear, debiased=True),
    citation=Work(
        "szekely2014partial",
        "article",
        ("Székely, Gábor J.", "Rizzo, Maria L."),
        "Partial Distance Correlation with Methods for Dissimilarities",
        "The Annals of Statistics",
        2014,
        {"volume": "42", "number": "6", "pages": "2382–2412"},
    ),
    range=(-1.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=4,
    maximum_samples=_MOST,
    needs="images",
    summary="squared distance correlation, bias-corrected",
    misleads=(
        "It is of the square, so 0.25 here is 0.5 of distance correlation. With few images it scatters, below 0 too."
    ),
)
RBF_CKA = Measure(
    name="rbf_cka",
    compute=functools.partial(_aligned, kernel=_radial, debiased=False),
    citation=LINEAR_CKA.citation,
    range=(0.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=3,
    maximum_samples=_MOST,
    needs="images",
    summary=f"CKA with radial kernels of {_WIDTH:g} median distances",
    misleads=(
        "With few images it is large whatever they are. Distances well over the median all count as far, so it "
        "says little of how the far ones lie."
    ),
)
DEBIASED_RBF_CKA = Measure(
    name="debiased_rbf_cka",
    compute=functools.partial(_aligned, kernel=_radial, debiased=True),
    citation=(*LINEAR_CKA.works, *DEBIASED_CKA.works[1:]),
    range=(-1.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=4,
    maximum_samples=_MOST,
    needs="images",
    summary=f"CKA with radial kernels of {_WIDTH:g} median distances, from unbiased HSIC",
    misleads=(
        "With few images it scatters, below 0 too. Distances well over the median all count as far, so it says "
        "little of how the far ones lie."
    ),
)
