"""What things are called and how they are drawn, and how numbers and intervals are written, on all pages."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

from metaprobe.analyses.readings import Estimate, Reading, Undefined
from metaprobe.trainers.formats.text import count

__all__ = ["CHANCE_GREY", "DASH", "GROUP_MARKS", "INK", "Look", "block_name", "capital", "colour_of", "count"]
__all__ += ["in_order", "interval", "label_of", "layer_colour", "listed", "look_of", "measure_name", "number"]
__all__ += ["power_of_ten", "reason_of", "sizes", "with_interval"]

INK, CHANCE_GREY = "#333333", "#8a8a8a"
DASH = "\N{EM DASH}"
Look = tuple[str, str, str]  # of a learner: label, colour and marker
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
    "imaml": ("iMAML", "#ddcc77"),
    "matching": ("matching networks", "#117733"),
    "mmaml": ("MMAML", "#44aa99"),
    "hsml": ("HSML", "#aa4499"),
    "meta_lstm": ("Meta-LSTM", "#6699cc"),
}
"""Label and colour, from Okabe and Ito's palette for colour-blind readers; the last eight are from Tol's."""

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


def look_of(learner: str) -> Look:
    """Return label, colour and marker of a learner, so that colour is not all that tells learners apart."""
    place = list(_LEARNERS).index(learner) if learner in _LEARNERS else sum(learner.encode())
    return label_of(learner), colour_of(learner), GROUP_MARKS[place % len(GROUP_MARKS)][1]


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


def number(value: float, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with fixed decimals and a typographic minus; a rounded zero has no sign.

    A value above 0 and under half of the last decimal is written as "<0.001", so that a small distance never reads as
    none; not where a sign is asked for, as differences are read with their interval.
    """
    if 0 < value < 0.5 * 10**-digits and not signed:
        return f"<{10**-digits:.{digits}f}"
    rounded = round(value, digits)
    sign = "\N{MINUS SIGN}" if rounded < 0 else "+" if signed and rounded else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def power_of_ten(exponent: int) -> str:
    """Write a power of ten: "1", "10", "100", "1,000", "10⁴"."""
    if 0 <= exponent < 4:
        return f"{10**exponent:,}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def interval(low: float | None, high: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write an interval as [low, high], or "" where there is none, or of width 0: the number is exact."""
    if low is None or high is None or low == high or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, signed=signed)},\N{NO-BREAK SPACE}{number(high, digits, signed=signed)}]"


def reason_of(found: Undefined) -> str:
    """Return why a reading is undefined, with typographic minuses: rows hold plain text."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", found.reason)


def with_interval(found: Reading, digits: int = 1, unit: str = "", *, signed: bool = False) -> str:
    """Write a reading as in a sentence: a number with its interval, "undefined (reason)" or "not measured"."""
    if not isinstance(found, Estimate):
        return f"undefined ({reason_of(found)})" if found else "not measured"
    ends = interval(found.low, found.high, digits, signed=signed)
    return f"{number(found.value, digits, signed=signed)}{unit} {ends}".rstrip(" ")


def sizes(found: Reading) -> list[str]:
    """Write how much stands behind a reading: "n = 600", and "3 seeds" where there are several."""
    if not isinstance(found, Estimate):
        return []
    n = [] if found.n is None else [f"n = {found.n:,}"]
    return n + [count(len(found.per_seed), "seed")] * (len(found.per_seed) > 1)


def block_name(frozen: str) -> str:
    """Name a set of frozen layers: "nothing", "conv1", "conv1–3" of consecutive ones, or the layers as they are."""
    names = frozen.split(",")
    stem = names[0].rstrip("0123456789")
    first = int(names[0].removeprefix(stem) or -1)
    if len(names) > 1 and names == [f"{stem}{first + place}" for place in range(len(names))]:
        return f"{names[0]}\N{EN DASH}{first + len(names) - 1}"
    return ", ".join(names) or "nothing"


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: "a", "a and b", "a, b and c"."""
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def capital(text: str) -> str:
    """Return a text with its first letter as a capital and the rest as it is."""
    return text[:1].upper() + text[1:]
