"""Whatever a reading says, a page comes of it: intervals of no width, without ends, without tasks, and no numbers."""

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaprobe.analyses.readings import Estimate, Undefined
from metaprobe.reports.blocks.declared import (
    Curve,
    Curves,
    Dots,
    Figure,
    Grid,
    Line,
    Map,
    Point,
    Said,
    Scatter,
    Series,
    Under,
)
from metaprobe.reports.claims import Claim, Part, Told, above, below, within
from metaprobe.reports.page.compose import build
from metaprobe.reports.page.files import _claims
from metaprobe.reports.page.page import Page, render
from metaprobe.reports.page.parts import ClaimsList, Section
from metaprobe.reports.quantities import Quantity
from metaprobe.reports.verdicts import judge
from tests.evidence_rows import evidence_of
from tests.page_checks import checked

NOTHING = evidence_of()
SPECIAL = (0.0, -0.0, 1.0, -2.1, 5e-324, -1e-9, 1e9, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan)
numbers = st.sampled_from(SPECIAL) | st.floats()


class Fixed(Quantity):
    """A quantity that reads what it is told, also of these seeds alone."""

    def __init__(self, reading, fixed=None):
        self.reading, self.of_seeds = reading, fixed

    def _read(self, evidence, ending=""):
        return self.of_seeds if ending else self.reading


@st.composite
def estimates(draw):
    value = draw(numbers)
    low, high = (draw(st.none() | st.just(value) | numbers) for _ in range(2))
    seeds = tuple(enumerate(draw(st.lists(numbers, max_size=3))))
    return Estimate(value, low, high, draw(st.none() | st.sampled_from([0, 1, 600, 10**12])), seeds)


readings = st.none() | st.just(Undefined("dead")) | estimates()
bounds = st.sampled_from([bound for bound in SPECIAL if math.isfinite(bound)]) | st.floats(allow_nan=False)
rules = st.one_of(
    st.builds(above, bounds),
    st.builds(below, bounds),
    st.builds(within, bounds, bounds),
    st.builds(lambda bound: above(bound, "none", "some", lenient=True), bounds),
)


@st.composite
def parts(draw):
    nulls = st.none() | readings.map(Fixed)
    printed = tuple(draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=2)))
    quantity = Fixed(draw(readings), draw(readings))
    return Part("it", quantity, draw(rules), draw(nulls), draw(nulls), printed, unit=draw(st.sampled_from(["", " %"])))


def page_with(block):
    html = render(Page("P", "Q?", (), "Yes", ("So.",), "R", (Section("more", "M", blocks=(block,)),)))
    checked(html)
    return html


def claim(*of):
    told = ("X1", "title", "quantity", "paper", "where", "setting", "rule")
    return Claim(*told, of, "Nothing.", control="chance", beside=(Told("beside", of[0].quantity),))


EQUAL = Estimate(50.0, 50.0, 50.0, 0)


@settings(max_examples=60, deadline=None)
@given(st.lists(parts(), min_size=1, max_size=3))
@example([Part("it", Fixed(EQUAL), above(50.0))])  # no width, on the bound
@example([Part("it", Fixed(EQUAL), within(50.0, 60.0), Fixed(EQUAL))])
@example([Part("it", Fixed(Estimate(5.0, 5.0, 9.0, 600)), above(5.0 - 5e-324))])
def test_a_claim_is_judged_told_and_drawn(made):
    judgement = judge(claim(*made), NOTHING)
    html = page_with(ClaimsList("claims", (judgement,)))
    assert not re.search(r'(?<![a-z])(nan|inf)(?![a-z])"?', re.sub(r">[^<]*<", "><", html))  # no mark stands nowhere
    assert _claims([judgement]).count("X1") == 1


def figures(one, two):
    """Each kind of block, of two quantities."""
    three = (one, two, Fixed(Estimate(1.0, 0.5, 2.0, 600)))
    points = tuple((float(x), quantity) for x, quantity in enumerate(three))
    band = tuple((x, quantity, two) for x, quantity in points)
    series = (Series("a", "#0072b2", three, nulls=three[::-1], line="-"),)
    said = tuple(Said(quantity, 2, under=(Under(two, "null", interval=True),)) for quantity in three)
    yield Grid("shown", "", ("Learner", "A", "B", "C"), (Line("a", said),), ("A table", "No rows."))
    for log in (False, True):
        yield Dots("t", ("x", "y", "z"), series, log=log, lying=log)
        yield Curves("t", "Step", (Curve("a", "#d55e00", points, band=band, null=points),), log=log, ends=log)
    yield Map("t", "m", "one", "other", {("a", str(x)): quantity for x, quantity in points})
    yield Scatter("t", ("a", "b"), tuple(Point(x, y, "a", "#053f37") for x in three for y in three), True, (one, two))


CASES = (
    EQUAL, Estimate(0.0, 0.0, 0.0, 0), Estimate(5.0, -math.inf, math.inf), Estimate(1e-320, 0.0, 1e-320),
    Estimate(-1.7e308, -1.79e308, 1.7e308), Estimate(1.7e308, 1.6e308, 1.79e308), Estimate(math.nan, math.nan, 1.0),
    Estimate(math.inf, math.inf, math.inf), Estimate(2.0, math.nan, 3.0, 0, ((0, math.nan), (1, 2.0))), Undefined(""),
)  # fmt: skip


@pytest.mark.parametrize("place", range(len(CASES)))
def test_every_block_is_drawn(place):
    one, two = Fixed(CASES[place]), Fixed(CASES[place - 1])
    for kind in figures(one, two):
        block = kind if isinstance(kind, Grid) else Figure("shown", "What.", (kind,), ("A figure", "No rows."))
        part = build(block, NOTHING)
        assert part is not None
        marks = re.sub(r"<(title|text|th|td|small|p|li)\b.*?</\1>", "", page_with(part).partition("</style>")[2])
        assert not re.search(r"\b(nan|inf)\b", marks)
