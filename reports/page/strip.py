"""The strip of a claim: what was measured of each part on one scale, with the region in which its rule holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from markupsafe import Markup
from markupsafe import escape as escape_markup

from analyses.readings import Estimate, Reading
from reports.claims import Claim, Verdict
from reports.page.scale import LEFT, RIGHT, Scale
from reports.verdicts import Judged, Judgement
from reports.wording import count, number, sizes
from trainers.formats.text import typeset

__all__ = ["legend", "strip"]

_COLOURS: dict[Verdict, str] = {"holds": "#00614a", "does not hold": "#9c3400"}
_OPEN, _REGION, _CONTROL = "#4d4d4d", "#d5e8df", "#a3a3a3"
_SOFT, _PAPER, _LINE = "#595959", "#1c1c1c", "#8a8a8a"
_WIDTH = RIGHT + 6
_HIGH, _LANE, _THIN, _NAMED = 100, 12, 4, 8  # all lanes together; a lane at most, at least, and with its name beside it
_LETTERS, _SMALL = 38, 280  # of a name beside its lane; letters times the size of the font that has room for them


def strip(judgement: Judgement) -> Markup:
    """Return the strip of a claim, as an SVG element; parts of another unit have a scale of their own."""
    parts, claim = judgement.parts, judgement.claim
    height = max(_THIN, min(_LANE, _HIGH / len(parts)))
    groups: dict[str, list[Judged]] = {}
    for one in parts:
        groups.setdefault(claim.unit_of(one.part), []).append(one)
    drawn, top = "", 1.0
    for unit, ones in groups.items():
        scale = _scale(ones)
        for one in ones:
            drawn += _lane(one, claim, top + height / 2, height, scale)
            top += height
        drawn += _axis(scale, top, unit.strip(), "" if height >= _NAMED else count(len(ones), "part"))
        top += 17
    label = _escape(f"{claim.id}: {count(len(parts), 'part')} on a scale; the same numbers stand in the words below")
    size = f'viewBox="0 0 {_WIDTH} {top:g}" width="{_WIDTH}" height="{top:g}"'
    return Markup(f'<svg {size} class="strip" role="img" aria-label="{label}">{drawn}</svg>')


def legend(judgements: Iterable[Judgement]) -> Iterator[tuple[Markup, str]]:
    """Yield the marks that the strips of some claims have, each an SVG element, with what they mean."""
    parts = [(one, found.claim) for found in judgements for one in found.parts]
    control = next((claim.control for one, claim in parts if one.control is not None), "")
    bar, grey = _bar(3, 25, 6, _PAPER), _bar(3, 25, 6, _CONTROL)
    marks = (
        (True, bar + _dot(14, 6, 3, _PAPER), "ours with its 95 % interval"),
        (any(one.verdict == "undecided" for one, _ in parts), bar + _dot(14, 6, 3, _PAPER, "#fff"), "undecided"),
        (True, f'<rect x="2" y="1" width="24" height="10" fill="{_REGION}"/>', "where the rule holds"),
        (any(one.part.printed for one, _ in parts), _diamond(14, 6, 3.6), "the paper, on its own data"),
        (bool(control), grey + _dot(14, 6, 3, _CONTROL), f"control: {control}"),
    )
    head = '<svg viewBox="0 0 28 12" width="28" height="12" aria-hidden="true">'
    return ((Markup(f"{head}{mark}</svg>"), words) for shown, mark, words in marks if shown)


def _told(one: Judged, claim: Claim, reading: Reading, of: str = "") -> str:
    return "; ".join([of + claim.words(one.part, reading), *sizes(reading)])


def _scale(ones: Sequence[Judged]) -> Scale:
    bounds = {bound for one in ones for bound in one.part.rule.region if math.isfinite(bound)}
    core = [value for one in ones for value in one.part.printed]
    core += [v for one in ones if isinstance(one.reading, Estimate) for v in (one.reading.value, *one.reading.ends)]
    wide = [one.control.value for one in ones if isinstance(one.control, Estimate)]
    return Scale.of(bounds, core, wide)


def _lane(one: Judged, claim: Claim, y: float, height: float, scale: Scale) -> str:
    """Return a part at its place; y is the middle of its lane."""
    name, named, radius = one.part.name, height >= _NAMED, min(3.0, height / 2 - 0.4)
    left, right = (scale.place(bound)[0] for bound in one.part.rule.region)
    drawn = ""
    if left < right:
        box = f'x="{left:.1f}" y="{y - height / 2 + 0.3:.1f}" width="{right - left:.1f}" height="{height - 0.6:.1f}"'
        drawn += _titled(f"where it holds for {name}: {one.part.rule.holds}", f'<rect {box} fill="{_REGION}"/>')
    if named:
        short = name if len(name) <= _LETTERS else name[: _LETTERS - 1].rstrip() + "…"
        size = min(9.5, height + 0.3, _SMALL / len(short))
        drawn += _text(LEFT - 8, y + 3.3, short, "end", size, title=name)
    if isinstance(one.control, Estimate):
        mark = _reading(one.control, y, radius, scale, _CONTROL)
        drawn += _titled(_told(one, claim, one.control, "control, "), mark)
    for value in one.part.printed:
        told = f"the paper, {name}: {number(value, 2).rstrip('0').rstrip('.')}{claim.unit_of(one.part)}"
        x, beyond = scale.place(value)
        drawn += _titled(told, _arrow(x, y, beyond) if beyond else _diamond(x, y, radius + 0.6))
    told = _told(one, claim, one.reading)
    if isinstance(one.reading, Estimate):
        colour, fill = _COLOURS.get(one.verdict, _OPEN), "#fff" if one.verdict == "undecided" else ""
        return drawn + _titled(told, _reading(one.reading, y, radius, scale, colour, fill))
    word = "not measured" if one.reading is None else "undefined"
    return drawn + (_text(LEFT + 3, y + 3.3, word, title=told) if named else "")


def _reading(found: Estimate, y: float, radius: float, scale: Scale, colour: str, fill: str = "") -> str:
    (x, beyond), *ends = (scale.place(value) for value in (found.value, *found.ends))
    drawn = _bar(ends[0][0], ends[1][0], y, colour) * (found.low is not None)
    drawn += "".join(_arrow(end, y, side, colour) for end, side in ends if side)
    return drawn + _dot(x, y, radius, colour, fill) * (not beyond)


def _axis(scale: Scale, y: float, unit: str, parts: str) -> str:
    drawn = f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{_LINE}" stroke-width="1"/>'
    for value, label in scale.ticks():
        x, _ = scale.place(value)
        drawn += f'<path d="M{x:.1f} {y:.1f}v3" stroke="{_LINE}"/>'
        drawn += _text(min(x, RIGHT - 2.6 * len(label) + 5), y + 13, label, "middle")
    words = ", ".join(filter(None, (parts, unit, "log scale" * scale.log)))
    return drawn + (_text(LEFT - 8, y + 13, words, "end") if words else "")


def _bar(left: float, right: float, y: float, colour: str) -> str:
    return f'<path d="M{left:.1f} {y:.1f}H{max(right, left + 0.1):.1f}" stroke="{colour}" stroke-width="2"/>'


def _dot(x: float, y: float, radius: float, colour: str, fill: str = "") -> str:
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
    return f'<circle {place} fill="{fill or colour}" stroke="{colour}" stroke-width="1.2"/>'


def _diamond(x: float, y: float, size: float) -> str:
    path = f"M{x - size:.1f} {y:.1f}l{size:.1f} {-size:.1f}l{size:.1f} {size:.1f}l{-size:.1f} {size:.1f}z"
    return f'<path d="{path}" fill="#fff" stroke="{_PAPER}" stroke-width="1.1"/>'


def _arrow(x: float, y: float, direction: int, colour: str = _PAPER) -> str:
    return f'<path d="M{x:.1f} {y:.1f}l{-6 * direction} -3.5v7z" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start", size: float = 9.5, title: str = "") -> str:
    told = f"<title>{_escape(title)}</title>" if title else ""
    style = f'font-size="{size:.3g}" fill="{_SOFT}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{told}{_escape(words)}</text>'


def _titled(title: str, mark: str) -> str:
    return f"<g><title>{_escape(title)}</title>{mark}</g>"


def _escape(text: str) -> Markup:
    return escape_markup(typeset(text))
