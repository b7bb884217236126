"""GULP: how far apart ridge regressions on two representations can be in what they predict."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.cka import LINEAR_CKA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import FEW, Similarity
from metaprobe.analyses.measures.work import Work

__all__ = ["GULP", "gulp"]

_RIDGE = 0.01


def gulp(
    x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"], ridge: float = _RIDGE
) -> Similarity:
    """Return the GULP distance, ‖Hx − Hy‖ in the Frobenius norm (Boix-Adserà et al. 2022, proposition 1).

    Hx = Cx(Cx + λI)⁻¹ in the space of samples is what ridge regression on x does to any target, Cx the covariance of x,
    whose trace is 1: representations are centred and scaled to unit variance in all, as in that paper. Its square is
    tr Hx² + tr Hy² − 2 tr HxHy; over all orders of the samples of y the mean of tr HxHy is tr Hx·tr Hy/(n−1).

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.
        ridge: λ, above 0.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries; or
            `ridge` is not above 0.
    """
    if not ridge > 0:
        raise ValueError(f"gulp: the ridge must be above 0, got {ridge}")
    return dataclasses.replace(GULP, compute=functools.partial(_gulp, ridge=ridge)).function(x, y)


def _gulp(pair: Pair, ridge: float = _RIDGE) -> Similarity:
    shrunk, roots = [], []
    for side in (pair.x, pair.y):
        scale = np.trace(side.scatter)
        values, vectors = np.linalg.eigh(side.scatter / scale)
        values = values.clip(min=0.0)
        shrunk.append(values / (values + ridge))
        roots.append(vectors / np.sqrt(scale * (values + ridge)))
    (one, other), shared = shrunk, np.square(roots[0].T @ pair.cross @ roots[1]).sum()
    own = np.array([one @ one, other @ other])
    expected = one.sum() * other.sum() / ((pair.n - 1) * math.sqrt(own.prod()))
    remark = f"few samples: in any order, n={pair.n} let the predictions' cosine be {expected:.2f} on average"
    found = pair.defined(math.sqrt(max(0.0, own.sum() - 2 * shared)))
    return dataclasses.replace(found, remark=remark if expected >= FEW else "")


GULP = Measure(
    name="gulp",
    compute=_gulp,
    citation=Work(
        "boixadsera2022gulp",
        "inproceedings",
        ("Boix-Adserà, Enric", "Lawrence, Hannah", "Stepaniants, George", "Rigollet, Philippe"),
        "{GULP}: A Prediction-Based Metric between Representations",
        "Advances in Neural Information Processing Systems",
        2022,
        {"volume": "35"},
    ),
    range=(0.0, math.inf),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=3,
    higher_is_more_similar=False,
    summary=f"how far apart ridge regressions on x and on y can be in what they predict (ridge {_RIDGE:g})",
    misleads=(
        "It is a distance without an upper end, which grows with the number of directions, so layers of other "
        "widths are read against their nulls. The ridge decides which directions count."
    ),
)
