"""The strip of a claim: what was measured of each part on one scale, with the region in which its rule holds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.claims import Verdict
from metaprobe.reports.verdicts import Judged, Judgement
from metaprobe.reports.wording import count, number, power_of_ten, sizes
from metaprobe.trainers.formats.text import typeset

__all__ = ["LEFT", "RIGHT", "Scale", "legend", "strip", "tame"]

LEFT, RIGHT = 160, 374  # the places of its ends
_FAR = 100  # times the median distance from the median: a number beyond would leave the others no room
_LARGEST, _LEAST = 1e100, 1e-100  # a number beyond is off every scale, a smaller one is 0: no ratio overflows
_NARROWEST = 1e-9  # span of a scale, as a share of its numbers: a double has few digits more
_SMALL = 1e-4  # a step below needs more decimals than there is room for
_DECADES = 3  # from which positive numbers are drawn on a log scale
_INKS: dict[Verdict, str] = {"holds": "#00614a", "does not hold": "#9c3400"}  # of verdicts; all others are grey
_HIGH, _LANE, _THIN = 100, 12, 4  # all lanes together; a lane at most, and at least


def tame(value: float) -> float | None:
    """Return a number as it can be drawn: next to nothing is 0, and what no sum can take is None."""
    return None if math.isnan(value) or abs(value) > _LARGEST else value if abs(value) >= _LEAST else 0.0


@dataclass(frozen=True)
class Scale:
    """A horizontal axis from LEFT to RIGHT; of a logarithmic one, the ends are logarithms to base 10."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, bounds: Collection[float], core: Iterable[float], wide: Iterable[float]) -> Scale:
        """Return the scale that shows the bounds, and the core unless it is so far off that the rest has no room.

        It reaches for what is wide where that not more than doubles it.
        """
        bounds, core, wide = ([t for v in values if (t := tame(v)) is not None] for values in (bounds, core, wide))
        known = sorted({*bounds, *core}) or [0.0, 1.0]
        log = min(known) > 0 and max(known) >= 10**_DECADES * min(known)
        if log:
            bounds, known, wide = ([math.log10(v) for v in values if v > 0] for values in (bounds, known, wide))
        middle = statistics.median(known)
        reach = statistics.median(abs(value - middle) for value in known) or abs(middle) or 1.0
        kept = [*bounds, *(value for value in known if abs(value - middle) <= _FAR * reach)]
        low, high = min(kept), max(kept)
        size = max(abs(low), abs(high))
        span = high - low if high - low > _NARROWEST * size else max(size, 1.0) * 0.2
        near = [value for value in wide if low - span / 2 <= value <= high + span / 2]
        low, high = min(low, *near, math.inf), max(high, *near, -math.inf)
        margin = 0.08 * max(high - low, span)  # so that a region beyond the last number is seen
        return cls(low - margin, high + margin, log)

    def place(self, value: float) -> tuple[float, int]:
        """Return the x of a number, and on which side it is off the scale: −1 or 1, and 0 where it is on it."""
        if self.log:
            value = math.log10(value) if value > 0 else -math.inf
        beyond = -1 if value < self.low else 1 if value > self.high else 0
        within = min(max(value, self.low), self.high)
        return LEFT + (within - self.low) / (self.high - self.low) * (RIGHT - LEFT), beyond

    def ticks(self) -> list[tuple[float, str]]:
        """Return two to five numbers along it, each with its label."""
        unit = 1.0 if self.log else 10.0 ** (math.floor(math.log10(self.high - self.low)) - 1)
        steps = (unit * factor for factor in (1, 2, 5, 10, 20, 50, 100, 200))
        along = ((step, range(math.ceil(self.low / step), math.floor(self.high / step) + 1)) for step in steps)
        step, places = next((step, places) for step, places in along if len(places) <= 5)
        values = [place * step for place in places]
        if self.log:
            return [(10.0**value, power_of_ten(round(value))) for value in values]
        if step >= 10_000 or (step < _SMALL and max(map(abs, values)) <= 100 * step):  # which three digits tell apart
            return [(value, _scientific(value)) for value in values]
        digits = max(0, -math.floor(math.log10(step)))
        return [(value, number(round(value, digits), digits)) for value in values]


def _scientific(value: float) -> str:
    """Write a number as "2e5" or "−1e−9"."""
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "\N{MINUS SIGN}") if value else "0"


_DRAWN = Environment(  # what its macros are given is escaped
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    finalize=lambda value: typeset(value) if type(value) is str else value,
    autoescape=True,
    trim_blocks=True,
)
_DRAWN.filters["place"] = "{:.1f}".format
_DRAWN.filters["short"] = lambda name: name if len(name) <= 38 else name[:37].rstrip() + "…"
_DRAWN.filters["plain"] = lambda value: number(value, 2).rstrip("0").rstrip(".")
_DRAWN.globals |= {"left": LEFT, "right": RIGHT, "inks": _INKS, "sizes": sizes}
_MARKS: Any = _DRAWN.get_template("strip.svg.j2").module


def strip(judgement: Judgement) -> Markup:
    """Return the strip of a claim, as an SVG element; parts of another unit have a scale of their own."""
    parts, claim = judgement.parts, judgement.claim
    height = max(_THIN, min(_LANE, _HIGH / len(parts)))
    groups: dict[str, list[Judged]] = {}
    for one in parts:
        groups.setdefault(claim.unit_of(one.part), []).append(one)
    drawn, top = Markup(), 1.0
    for unit, ones in groups.items():
        scale, named = _scale(ones), height >= 8  # lanes have room for names
        for one in ones:
            drawn += _MARKS.lane(one, claim, top + height / 2, height, scale, named)
            top += height
        words = ("" if named else count(len(ones), "part"), unit.strip(), "log scale" * scale.log)
        drawn += _MARKS.axis(scale, top, ", ".join(filter(None, words)))
        top += 17
    label = f"{claim.id}: {count(len(parts), 'part')} on a scale; the same numbers stand in the words below"
    return _MARKS.strip(RIGHT + 6, top, label, drawn)


def legend(judgements: Iterable[Judgement]) -> Markup:
    """Return the marks that the strips of some claims have, with what they mean, as the items of a list."""
    parts = [(one, found.claim) for found in judgements for one in found.parts]
    control = next((claim.control for one, claim in parts if one.control is not None), "")
    return _MARKS.legend([one for one, _ in parts], control)


def _scale(ones: Sequence[Judged]) -> Scale:
    bounds = {bound for one in ones for bound in one.part.rule.region if math.isfinite(bound)}
    core = [value for one in ones for value in one.part.printed]
    core += [v for one in ones if isinstance(one.reading, Estimate) for v in (one.reading.value, *one.reading.ends)]
    wide = [one.control.value for one in ones if isinstance(one.control, Estimate)]
    return Scale.of(bounds, core, wide)
