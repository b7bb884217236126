"""The questions put to the table about any learner that adapts, and words for what it answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from metaprobe.analyses.readings import Estimate, Reading, Undefined
from metaprobe.reports.claims import POINTS, above
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.quantities import Computed, Quantity, Query, q
from metaprobe.reports.wording import block_name, capital, label_of, listed, with_interval

# fmt: off
JUDGED = {"mean_cca": "CCA", "debiased_cka": "CKA"}  # similarities that verdicts are about, and their short names
MARGIN = 2.0  # points of a gain from which something counts as learned, where a paper prints none
BOUNDARY = 0.1  # from where weights count as moved and features as changed: a convention
CORNERS = {(False, True): "hardly moved, yet it mattered", (True, True): "moved, and it mattered",
           (False, False): "still", (True, False): "moved, without effect"}

def accuracy(learner: str, frozen: str = "", **how: Any) -> Query:
    """Ask for test accuracy, percent."""
    return q("accuracy", learner=learner, frozen=frozen, **how)

def cost(learner: str, frozen: str, **how: Any) -> Quantity:
    """Ask for what freezing layers changes on the same tasks, points."""
    return accuracy(learner, frozen, **how) - accuracy(learner, **how)

def gains(learner: str, evidence: Evidence) -> dict[str, Quantity]:
    """Ask what training gave a learner, points: over the untrained network, features with features, and over chance."""
    features = accuracy(learner, head="nil") - accuracy("random", head="nil")
    return {"over the untrained network, both under the NIL head": features,
            "over chance": accuracy(learner) - 100 / evidence.n_way}

def untaught(evidence: Evidence, learners: Iterable[str], margin: float = MARGIN, control: bool = False) -> str:
    """Say of which learner it is not shown that it learned something by more than a margin, or "".

    With a `control`, an untrained network of the same kind, the gain over it counts beside that over chance.
    """
    labels = {one.key: one.label for one in evidence.made.learners}
    for who in learners:
        for over, gain in list(gains(who, evidence).items())[not control :]:
            found = gain.read(evidence)
            if above(margin).judge(found) not in ("holds", "not measured"):
                return (f"{labels.get(who) or label_of(who)} is not shown to have learned what could be reused: its "
                        f"gain {over} is {with_interval(found, **POINTS)}, and not clear of {margin} points.")
    return ""

def of_layer(measure: str, layer: str, learner: str, **how: Any) -> Query:
    """Ask for a similarity before against after adaptation, its null, or a distance of weights."""
    return q(measure, learner=learner, layer=layer, **how)

def change(layer: str, learner: str, at: int | str = "last") -> tuple[Quantity, Quantity]:
    """Ask how far a layer's weights moved, relative to their norm, and how much its features changed (1 − CKA)."""
    return of_layer("relative_distance", layer, learner, at=at), 1 - of_layer("debiased_cka", layer, learner, at=at)

def lowest(measure: str, learner: str, at: int | str = "last", *, clear_over: float = float("inf")) -> Quantity:
    """Ask for the least of the body, with the least of all ends; over a bound only if each is clear of its null."""
    def read(evidence: Evidence) -> Reading:
        found, nulls = ({k: of_layer(m, k, learner, at=at).read(evidence) for k in evidence.body}
                        for m in (measure, f"{measure}_null"))
        known = [one for one in found.values() if isinstance(one, Estimate)]
        least = min(known, key=lambda one: one.value, default=None)
        if least is None or any(one.low is None for one in known):
            return least or next((one for one in found.values() if one is not None), None)
        low, high = (min(one.ends[side] for one in known) for side in (0, 1))
        lost = [k for k, one in found.items() if not isinstance(one, Estimate)
                or not (null.ends[1] < one.ends[0] if isinstance(null := nulls[k], Estimate) else null is None)]
        if lost and low > clear_over:
            return Undefined(f"{listed(lost)}: no number, or not clear of its null")
        return dataclasses.replace(least, low=low, high=high)
    return Computed(read)

def quarter(weights: Reading, features: Reading) -> str:
    """Say in which quarter of the map a layer lies, by both whole intervals; "" where it is not on the map."""
    if not (isinstance(weights, Estimate) and isinstance(features, Estimate)):
        return ""
    if any(one.ends[0] < BOUNDARY <= one.ends[1] for one in (weights, features)):
        return "on the boundary"
    return CORNERS[weights.ends[0] >= BOUNDARY, features.ends[0] >= BOUNDARY]

def stages(evidence: Evidence, learner: str) -> tuple[int, ...]:
    """Return the iterations of training at which freezing or similarity was tested, ascending."""
    found = set(evidence.distinct("iteration", "accuracy", learner, frozen=evidence.full))
    found |= {at for m in JUDGED for at in evidence.distinct("iteration", m, learner, other_layer="")}
    return tuple(sorted(found - {0}))

def further_steps(evidence: Evidence, learner: str) -> tuple[int, ...]:
    """Return the numbers of inner steps, other than that of the tests, at which freezing the body was tested."""
    found = evidence.distinct("inner_steps", "accuracy", learner, frozen=evidence.full, head="own", adapts="")
    return tuple(steps for steps in found if steps not in (0, evidence.test_steps))

def headings(blocks: Iterable[str]) -> tuple[str, ...]:
    """Return the headings of columns of frozen blocks."""
    return tuple(capital(block_name(block)) if block else "None frozen" for block in blocks)
