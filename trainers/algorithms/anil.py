"""ANIL: only the head adapts, in training and at test time; the body is learned by the outer loop alone."""

from trainers.algorithms.base import UPDATES, Algorithm, adapt_head, meta_gradient

__all__ = ["ANIL"]

ANIL = Algorithm(
    name="anil",
    summary="MAML whose inner loop moves the head alone (almost no inner loop).",
    citation="Raghu, Raghu, Bengio, Vinyals: Rapid Learning or Feature Reuse?, ICLR 2020, Section 4",
    adaptation=adapt_head,
    meta_gradient=meta_gradient,
    options=UPDATES,
    regression=True,
)
