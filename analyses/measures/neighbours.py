"""Nearest neighbours of samples: how many are shared, and how alike the shared ones are.

Neighbours are by Euclidean distance, ten of each sample as in Huh et al. (2024); there samples have unit length, which
makes them those by inner product. Of neighbours equally near, each is one in the share that there is room for: which
of them an index puts first says nothing. A sample is a whole image, as a position's neighbours are those beside it.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.cka import LINEAR_CKA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity
from metaprobe.analyses.measures.work import Work

__all__ = ["CKNNA", "MUTUAL_KNN", "cknna", "mutual_knn"]

_NEIGHBOURS = 10
_MOST = 10_000  # images: a matrix of their distances is then 0.8 GB
_EQUAL = 1 + 1e-9  # of distances that differ by rounding


def mutual_knn(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return the mean share of ten nearest neighbours that x and y agree on (Huh et al. 2024, appendix A).

    With the images of y in any order it is k/(n−1) on average; fewer than 2k + 1 images make that over half, and the
    measure undefined.

    Args:
        x: images by features, any floating type.
        y: the same images by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return MUTUAL_KNN.function(x, y)


def cknna(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return centred kernel nearest-neighbour alignment, A(K, L)/√(A(K, K)·A(L, L)) (Huh et al. 2024, appendix A).

    A(K, L) = ΣαᵢⱼKᵢⱼLᵢⱼ over pairs of which j is among the ten nearest of i in both (of shares of a place, the
    smaller); K and L are products of centred features. Published code takes unbiased HSIC of K and L with all other
    entries 0 instead, which is another number. Arguments and errors as `mutual_knn`.
    """
    return CKNNA.function(x, y)


def _mutual_knn(pair: Pair) -> Similarity:
    one, other = map(_nearest, pair.distances)
    chance = _NEIGHBOURS / (pair.n - 1)
    remark = f"few samples: in any order, n={pair.n} share {chance:.2f} of their neighbours on average"
    found = pair.defined(float(min(1.0, np.minimum(one, other).sum() / (_NEIGHBOURS * pair.n))))
    return dataclasses.replace(found, remark=remark if chance >= FEW else "")


def _cknna(pair: Pair) -> Similarity:
    near, products = [_nearest(distances) for distances in pair.distances], []
    for name, distances, mine in zip("xy", pair.distances, near, strict=True):
        squares = np.square(distances)
        means = squares.mean(axis=0)
        centred = (means + means[:, None] - means.mean() - squares) / 2
        length = np.sqrt((mine * centred**2).sum())
        if not length:
            return pair.undefined(f"the neighbours of every image coincide with the mean of {name}")
        products.append(centred / length)
    return pair.defined(float(np.clip((np.minimum(*near) * products[0] * products[1]).sum(), -1.0, 1.0)))


def _nearest(distances: Float[np.ndarray, "sample sample"]) -> Float[np.ndarray, "sample sample"]:
    """Return in row i which samples are neighbours of i, those equally near in shares; a row sums to ten."""
    others = distances.copy()
    np.fill_diagonal(others, np.inf)
    last = np.partition(others, _NEIGHBOURS - 1, axis=1)[:, _NEIGHBOURS - 1, None]
    nearer = others * _EQUAL < last
    level = (others <= last * _EQUAL) & ~nearer
    room = _NEIGHBOURS - nearer.sum(axis=1, keepdims=True)
    return nearer + level * (room / level.sum(axis=1, keepdims=True))


MUTUAL_KNN = Measure(
    name="mutual_knn",
    compute=_mutual_knn,
    citation=Work(
        "huh2024platonic",
        "inproceedings",
        ("Huh, Minyoung", "Cheung, Brian", "Wang, Tongzhou", "Isola, Phillip"),
        "The Platonic Representation Hypothesis",
        "International Conference on Machine Learning",
        2024,
    ),
    range=(0.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=2 * _NEIGHBOURS + 1,
    maximum_samples=_MOST,
    needs="images",
    summary=f"share of the {_NEIGHBOURS} nearest neighbours that x and y agree on",
    misleads=(
        "Chance gives k/(n−1), with 75 images 0.14. It knows who the neighbours are and nothing of how far: "
        "layers may share all neighbours and differ in all that is larger."
    ),
)
CKNNA = Measure(
    name="cknna",
    compute=_cknna,
    citation=MUTUAL_KNN.citation,
    range=(-1.0, 1.0),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=2 * _NEIGHBOURS + 1,
    maximum_samples=_MOST,
    needs="images",
    summary=f"linear CKA over pairs of images that are among the {_NEIGHBOURS} nearest in both",
    misleads=(
        "It falls with how few neighbours are shared and with how unlike the shared ones are, and does not tell which. "
        "Published code computes another number under this name."
    ),
)
