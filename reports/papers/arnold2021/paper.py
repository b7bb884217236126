"""What claims, sections and answer of arnold2021 share: its learners' keys, its figures as printed, its questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reports.evidence import Evidence
from reports.names import GROUP_MARKS
from reports.quantities import Query, q

# fmt: off
RULES = {"meta_sgd": "Meta-SGD", "meta_curvature": "Meta-Curvature", "t_nets": "T-Nets", "meta_kfo": "Meta-KFO"}
HOWS = {"": "", "linnet": "LinNet", **RULES}  # what a learner has beside the plain network, by the end of its key
_ALGORITHMS = {"maml": "MAML", "anil": "ANIL"}
SOFTMAX = "softmax"
COLOURS = dict(zip(HOWS, (colour for colour, _ in GROUP_MARKS), strict=False))
MARKS = dict(zip(HOWS, (mark for _, mark in GROUP_MARKS), strict=False))
MARGIN = 2.0  # points of a gain from which something counts as learned, as on the other pages
NEAR = 5.0  # points from chance that count as near it: the paper shows a figure only ("slightly improve upon chance")

# mean accuracy in percent, 5-way 5-shot: Omniglot, CIFAR-FS, mini-ImageNet
TABLE_1 = {2: ((66.8, 62.2, 52.6), (88.1, 66.1, 60.5)), 3: ((93.5, 68.9, 54.0), (95.5, 71.1, 60.2)),
           4: ((98.5, 70.9, 64.1), (98.1, 74.4, 64.9)), 6: ((97.6, 71.3, 64.6), (97.6, 71.9, 64.1))}  # plain, LinNet
TABLE_2 = ((91.0, 66.1, 56.42), (93.02, 67.55, 56.64))  # ANIL with two convolutions: plain, LinNet
TABLE_3 = {"": (66.6, 62.2, 52.6), "meta_sgd": (74.07, 62.82, 59.9), "meta_curvature": (94.63, 68.37, 58.95),
           "t_nets": (92.27, 66.42, 58.47), "meta_kfo": (96.62, 69.64, 59.08)}
TABLE_B4 = {"": (91.0, 66.1, 56.42), "meta_sgd": (92.47, 67.55, 57.45), "meta_curvature": (92.67, 67.43, 59.07),
            "meta_kfo": (94.4, 68.81, 62.65)}

def key_of(algorithm: str, depth: int, how: str = "") -> str:
    """Return what the study calls a learner: "maml-cnn2-linnet"; of depth 0 the network is softmax regression."""
    return "-".join(filter(None, (algorithm, f"cnn{depth}" if depth else SOFTMAX, how)))

def label_of(key: str) -> str:
    """Return what the page calls a learner: "MAML CNN(2) + LinNet"."""
    algorithm, network, *how = key.split("-")
    named = "softmax regression" if network == SOFTMAX else f"CNN({network.removeprefix('cnn')})"
    return " + ".join([f"{_ALGORITHMS[algorithm]} {named}", *(HOWS[one] for one in how)])

def depths(evidence: Evidence, how: str = "") -> tuple[int, ...]:
    """Return how many convolutions there are in MAML's networks that were tested with `how`, ascending."""
    found = (one for one in TABLE_1 if key_of("maml", one, how) in evidence.learners)
    return tuple(found)

def shallowest(evidence: Evidence) -> int:
    """Return the fewest convolutions of all networks."""
    return next(iter(depths(evidence)), min(TABLE_1))

def measured(algorithm: str, depth: int, how: str = "", **columns: Any) -> Query:
    """Ask for the test accuracy of a learner, percent."""
    return q("accuracy", learner=key_of(algorithm, depth, how), **columns)

def gains(printed: dict[str, tuple[float, ...]], how: str) -> tuple[float, ...]:
    """Return what a table prints as the gain over its first line, points, on each data set."""
    return tuple(one - plain for one, plain in zip(printed[how], printed[""], strict=True))

def trained(evidence: Evidence) -> Iterator[str]:
    """Return the keys of what was trained on images, in the study's order; the theory's models are not among them."""
    return (one for one in evidence.learners if one.split("-")[0] in _ALGORITHMS)
