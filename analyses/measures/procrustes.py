"""Orthogonal Procrustes similarity."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.side import singular_values
from metaprobe.analyses.measures.work import Work

__all__ = ["PROCRUSTES", "procrustes"]


def procrustes(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return how well a rotation carries one representation into the other, ‖X̃ᵀỸ‖_* / (‖X̃‖·‖Ỹ‖).

    With both sides centred and scaled to unit Frobenius norm, the squared Procrustes distance (Ding et al. 2021,
    section 3) is d² = min over rotations Q of ‖X − YQ‖² = 2 − 2·‖XᵀY‖_*, so this value is 1 − d²/2; it is the cosine of
    the angular shape distance of Williams et al. (2021, eq. 5). Where p ≠ q the narrower side is padded with zeros.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return PROCRUSTES.function(x, y)


def _procrustes(pair: Pair) -> Similarity:
    nuclear = singular_values(pair.cross).sum()
    lengths = np.trace(pair.x.scatter) * np.trace(pair.y.scatter)
    return pair.defined(min(1.0, nuclear / math.sqrt(lengths)))  # rounding may reach 1 + eps


PROCRUSTES = Measure(
    name="procrustes",
    compute=_procrustes,
    citation=(
        Work(
            "ding2021grounding",
            "inproceedings",
            ("Ding, Frances", "Denain, Jean-Stanislas", "Steinhardt, Jacob"),
            "Grounding Representation Similarity Through Statistical Testing",
            "Advances in Neural Information Processing Systems",
            2021,
            {"volume": "34"},
        ),
        Work(
            "williams2021generalized",
            "inproceedings",
            ("Williams, Alex H.", "Kunz, Erin", "Kornblith, Simon", "Linderman, Scott W."),
            "Generalized Shape Metrics on Neural Representations",
            "Advances in Neural Information Processing Systems",
            2021,
            {"volume": "34"},
        ),
    ),
    range=(0.0, 1.0),
    invariances=frozenset(
        {
            "translation",
            "isotropic_scaling",
            "orthogonal",
            "permutation_of_features",
            "permutation_of_samples",
            "symmetric",
        }
    ),
    minimum_samples=3,
    summary="how well a rotation carries x into y: the normalised Bures similarity",
    misleads=(
        "With few samples it is large whatever they are, without a remark: read it beside its null. Directions of "
        "large variance decide, though less than of linear CKA."
    ),
)
