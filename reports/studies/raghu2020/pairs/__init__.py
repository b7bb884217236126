"""Pairs of checkpoints: seeds, learners and regimes against each other, claims R6, R10 and R13."""
