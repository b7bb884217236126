"""Angles between representations, in radians: distances that satisfy the triangle inequality.

Each is the arc cosine of a similarity, so for one pair it says what that does; a mean over tasks of angles is no
function of the mean similarity. Rounding of the cosine makes an angle of 0 up to about 1e-8.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.cka import LINEAR_CKA
from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.procrustes import PROCRUSTES
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.work import Work

__all__ = ["ANGULAR_CKA", "ANGULAR_PROCRUSTES", "angular_cka", "angular_procrustes"]


def angular_cka(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the angle between centred Gram matrices, arccos of linear CKA (Williams et al. 2021; Lange et al. 2023).

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return ANGULAR_CKA.function(x, y)


def angular_procrustes(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the angle that the best rotation leaves, arccos of `procrustes` (Williams et al. 2021, eq. 5).

    It is the angular shape metric under rotations, and, `procrustes` being the normalised Bures similarity of the Gram
    matrices (Tang et al. 2020), the Bures angle. Arguments and errors as `angular_cka`.
    """
    return ANGULAR_PROCRUSTES.function(x, y)


def _angle(pair: Pair, cosine: Measure) -> Similarity:
    found = cosine.compute(pair)
    if found.value is None:
        return found
    remark = f"of its cosine, {cosine.name}: {found.remark}" if found.remark else ""
    return dataclasses.replace(found, value=math.acos(found.value), remark=remark)


_SHAPE = PROCRUSTES.works[-1]  # Williams et al. (2021), who have both

ANGULAR_CKA = Measure(
    name="angular_cka",
    compute=functools.partial(_angle, cosine=LINEAR_CKA),
    citation=(
        _SHAPE,
        Work(
            "lange2023deep",
            "inproceedings",
            (
                "Lange, Richard D.",
                "Kwok, Devin",
                "Matelsky, Jordan Kyle",
                "Wang, Xinyue",
                "Rolnick, David",
                "Kording, Konrad",
            ),
            "Deep Networks as Paths on the Manifold of Neural Representations",
            "Annual Workshop on Topology, Algebra, and Geometry in Machine Learning",
            2023,
        ),
    ),
    range=(0.0, math.pi / 2),
    invariances=LINEAR_CKA.invariances,
    minimum_samples=LINEAR_CKA.minimum_samples,
    higher_is_more_similar=False,
    summary="arccos of linear CKA, radians",
    misleads=(
        "Where its cosine does. Near 0 an angle is steep: a CKA of 0.99 is 0.14 radians. It is a distance, of "
        "which 0 is wholly alike."
    ),
)

ANGULAR_PROCRUSTES = Measure(
    name="angular_procrustes",
    compute=functools.partial(_angle, cosine=PROCRUSTES),
    citation=_SHAPE,
    range=(0.0, math.pi / 2),
    invariances=PROCRUSTES.invariances,
    minimum_samples=PROCRUSTES.minimum_samples,
    higher_is_more_similar=False,
    summary="arccos of procrustes, radians: the angular shape metric under rotations, and the Bures angle",
    misleads=(
        "Where its cosine does. Near 0 an angle is steep: a cosine of 0.99 is 0.14 radians. It is a distance, of "
        "which 0 is wholly alike."
    ),
)
