"""Representational similarity analysis: how alike two dissimilarity matrices of the same images are.

The dissimilarity of two images is 1 − the Pearson correlation of their patterns, a pattern being all a layer says of an
image: of a convolution its whole map, flattened. Two matrices are compared by the correlation of their upper triangles,
Pearson's or Spearman's (Kriegeskorte et al. 2008). Goerttler and Obermayer (2021) ask by it what MAML reuses.
Patterns of two features correlate with ±1 alone, so three are needed.

It reads the samples themselves, not their moments, and a sample is a whole image: not a position.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.side import EPS
from metaprobe.analyses.measures.work import Work

__all__ = ["RSA_PEARSON", "RSA_SPEARMAN", "rsa_pearson", "rsa_spearman"]

_DECIMALS = 12  # of dissimilarities that are ranked: what is equal but for rounding has one rank


def rsa_pearson(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return the Pearson correlation of the dissimilarities of images (Kriegeskorte et al. 2008).

    Args:
        x: images by features, any floating type.
        y: the same images by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return RSA_PEARSON.function(x, y)


def rsa_spearman(x: Float[np.ndarray, "image feature"], y: Float[np.ndarray, "image other"]) -> Similarity:
    """Return the Spearman correlation of the dissimilarities of images, equal ones sharing their mean rank.

    Arguments and errors as `rsa_pearson`.
    """
    return RSA_SPEARMAN.function(x, y)


def _rsa(pair: Pair, ranked: bool) -> Similarity:
    assert pair.samples is not None
    upper, found = np.triu_indices(pair.n, 1), []
    sides = zip("xy", pair.samples.each(_dissimilarities), (None, pair.order), strict=True)
    for name, matrix, order in sides:
        if isinstance(matrix, int):
            told = f"{matrix} of {pair.n} images have one value in all features of {name}"
            return pair.undefined(f"{told}: such a pattern correlates with no other")
        unlike = (matrix if order is None else matrix[np.ix_(order, order)])[upper]
        unlike = _ranks(np.round(unlike, _DECIMALS)) if ranked else unlike
        unlike = unlike - unlike.mean()
        if np.linalg.norm(unlike) <= 8 * EPS * len(unlike):
            return pair.undefined(f"all pairs of images are equally unlike in {name}")
        found.append(unlike / np.linalg.norm(unlike))
    return pair.defined(float(np.clip(found[0] @ found[1], -1.0, 1.0)))


def _dissimilarities(rows: Float[np.ndarray, "image feature"]) -> Float[np.ndarray, "image image"] | int:
    """Return 1 − the correlation of every two images' patterns; or how many images have a pattern without any."""
    values = rows / np.abs(rows.astype(np.float64)).max()  # so that no square underflows
    centred = values - values.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1)
    flat = lengths <= 8 * EPS * np.sqrt(values.shape[1]) * np.abs(values).max(axis=1)
    if flat.any():
        return int(flat.sum())
    patterns = centred / lengths[:, None]
    return 1 - patterns @ patterns.T


def _ranks(values: Float[np.ndarray, " pair"]) -> Float[np.ndarray, " pair"]:
    """Return ranks, equal values sharing their mean (scipy.stats, which has this, takes a second to import)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


_RSA = Work(
    "kriegeskorte2008representational",
    "article",
    ("Kriegeskorte, Nikolaus", "Mur, Marieke", "Bandettini, Peter A."),
    "Representational Similarity Analysis -- Connecting the Branches of Systems Neuroscience",
    "Frontiers in Systems Neuroscience",
    2008,
    {"volume": "2", "pages": "4"},
)
_MAML = Work(
    "goerttler2021exploring",
    "inproceedings",
    ("Goerttler, Thomas", "Obermayer, Klaus"),
    "Exploring the Similarity of Representations in Model-Agnostic Meta-Learning",
    "Learning to Learn Workshop at {ICLR}",
    2021,
)
RSA_PEARSON = Measure(
    name="rsa_pearson",
    compute=functools.partial(_rsa, ranked=False),
    citation=(_RSA, _MAML),
    range=(-1.0, 1.0),
    invariances=frozenset({"isotropic_scaling", "permutation_of_features", "permutation_of_samples", "symmetric"}),
    minimum_samples=4,
    minimum_features=3,
    needs="images",
    summary="correlation of the dissimilarities of images",
    misleads=(
        "A constant added to a feature, or a rotation, changes it, though whatever reads the layer linearly loses "
        "nothing. Of a convolution a pattern is a whole map, so a shifted picture is unlike."
    ),
)
RSA_SPEARMAN = Measure(
    name="rsa_spearman",
    compute=functools.partial(_rsa, ranked=True),
    citation=(_RSA, _MAML),
    range=(-1.0, 1.0),
    invariances=RSA_PEARSON.invariances,
    minimum_samples=4,
    minimum_features=3,
    needs="images",
    summary="rank correlation of the dissimilarities of images",
    misleads=(
        "As with Pearson's; and ranks alone count: dissimilarities that nearly agree are ordered by what little "
        "they differ in."
    ),
)
