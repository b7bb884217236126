"""Matchings of single features: permutation and soft matching.

Both read the correlations of each feature of x with each of y, which moments have. Dead features are left out.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from metaprobe.analyses.measures.pair import Pair
from metaprobe.analyses.measures.record import Measure
from metaprobe.analyses.measures.result import Similarity
from metaprobe.analyses.measures.work import Work

__all__ = ["PERMUTATION_MATCHING", "SOFT_MATCHING", "permutation_matching", "soft_matching"]

_MOST = 4_000_000  # pairs of features


def permutation_matching(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the mean correlation of features matched one to one, as well as can be (Li et al. 2015, section 3).

    Where the numbers of features differ, each of the fewer has a partner of its own and the rest have none.

    Args:
        x: samples by features, any floating type.
        y: the same samples by other features.

    Raises:
        ValueError: not floating matrices of equally many rows, fewer than two rows, or NaN or infinite entries.
    """
    return PERMUTATION_MATCHING.function(x, y)


def soft_matching(x: Float[np.ndarray, "sample feature"], y: Float[np.ndarray, "sample other"]) -> Similarity:
    """Return the mean correlation under the best soft matching, max ΣPᵢⱼrᵢⱼ (Khosla and Williams 2024, section 2).

    P ≥ 0 has rows that sum to 1/p and columns that sum to 1/q: every feature has a share. With features centred and of
    unit length the squared soft-matching distance is 2 − 2 times this. For p = q it is `permutation_matching`, a best P
    being a permutation then. Arguments and errors as there.
    """
    return SOFT_MATCHING.function(x, y)


def _permutation_matching(pair: Pair) -> Similarity:
    from scipy.optimize import linear_sum_assignment  # a tenth of a second to import

    if (correlations := _correlations(pair)) is None:
        return pair.undefined(_too_wide(pair))
    matched = correlations[linear_sum_assignment(correlations, maximize=True)]
    return pair.defined(float(matched.mean().clip(-1.0, 1.0)))


def _soft_matching(pair: Pair) -> Similarity:
    from scipy.optimize import linprog
    from scipy.sparse import eye_array, kron, vstack

    p, q = pair.x.live, pair.y.live
    if p == q:
        return _permutation_matching(pair)
    if (correlations := _correlations(pair)) is None:
        return pair.undefined(_too_wide(pair))
    sums = vstack([kron(eye_array(p), np.ones((1, q))), kron(np.ones((1, p)), eye_array(q))], format="csr")
    units = math.lcm(p, q)  # a corner of the polytope is whole in these
    totals = np.repeat([units / p, units / q], [p, q])
    found = linprog(
        -correlations.ravel(), A_eq=sums, b_eq=totals, method="highs-ds", options={"dual_feasibility_tolerance": 1e-10}
    )
    shares = np.round(found.x) / units
    return pair.defined(float(np.clip(shares @ correlations.ravel(), -1.0, 1.0)))


def _correlations(pair: Pair) -> Float[np.ndarray, "live other"] | None:
    return pair.product(pair.x.unit, pair.y.unit) if pair.x.live * pair.y.live <= _MOST else None


def _too_wide(pair: Pair) -> str:
    return f"{pair.x.live:,} × {pair.y.live:,} features are more pairs than {_MOST:,}, which is as many as are matched"


_INVARIANCES = frozenset(
    {"translation", "isotropic_scaling", "permutation_of_features", "permutation_of_samples", "symmetric"}
)

PERMUTATION_MATCHING = Measure(
    name="permutation_matching",
    compute=_permutation_matching,
    citation=Work(
        "li2015convergent",
        "inproceedings",
        ("Li, Yixuan", "Yosinski, Jason", "Clune, Jeff", "Lipson, Hod", "Hopcroft, John"),
        "Convergent Learning: Do Different Neural Networks Learn the Same Representations?",
        "Feature Extraction: Modern Questions and Challenges",
        2015,
        {"pages": "196–212"},
    ),
    range=(-1.0, 1.0),
    invariances=_INVARIANCES,
    minimum_samples=3,
    summary="mean signed correlation of features matched one to one",
    misleads=(
        "A rotation of the features lowers it, though whatever reads the layer linearly loses nothing. With few "
        "samples the best of many matchings is large by chance, without a remark."
    ),
)

SOFT_MATCHING = Measure(
    name="soft_matching",
    compute=_soft_matching,
    citation=Work(
        "khosla2024soft",
        "inproceedings",
        ("Khosla, Meenakshi", "Williams, Alex H."),
        "Soft Matching Distance: A Metric on Neural Representations that Captures Single-Neuron Tuning",
        "{UniReps}: the First Workshop on Unifying Representations in Neural Models",
        2024,
        {"pages": "326–341"},
    ),
    range=(-1.0, 1.0),
    invariances=_INVARIANCES,
    minimum_samples=3,
    summary="mean signed correlation of features matched in shares; of equally many features, permutation_matching",
    misleads=(
        "As permutation matching. Where one side has more features, each has a share of several partners, and is as "
        "unlike them as they are unlike each other."
    ),
)
