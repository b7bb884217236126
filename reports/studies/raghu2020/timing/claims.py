"""The claim on training and inference time: the paper's figures, and the rule."""

from __future__ import annotations

from reports.studies.verdicts import Claim

__all__ = ["JUDGED_TIMES", "PAPER_SECONDS", "PAPER_SPEEDUPS", "TIMING_CLAIMS", "VIEWS"]

VIEWS: dict[str, str] = {"paper": "1 task, 1 query image", "ordinary": "an outer step of the run"}
"""Conditions, by the `view` of their rows."""

PAPER_SECONDS: dict[str, dict[str, tuple[float, float]]] = {
    "training": {"maml": (0.13, 0.67), "fomaml": (0.083, 0.40), "anil": (0.072, 0.36)},
    "inference": {"maml": (0.078, 0.36), "anil": (0.017, 0.071)},
}
"""Table 6, median seconds at 5-way 1-shot and 5-shot, mini-ImageNet."""

PAPER_SPEEDUPS: dict[str, dict[str, tuple[float, float]]] = {
    "training": {"fomaml": (1.69, 1.7), "anil": (1.79, 1.84)},
    "inference": {"anil": (4.15, 4.87)},
}
"""Table 6, times faster than MAML, as printed (of mean seconds), at 5-way 1-shot and 5-shot, mini-ImageNet."""

JUDGED_TIMES: tuple[tuple[str, str], ...] = (("training", "fomaml"), ("training", "anil"), ("inference", "anil"))
"""What the claim is of, with the learners that have a figure in the paper."""

TIMING_CLAIMS: tuple[Claim, ...] = (
    Claim(
        "R11",
        "ANIL is faster than MAML, in training and far more so at test time",
        "MAML's time over that of FOMAML and ANIL: for one meta-gradient, and for adapting and classifying",
        "training: FOMAML 1.69 and 1.7 times faster, ANIL 1.79 and 1.84; inference: ANIL 4.15 and 4.87 (5-way, 1- and "
        "5-shot)",
        "Table 6",
        "mini-ImageNet, 1 task, target set of 1, mean of 2,000 batches, TensorFlow on one Titan Xp",
        "FOMAML and ANIL train faster than MAML and ANIL adapts faster: the interval of each ratio lies above 1, under "
        "the paper's conditions and in an ordinary outer step. That a ratio is as large as the paper's is not asked; "
        "whether it is stands beside it",
        ("timing-figure", "timing-table"),
    ),
)
