"""The claims on pairs of checkpoints: the paper's figures, and the rules."""

from __future__ import annotations

from reports.studies.verdicts import Claim

__all__ = [
    "LEARNER_PAIRS",
    "MARGINS",
    "MEASURES_JUDGED",
    "PAIRINGS",
    "PAIR_CLAIMS",
    "PAPER_LEARNERS",
    "PAPER_REGIMES",
    "R2_BOUND",
    "REGIME_ORDER",
    "SLOPE_BAND",
]

MEASURES_JUDGED: dict[str, str] = {"mean_cca": "CCA", "debiased_cka": "CKA"}
"""Measures that the verdicts read. The paper's CKA is the biased one, `linear_cka`, which is told beside them."""

LEARNER_PAIRS: tuple[tuple[str, str], ...] = (("maml", "maml"), ("anil", "anil"), ("anil", "maml"))
"""The pairs of claim R6, in the order of the paper's Table 3."""

PAPER_LEARNERS: dict[tuple[str, str], tuple[float, float]] = {
    ("maml", "maml"): (0.51, 0.83),
    ("anil", "anil"): (0.51, 0.86),
    ("anil", "maml"): (0.50, 0.83),
}
"""Table 3: (CCA, CKA), averaged over the body, across seeds."""

REGIME_ORDER = ("maml", "multiclass", "random", "multitask")
"""The regimes of claim R13, the most similar to MAML first."""

PAPER_REGIMES: dict[str, tuple[float, float]] = {
    "maml": (0.51, 0.83),
    "multiclass": (0.48, 0.79),
    "random": (0.40, 0.72),
    "multitask": (0.28, 0.65),
}
"""Table 8: (CCA, CKA) with MAML, averaged over the first three convolutions."""

MARGINS: dict[str, float] = {"mean_cca": 0.03, "debiased_cka": 0.04}
"""The smallest gap that the paper calls a difference: MAML–MAML to multiclass–MAML in Table 8."""

PAIRINGS: dict[str, str] = {
    "pre-post": "before/after",
    "post-pre": "after/before",
    "post-post": "after/after",
}
"""What is set against both seeds before adaptation in claim R10, by phase: of the first seed, of the second."""

SLOPE_BAND = (0.9, 1.1)
R2_BOUND = 0.9

_SEEDS = "mini-ImageNet, across seeds"

PAIR_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "R6",
        "MAML and ANIL learn features as alike as two trainings of one of them",
        "similarity of two trained networks before adaptation, mean over the body, for each two seeds",
        "CCA and CKA: MAML–MAML .51 and .83, ANIL–ANIL .51 and .86, ANIL–MAML .50 and .83",
        "Table 3",
        _SEEDS,
        f"the intervals of ANIL–MAML minus MAML–MAML and minus ANIL–ANIL lie above −{MARGINS['mean_cca']} (CCA) and "
        f"−{MARGINS['debiased_cka']} (debiased CKA), the smallest gaps that the paper calls a difference (MAML to "
        "multiclass, Table 8)",
        ("pairs-similar",),
    ),
    Claim(
        "R10",
        "Adaptation leaves untouched how alike the features of two trainings are",
        "similarity of two MAML networks of different seeds: both before adaptation against one or both after it, a "
        "point for each layer of the body and pair of seeds; slope of the best line, and R² about y = x",
        "the best line is almost exactly y = x, R² ≈ 1; with CKA there is more variation",
        "Figures 7 and 8",
        _SEEDS,
        f"in all three pairings, by CCA and by debiased CKA, the interval of the slope lies within {SLOPE_BAND[0]} to "
        f"{SLOPE_BAND[1]} and that of R² about the line y = x itself above {R2_BOUND} (bounds of this project: the "
        "paper gives none)",
        ("pairs-lines",),
    ),
    Claim(
        "R13",
        "The better the features of a training regime, the more they are like MAML's",
        "similarity with MAML before adaptation, mean over the first three convolutions, by regime",
        "CCA and CKA: MAML .51 and .83, multiclass .48 and .79, random features .40 and .72, multitask .28 and .65",
        "Table 8",
        _SEEDS,
        "in the order MAML, multiclass, random features, multitask the interval of each difference of neighbours lies "
        "above 0, by CCA and by debiased CKA",
        ("pairs-similar",),
    ),
)
