"""How numbers, intervals and layer blocks are written on a page, in one place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from reports.evidence import Estimate, Reading, Undefined
from reports.studies.raghu2020.study_table import BODY

__all__ = ["ALGORITHM_NAMES", "block_name", "capital", "interval", "listed", "number", "reading", "with_interval"]

ALGORITHM_NAMES: dict[str, str] = {
    "maml": "MAML",
    "fomaml": "FOMAML",
    "anil": "ANIL",
    "nil": "NIL training",
    "multiclass": "multiclass",
    "multitask": "multitask",
    "random": "untrained network",
    "reptile": "Reptile",
    "maml_head": "MAML head",
    "tsa_maml": "TSA-MAML",
}

_MINUS = "\N{MINUS SIGN}"
_NBSP = "\N{NO-BREAK SPACE}"


def number(value: float, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with fixed decimals and a typographic minus; a rounded zero has no sign.

    A value under half of the last decimal, other than 0, is written as "<0.001", so that a small distance never reads
    as none; not where a sign is asked for, as differences are read with their interval.
    """
    if value and abs(value) < 0.5 * 10**-digits and not signed:
        return f"<{10**-digits:.{digits}f}" if value > 0 else f">{_MINUS}{10**-digits:.{digits}f}"
    rounded = round(value, digits)
    text = f"{abs(rounded):.{digits}f}"
    if rounded == 0:
        return text
    return (_MINUS if rounded < 0 else "+" if signed else "") + text


def interval(low: float | None, high: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write an interval as [low, high], or "" where there is none."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"[{number(low, digits, signed=signed)},{_NBSP}{number(high, digits, signed=signed)}]"


def reading(found: Reading, digits: int = 1, *, signed: bool = False) -> str:
    """Write a reading without its interval: a number, "undefined (reason)" or "not measured"."""
    if found is None:
        return "not measured"
    if isinstance(found, Undefined):
        return f"undefined ({found.reason})"
    return number(found.value, digits, signed=signed)


def with_interval(found: Reading, digits: int = 1, unit: str = "", *, signed: bool = False) -> str:
    """Write a reading with its unit and its interval, as in a sentence."""
    text = reading(found, digits, signed=signed)
    if not isinstance(found, Estimate):
        return text
    bounds = interval(found.low, found.high, digits, signed=signed)
    return " ".join(part for part in (text + unit, bounds) if part)


def block_name(frozen: str) -> str:
    """Name a set of frozen layers: "nothing", "conv1", "conv1–3", or the layers as they are."""
    layers = tuple(frozen.split(",")) if frozen else ()
    if not layers:
        return "nothing"
    if len(layers) > 1 and layers == BODY[: len(layers)]:
        return f"conv1\N{EN DASH}{re.sub('[^0-9]', '', layers[-1])}"
    return ", ".join(layers)


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def capital(text: str) -> str:
    """Return a text with its first letter as a capital and the rest as it is."""
    return text[:1].upper() + text[1:]
