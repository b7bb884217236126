"""Trainings of a study against each other: seeds and learners in pairs."""

from metaprobe.analyses.pairs.trainings import PAIR_MEASURES, compare_trainings
from metaprobe.analyses.pairs.wanted import PAIRINGS, Comparisons, Learners, StoreOf

__all__ = ["PAIRINGS", "PAIR_MEASURES", "Comparisons", "Learners", "StoreOf", "compare_trainings"]
