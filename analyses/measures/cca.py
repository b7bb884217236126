"""Canonical correlation analysis: mean CCA, SVCCA and projection-weighted CCA.

With U, V orthonormal bases of the centred columns of x and y, the canonical correlations are the singular values of
UᵀV (Björck and Golub 1973). n samples span n−1 centred dimensions, so kept_x + kept_y − (n−1) correlations are 1
whatever the data are; when these are more than half of all, the measure is undefined. Over all orders of the samples
of y, the mean of ‖UᵀV‖² is exactly kept_x·kept_y/(n−1), so that of the squared correlations is max(kept)/(n−1); from
1/4 on the result has a remark with its root.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity
from metaprobe.analyses.measures.side import singular_values
from metaprobe.analyses.measures.work import Work

__all__ = ["MEAN_CCA", "PWCCA", "SVCCA", "mean_cca", "pwcca", "svcca"]

_VARIANCE = 0.99


def mean_cca(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the mean canonical correlation, Σρᵢ / min(rank x, rank y), as Raghu et al. (2020) report it.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return MEAN_CCA.function(x, y)


def svcca(
    x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"], variance: float = _VARIANCE
) -> Similarity:
    """Return the mean canonical correlation of the leading principal directions (Raghu et al. 2017, section 2).

    The fewest directions that hold `variance` of the summed squared singular values are kept on either side, on the
    features' own scale.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.
        variance: share of each side's variance to keep, above 0 and at most 1.

    Raises:
        ValueError: as `mean_cca`; or `variance` is out of range.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"svcca: the share of variance to keep must be above 0 and at most 1, got {variance}")
    return dataclasses.replace(SVCCA, compute=functools.partial(_svcca, variance=variance)).function(x, y)


def pwcca(
    x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"], side: Literal["x", "y"] = "x"
) -> Similarity:
    """Return the canonical correlations' mean, weighted by how much of one side each explains (Morcos et al. 2018).

    Σαᵢρᵢ / Σαᵢ with αᵢ = Σⱼ|⟨hᵢ, xⱼ⟩|, hᵢ the *orthonormal* canonical variates of that side and xⱼ its centred features
    on their own scale (section 2.2 there).

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.
        side: whose features weigh, "x" or "y".

    Raises:
        ValueError: as `mean_cca`; or `side` is neither "x" nor "y".
    """
    if side not in ("x", "y"):
        raise ValueError(f"pwcca: the weighing side must be 'x' or 'y', got {side!r}")
    return dataclasses.replace(PWCCA, compute=functools.partial(_pwcca, side=side)).function(x, y)


def _mean_cca(pair: Pair) -> Similarity:
    return _mean_correlation(pair, pair.x.basis, pair.y.basis, lambda: pair.canonical[1])


def _svcca(pair: Pair, variance: float = _VARIANCE) -> Similarity:
    u, v = pair.x.leading(variance), pair.y.leading(variance)
    return _mean_correlation(pair, u, v, lambda: singular_values(pair.leading_cross(variance)))


def _pwcca(pair: Pair, side: Literal["x", "y"] = "x") -> Similarity:
    plain = _mean_cca(pair)
    if plain.value is None:
        return dataclasses.replace(plain, side=side)
    left, correlations, right = pair.canonical
    along = left.T @ pair.x.loadings if side == "x" else right @ pair.y.loadings
    weights = np.abs(along).sum(axis=1)
    return dataclasses.replace(plain, value=float(weights @ correlations.clip(0, 1) / weights.sum()), side=side)


def _mean_correlation(pair: Pair, u: np.ndarray, v: np.ndarray, correlate: Callable[[], np.ndarray]) -> Similarity:
    kept = (u.shape[1], v.shape[1])
    forced = max(0, sum(kept) - (pair.n - 1))
    if 2 * forced > min(kept):
        result = pair.undefined(
            f"{forced} of {min(kept)} canonical correlations are forced to 1: n={pair.n} samples, ranks {kept[0]} and "
            f"{kept[1]}; at least {sum(kept) - min(kept) // 2 + 1} samples are needed"
        )
        return dataclasses.replace(result, kept=kept, forced=forced)
    correlations = correlate().clip(0, 1)  # rounding may reach 1 + eps
    result = pair.defined(correlations.mean())
    expected, remark = max(kept) / (pair.n - 1), ""
    if expected >= FEW:
        told = f"n={pair.n} and ranks {kept[0]} and {kept[1]} give correlations of {math.sqrt(expected):.2f}"
        remark = f"few samples: with those of y in any order, {told} (root mean square)"
    known = tuple(correlations.tolist())
    return dataclasses.replace(result, kept=kept, forced=forced, correlations=known, remark=remark)


_SHARED = frozenset({"translation", "isotropic_scaling", "permutation_of_features", "permutation_of_samples"})

MEAN_CCA = Measure(
    name="mean_cca",
    compute=_mean_cca,
    citation=Work(
        "raghu2020rapid",
        "inproceedings",
        ("Raghu, Aniruddh", "Raghu, Maithra", "Bengio, Samy", "Vinyals, Oriol"),
        "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of {MAML}",
        "International Conference on Learning Representations",
        2020,
    ),
    range=(0.0, 1.0),
    invariances=_SHARED | {"orthogonal", "invertible_linear", "symmetric"},
    minimum_samples=3,
    summary="mean canonical correlation",
    misleads=(
        "With few samples, when correlations are forced to 1; and with layers that have directions of almost no "
        "variance, which it counts like any other: one that adaptation hardly moves may score low."
    ),
)

SVCCA = Measure(
    name="svcca",
    compute=_svcca,
    citation=Work(
        "raghu2017svcca",
        "inproceedings",
        ("Raghu, Maithra", "Gilmer, Justin", "Yosinski, Jason", "Sohl-Dickstein, Jascha"),
        "{SVCCA}: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and Interpretability",
        "Advances in Neural Information Processing Systems",
        2017,
        {"volume": "30"},
    ),
    range=(0.0, 1.0),
    invariances=_SHARED | {"orthogonal", "symmetric"},
    minimum_samples=3,
    summary="mean canonical correlation of the directions that hold 99 % of the variance",
    misleads=(
        "With few samples, as mean CCA. What happens in the directions of the last percent of the variance it "
        "does not see, and it jumps where one direction more is kept."
    ),
)

PWCCA = Measure(
    name="pwcca",
    compute=_pwcca,
    citation=Work(
        "morcos2018insights",
        "inproceedings",
        ("Morcos, Ari S.", "Raghu, Maithra", "Bengio, Samy"),
        "Insights on Representational Similarity in Neural Networks with Canonical Correlation",
        "Advances in Neural Information Processing Systems",
        2018,
        {"volume": "31"},
    ),
    range=(0.0, 1.0),
    invariances=_SHARED,
    minimum_samples=3,
    summary="mean canonical correlation, weighted by what it explains of x",
    misleads=(
        "With few samples, as mean CCA. It is not symmetric: the features of x weigh, and of two layers the other "
        "order gives another number."
    ),
)
