"""How numbers, intervals and layer blocks are written on a page, in one place."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from analyses.readings import Estimate, Reading, Undefined

__all__ = ["DASH", "block_name", "capital", "count", "interval", "listed", "number"]
__all__ += ["power_of_ten", "reading", "reason_of", "sizes", "with_interval"]

DASH = "\N{EM DASH}"


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


def reading(found: Reading, digits: int = 1, *, signed: bool = False) -> str:
    """Write a reading without its interval: a number, "undefined (reason)" or "not measured"."""
    if isinstance(found, Estimate):
        return number(found.value, digits, signed=signed)
    return f"undefined ({reason_of(found)})" if found else "not measured"


def reason_of(found: Undefined) -> str:
    """Return why a reading is undefined, with typographic minuses: rows hold plain text."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", found.reason)


def with_interval(found: Reading, digits: int = 1, unit: str = "", *, signed: bool = False) -> str:
    """Write a reading with its unit and its interval, as in a sentence."""
    text = reading(found, digits, signed=signed)
    if not isinstance(found, Estimate):
        return text
    return f"{text}{unit} {interval(found.low, found.high, digits, signed=signed)}".rstrip(" ")


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


def count(number: int, thing: str) -> str:
    """Write how many there are of a thing: "1 step", "5 steps"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """Join names as a sentence does: "a", "a and b", "a, b and c"."""
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"


def capital(text: str) -> str:
    """Return a text with its first letter as a capital and the rest as it is."""
    return text[:1].upper() + text[1:]
