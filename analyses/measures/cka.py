"""Centred kernel alignment with linear kernels, biased and debiased."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity
from metaprobe.analyses.measures.side import EPS
from metaprobe.analyses.measures.work import Work

__all__ = ["DEBIASED_CKA", "LINEAR_CKA", "debiased_cka", "linear_cka"]


def linear_cka(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return linear CKA, ‖X̃ᵀỸ‖² / (‖X̃ᵀX̃‖·‖ỸᵀỸ‖) in Frobenius norms (Kornblith et al. 2019, section 3).

    It is biased upwards when samples are few: 25 samples of 64 independent Gaussians give 0.72. Over all orders of the
    samples of y the mean of X̃ᵀỸ's square is exactly tr X̃X̃ᵀ·tr ỸỸᵀ/(n−1), so that of CKA is

        e = tr X̃X̃ᵀ·tr ỸỸᵀ / ((n−1)·‖X̃ᵀX̃‖·‖ỸᵀỸ‖),

    for p and q independent features of one variance about 1/√((1 + n/p)(1 + n/q)). From e = 1/4 on (n ≤ 3p) the result
    has a remark with that number.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return LINEAR_CKA.function(x, y)


def debiased_cka(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return linear CKA from the unbiased estimator of HSIC, HSIC₁(K,L) / √(HSIC₁(K,K)·HSIC₁(L,L)).

    Song et al. (2012, eq. 5) for the estimator, Nguyen et al. (2021, section 2) for its use here; the sums that it is
    computed from are derived in `probe.moments`. Independent representations give about 0, so it may be negative.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return DEBIASED_CKA.function(x, y)


def _linear_cka(pair: Pair) -> Similarity:
    xx, xy, yy = pair.alignments
    length = math.sqrt(xx * yy)
    expected = float(np.trace(pair.x.scatter) * np.trace(pair.y.scatter)) / ((pair.n - 1) * length)
    remark = f"few samples: with those of y in any order, n={pair.n} give {expected:.2f} on average"
    found = pair.defined(min(1.0, xy / length))  # rounding may reach 1 + eps
    return dataclasses.replace(found, remark=remark if expected >= FEW else "")


def _debiased_cka(pair: Pair) -> Similarity:
    if pair.quartic_flaw:
        return pair.undefined(pair.quartic_flaw)
    n, aligned, diagonal = pair.n, pair.alignments, pair.quartic
    tx, ty = float(np.trace(pair.x.scatter)), float(np.trace(pair.y.scatter))
    traces = np.array([tx * tx, tx * ty, ty * ty])
    terms = np.stack([aligned, -n / (n - 2) * diagonal, traces / ((n - 1) * (n - 2))])
    xx, xy, yy = terms.sum(axis=0)  # n(n−3)·HSIC₁
    rounding = 8 * n * EPS * np.abs(terms).sum(axis=0)
    for name, value, error in (("x", xx, rounding[0]), ("y", yy, rounding[2])):
        if value <= error:
            return pair.undefined(
                f"{name} has no similarity structure apart from single samples: its unbiased HSIC with itself is zero"
            )
    return pair.defined(float(np.clip(xy / math.sqrt(xx * yy), -1.0, 1.0)))


_INVARIANCES = frozenset(
    {"translation", "isotropic_scaling", "orthogonal", "permutation_of_features", "permutation_of_samples", "symmetric"}
)

LINEAR_CKA = Measure(
    name="linear_cka",
    compute=_linear_cka,
    citation=Work(
        "kornblith2019similarity",
        "inproceedings",
        ("Kornblith, Simon", "Norouzi, Mohammad", "Lee, Honglak", "Hinton, Geoffrey"),
        "Similarity of Neural Network Representations Revisited",
        "International Conference on Machine Learning",
        2019,
        {"pages": "3519–3529"},
    ),
    range=(0.0, 1.0),
    invariances=_INVARIANCES,
    minimum_samples=3,
    summary="cosine of the centred Gram matrices: the RV coefficient",
    misleads=(
        "With few samples, of which it is large whatever they are; and where few directions hold most of the "
        "variance: they decide alone, and what happens in the others does not show."
    ),
)

DEBIASED_CKA = Measure(
    name="debiased_cka",
    compute=_debiased_cka,
    citation=(
        Work(
            "nguyen2021wide",
            "inproceedings",
            ("Nguyen, Thao", "Raghu, Maithra", "Kornblith, Simon"),
            "Do Wide and Deep Networks Learn the Same Things? Uncovering How Neural Network Representations "
            "Vary with Width and Depth",
            "International Conference on Learning Representations",
            2021,
        ),
        Work(
            "song2012feature",
            "article",
            ("Song, Le", "Smola, Alex", "Gretton, Arthur", "Bedo, Justin", "Borgwardt, Karsten"),
            "Feature Selection via Dependence Maximization",
            "Journal of Machine Learning Research",
            2012,
            {"volume": "13", "pages": "1393–1434"},
        ),
    ),
    range=(-1.0, 1.0),
    invariances=_INVARIANCES,
    minimum_samples=4,
    summary="linear CKA from unbiased HSIC: about 0 of what is unrelated, however few samples",
    misleads=(
        "It is unbiased, not exact: with few samples it scatters, below 0 too. Samples that depend on each other, "
        "as positions of one image, bias it again. Few directions of large variance decide, as of linear CKA."
    ),
)
