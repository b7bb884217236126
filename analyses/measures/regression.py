"""Linear regression of one representation on the other: what share of the variance is explained.

Of samples in any order r directions explain r/(n−1) of whatever there is, on average and exactly; where that is more
than half, the measure is undefined, and from 1/4 on the result has a remark with it.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.cka import LINEAR_CKA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity

__all__ = ["R2_X_FROM_Y", "R2_Y_FROM_X", "r2_x_from_y", "r2_y_from_x"]


def r2_y_from_x(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the share of the variance of y that x explains, ‖UᵀỸ‖²/‖Ỹ‖² (Kornblith et al. 2019, appendix C).

    U is an orthonormal basis of the centred columns of x: least squares, no ridge, and on the samples that it was
    fitted to.

    Args:
        x: samples by features, any floating type: what predicts.
        y: the same samples by other features: what is predicted.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return R2_Y_FROM_X.function(x, y)


def r2_x_from_y(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the share of the variance of x that y explains: `r2_y_from_x` the other way."""
    return R2_X_FROM_Y.function(x, y)


def _explained(pair: Pair, forwards: bool) -> Similarity:
    by, of = (pair.x, pair.y) if forwards else (pair.y, pair.x)
    chance = by.rank / (pair.n - 1)
    told = f"n={pair.n} samples in any order let {by.rank} directions explain {chance:.2f} of the variance"
    if 2 * by.rank > pair.n - 1:
        return pair.undefined(f"{told}; at least {2 * by.rank + 1} samples are needed")
    left, right = (by.basis, of.narrow) if forwards else (of.narrow, by.basis)
    explained = np.square(pair.product(left, right)).sum() / np.trace(of.scatter)
    found = pair.defined(min(1.0, explained))  # rounding may reach 1 + eps
    return dataclasses.replace(found, remark=f"few samples: {told}" if chance >= FEW else "")


R2_Y_FROM_X = Measure(
    name="r2_y_from_x",
    compute=functools.partial(_explained, forwards=True),
    citation=LINEAR_CKA.citation,
    range=(0.0, 1.0),
    invariances=LINEAR_CKA.invariances - {"symmetric"},
    minimum_samples=3,
    summary="share of the variance of y that a linear regression on x explains",
    misleads=(
        "It is fitted and judged on the same samples, so with few of them it is large whatever they are. It is "
        "not symmetric: x may explain all of y and hold much besides."
    ),
)
R2_X_FROM_Y = dataclasses.replace(
    R2_Y_FROM_X,
    name="r2_x_from_y",
    compute=functools.partial(_explained, forwards=False),
    summary="share of the variance of x that a linear regression on y explains",
)
