"""Readings on what moves in the inner loop: changes of weights beside changes of features, and similarity by step."""

from __future__ import annotations

from dataclasses import dataclass

from reports.evidence import Estimate, Reading
from reports.studies.marks import LEARNERS
from reports.studies.raghu2020.study_table import StudyTable

__all__ = [
    "BOUNDARY",
    "DISTANCE",
    "MEASURES",
    "NIL",
    "Change",
    "changes",
    "in_words",
    "shown_steps",
    "stages",
    "steps_of",
    "unrelated",
]

MEASURES = ("debiased_cka", "mean_cca")
"""What is shown step by step; the first is what the map calls the change of features, as 1 - CKA."""

DISTANCE = "relative_distance"

BOUNDARY = 0.1
"""From where weights count as moved and features as changed: a tenth of the norm, a tenth of the similarity. Our choice
for the first; the second is the paper's, which speaks of similarities above 0.9."""

NIL = 1e-6
"""Up to where a change counts as none: rounding of float32 weights and activations."""


@dataclass(frozen=True)
class Change:
    """What the inner loop did to a layer.

    Attributes:
        layer: the layer.
        weights: norm of the change of its weights over their norm before, mean over tasks.
        features: 1 - debiased CKA of what it computes before against after.
    """

    layer: str
    weights: Estimate
    features: Estimate


def changes(study: StudyTable, algorithm: str, iteration: int | None = None) -> tuple[Change, ...]:
    """Return the layers of a learner of which both changes are known, after the last captured inner step.

    Args:
        study: the questions to the table.
        algorithm: the learner.
        iteration: training iteration; None for the last.
    """
    found = []
    for layer in study.layers(DISTANCE):
        weights = study.distance(DISTANCE, algorithm, layer, iteration)
        features = _complement(study.similarity(MEASURES[0], algorithm, layer, iteration=iteration))
        if isinstance(weights, Estimate) and isinstance(features, Estimate):
            found.append(Change(layer, weights, features))
    return tuple(found)


def stages(study: StudyTable) -> tuple[int, ...]:
    """Return the iterations of MAML's training at which both changes were measured."""
    every = (study.iterations("maml", measure, start=True) for measure in (DISTANCE, MEASURES[0]))
    return tuple(sorted(set.intersection(*map(set, every))))


def steps_of(study: StudyTable, measure: str, algorithm: str) -> list[int]:
    """Return the inner steps after which a learner's similarity to the start was measured, ascending."""
    return sorted({row.step for row in study.rows(measure, algorithm) if row.step})


def shown_steps(study: StudyTable) -> tuple[tuple[str, str], ...]:
    """Return (measure, learner) wherever the similarity was measured after more than one inner step."""
    return tuple((m, a) for m in MEASURES for a in LEARNERS if len(steps_of(study, m, a)) > 1)


def unrelated(study: StudyTable, learners: tuple[str, ...]) -> tuple[float, float] | None:
    """Return the lowest and highest 1 - CKA of the null over layers and learners; None where there is none."""
    null = f"{MEASURES[0]}_null"
    found = [_complement(study.similarity(null, a, layer)) for a in learners for layer in study.layers(null)]
    known = [reading for reading in found if isinstance(reading, Estimate)]
    if not known:
        return None
    lows = [reading.value if reading.low is None else reading.low for reading in known]
    return min(lows), max(reading.value if reading.high is None else reading.high for reading in known)


def in_words(change: Change) -> str:
    """Say in which quarter of the map a layer lies: by its whole intervals, "on the boundary" where one crosses it."""
    sides = [_side(estimate) for estimate in (change.weights, change.features)]
    if None in sides:
        return "on the boundary"
    moved, mattered = sides
    if moved:
        return "moved, and it mattered" if mattered else "moved, without effect"
    return "hardly moved, yet it mattered" if mattered else "still"


def _side(estimate: Estimate) -> bool | None:
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    return None if low < BOUNDARY <= high else low >= BOUNDARY


def _complement(found: Reading) -> Reading:
    """Return 1 - a reading, its interval turned round."""
    if not isinstance(found, Estimate):
        return found
    low, high = (None if bound is None else 1 - bound for bound in (found.high, found.low))
    return Estimate(1 - found.value, low, high, found.n, tuple((seed, 1 - value) for seed, value in found.per_seed))
