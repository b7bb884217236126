"""The claims of raghu2020 that the study answers: the paper's figures, and the rules from an interval to a verdict."""

from __future__ import annotations

from dataclasses import dataclass

from reports.studies.raghu2020.regimes.claims import REGIME_CLAIMS
from reports.studies.verdicts import Claim, Judgement, Verdict, all_of, judge_above, judge_below

__all__ = [
    "ACCURACY_MARGIN",
    "ANIL_MARGIN",
    "CITATION",
    "CLAIMS",
    "CURVE_MARGIN",
    "PAPER_ACCURACY",
    "PAPER_FREEZING",
    "SIMILARITY_THRESHOLD",
    "Claim",
    "Judgement",
    "PaperFigure",
    "Verdict",
    "all_of",
    "judge_above",
    "judge_below",
]

CITATION = """@inproceedings{raghu2020rapid,
  title={Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of {MAML}},
  author={Raghu, Aniruddh and Raghu, Maithra and Bengio, Samy and Vinyals, Oriol},
  booktitle={International Conference on Learning Representations}, year={2020}}"""

ACCURACY_MARGIN = 2.1
"""Percentage points: the largest cost of freezing in the paper's Table 1 (63.1 to 61.0), counted as no effect."""

ANIL_MARGIN = 1.6
"""Percentage points: the largest gap in the paper's Table 2 (63.1 to 61.5) that it counts as comparable."""

SIMILARITY_THRESHOLD = 0.9
"""What the paper's Figure 2 finds exceeded by every convolution layer."""

CURVE_MARGIN = 5.0
"""Percentage points within which two validation curves coincide: our choice, the paper prints a figure only."""


@dataclass(frozen=True)
class PaperFigure:
    """A printed figure of the paper: of what (frozen layers, algorithm), percent, and the ± as printed."""

    of: str
    value: float
    spread: float


_MIN_TRAINING = "mini-ImageNet, 5 inner steps in training and 10 at test, 3 seeds"

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim(
            "R1",
            "Freezing the body at test time costs no accuracy",
            "MAML's test accuracy with convolution layers frozen in the inner loop",
            "nothing 46.9, conv1 46.5, conv1–2 46.4, conv1–3 46.3, conv1–4 46.3 (±0.2–0.4)",
            "Table 1",
            f"5-way 1-shot {_MIN_TRAINING}",
            f"for every frozen block, the interval of the cost lies under {ACCURACY_MARGIN} points, the largest "
            "cost that the paper counts as no effect (63.1 → 61.0, 5-shot)",
            ("freezing-figure", "reuse-index"),
        ),
        Claim(
            "R2",
            "Adaptation leaves the body's representations as they were, and changes the head's",
            "CCA and CKA of each layer before against after adaptation, MAML",
            "convolution layers above 0.9, head below 0.5",
            "Figure 2",
            _MIN_TRAINING,
            f"every convolution layer's interval lies above {SIMILARITY_THRESHOLD}, and the head's below that of every "
            "convolution layer, in CCA and in CKA",
            ("similarity-figure",),
        ),
        Claim(
            "R3",
            "Both hold from early in training",
            "R1 and R2 at 1/3, 2/3 and all of training",
            "freezing conv1–4: 61.3 → 59.7, 63.0 → 61.3, 63.1 → 61.0; CCA as in R2",
            "Figure 3",
            f"5-way 5-shot {_MIN_TRAINING}; iterations 10,000, 20,000, 30,000",
            "the rules of R1 (conv1–4) and of R2 (convolution layers) hold at each of the three",
            ("over-training",),
        ),
        Claim(
            "R4",
            "ANIL is as accurate as MAML",
            "test accuracy of ANIL and of MAML",
            "46.9 → 46.7 and 63.1 → 61.5 (mini-ImageNet 5-way, 1- and 5-shot); "
            "93.7 → 96.2 and 96.4 → 98.0 (Omniglot 20-way)",
            "Table 2",
            "3 seeds each",
            f"the interval of ANIL − MAML lies above −{ANIL_MARGIN} points, the largest gap that the paper counts as "
            "comparable",
            ("learning-curves", "accuracy"),
        ),
        Claim(
            "R5",
            "MAML and ANIL learn along the same curve",
            "loss and accuracy over training",
            "the curves coincide",
            "Figure 5",
            "5-way 5-shot mini-ImageNet",
            f"the mean of |ANIL − MAML| in validation accuracy over training is under {CURVE_MARGIN:g} points even "
            "with every gap at the far end of its interval, and fails when it is over that even with every gap at the "
            "near end (bounds, not an interval; the margin is ours: the paper prints no figure)",
            ("learning-curves",),
        ),
        *REGIME_CLAIMS[:2],
        Claim(
            "R9",
            "Only the head's weights move far",
            "mean Euclidean distance of each layer's weights before to after adaptation",
            "small for all layers but the last",
            "Figure 6",
            "mini-ImageNet, over training",
            "every convolution layer's interval lies below the head's, at the end of training",
            ("weight-distance",),
        ),
        *REGIME_CLAIMS[2:],
    )
}

PAPER_FREEZING: dict[str, tuple[PaperFigure, ...]] = {
    "mini-ImageNet 5-way 1-shot": (
        PaperFigure("", 46.9, 0.2),
        PaperFigure("conv1", 46.5, 0.3),
        PaperFigure("conv1,conv2", 46.4, 0.4),
        PaperFigure("conv1,conv2,conv3", 46.3, 0.4),
        PaperFigure("conv1,conv2,conv3,conv4", 46.3, 0.4),
    ),
    "mini-ImageNet 5-way 5-shot": (
        PaperFigure("", 63.1, 0.4),
        PaperFigure("conv1", 63.0, 0.6),
        PaperFigure("conv1,conv2", 62.6, 0.6),
        PaperFigure("conv1,conv2,conv3", 61.2, 0.5),
        PaperFigure("conv1,conv2,conv3,conv4", 61.0, 0.6),
    ),
}
"""The paper's Table 1, by setting; trained with 5 inner steps, tested with 10."""

PAPER_ACCURACY: tuple[tuple[str, PaperFigure, PaperFigure], ...] = (
    ("Omniglot 20-way 1-shot", PaperFigure("maml", 93.7, 0.7), PaperFigure("anil", 96.2, 0.5)),
    ("Omniglot 20-way 5-shot", PaperFigure("maml", 96.4, 0.1), PaperFigure("anil", 98.0, 0.3)),
    ("mini-ImageNet 5-way 1-shot", PaperFigure("maml", 46.9, 0.2), PaperFigure("anil", 46.7, 0.4)),
    ("mini-ImageNet 5-way 5-shot", PaperFigure("maml", 63.1, 0.4), PaperFigure("anil", 61.5, 0.5)),
)
"""The paper's Table 2, image classification: (setting, MAML, ANIL)."""
