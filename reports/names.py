"""What learners, layers and measures are called, and how they are drawn, with a default for whatever is new."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["CHANCE_GREY", "GROUP_MARKS", "INK", "colour_of", "in_order", "label_of", "layer_colour", "mark_of"]
__all__ += ["measure_name"]

INK, CHANCE_GREY = "#333333", "#8a8a8a"
_COLOURS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
GROUP_MARKS: tuple[tuple[str, str], ...] = tuple(zip(_COLOURS, "o^sDvPX", strict=True))
"""Colours and markers of groups without names of their own: domains, learners that nobody has named."""

_LEARNERS: dict[str, tuple[str, str]] = {
    "maml": ("MAML", "#0072b2"),
    "anil": ("ANIL", "#d55e00"),
    "fomaml": ("FOMAML", "#009e73"),
    "nil": ("NIL training", "#e69f00"),
    "multiclass": ("multiclass", "#cc79a7"),
    "multitask": ("multitask", "#56b4e9"),
    "random": ("untrained network", "#767676"),
    "reptile": ("Reptile", "#000000"),
    "maml_head": ("MAML head", "#999933"),
    "tsa_maml": ("TSA-MAML", "#882255"),
    "maml_pp": ("MAML++", "#332288"),
    "matching": ("matching networks", "#117733"),
    "mmaml": ("MMAML", "#44aa99"),
    "hsml": ("HSML", "#aa4499"),
}
"""Label and colour, from Okabe and Ito's palette for colour-blind readers; the last six are from Tol's."""

_MEASURES = {"mean_cca": "Mean CCA", "svcca": "SVCCA", "pwcca": "PWCCA", "linear_cka": "CKA"}
_MEASURES |= {"debiased_cka": "Debiased CKA", "rsa_pearson": "RSA", "rsa_spearman": "RSA by ranks"}
_MEASURES |= {"angular_cka": "Angular CKA", "gulp": "GULP", "cknna": "CKNNA", "mutual_knn": "Mutual k-NN"}
_MEASURES |= {"rbf_cka": "RBF CKA", "debiased_rbf_cka": "Debiased RBF CKA"}
_MEASURES |= {"r2_y_from_x": "R² of y from x", "r2_x_from_y": "R² of x from y"}
_LAYERS = ("#86bfb3", "#529d90", "#25756a", "#053f37")
_HEAD = "#aa3377"


def label_of(learner: str) -> str:
    """Return what a learner is called; one that nobody has named, by its own name."""
    return _LEARNERS[learner][0] if learner in _LEARNERS else learner


def colour_of(learner: str) -> str:
    """Return the colour of a learner, the same on every figure; a new one gets one by its name."""
    return _LEARNERS[learner][1] if learner in _LEARNERS else _COLOURS[sum(learner.encode()) % len(_COLOURS)]


def mark_of(learner: str) -> str:
    """Return the marker of a learner, so that colour is not all that tells learners apart."""
    place = list(_LEARNERS).index(learner) if learner in _LEARNERS else sum(learner.encode())
    return GROUP_MARKS[place % len(GROUP_MARKS)][1]


def measure_name(measure: str) -> str:
    """Return what a measure is called on a page; a registered one that nobody has named, by its own name in words."""
    return _MEASURES.get(measure) or measure.replace("_", " ").capitalize()


def in_order(layers: Iterable[str]) -> tuple[str, ...]:
    """Sort the names of layers: by kind and number, the head last."""
    return tuple(sorted(layers, key=lambda name: (name == "head", re.sub(r"\d+", lambda m: m[0].zfill(6), name))))


def layer_colour(layer: str, layers: tuple[str, ...]) -> str:
    """Return the colour of a layer: the body from light to dark with its depth, the head in a colour of its own."""
    if layer == layers[-1]:
        return _HEAD
    body = layers[:-1]
    return _LAYERS[round(body.index(layer) * (len(_LAYERS) - 1) / max(1, len(body) - 1))] if layer in body else INK
