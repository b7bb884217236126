"""The strip of a claim: every part on it, on a scale that no number destroys."""

import re

import pytest

from metaprobe.analyses.readings import Estimate, Undefined
from metaprobe.reports.claims import Claim, Part, above, below
from metaprobe.reports.page.strip import LEFT, RIGHT, Scale, legend, strip
from metaprobe.reports.quantities import Computed
from metaprobe.reports.verdicts import judge
from tests.evidence_rows import evidence_of


def judged(*parts):
    told = ("C", "", "", "", "", "", "")
    return judge(Claim(*told, parts, "", unit=" points", control="an untrained network"), evidence_of())


def part(name, value, half=1.0, rule=None, printed=(), control=None, **more):
    found = value if not isinstance(value, float) else Estimate(value, value - half, value + half, 600)
    beside = None if control is None else Computed(lambda _: Estimate(control))
    return Part(name, Computed(lambda _: found), rule or above(0), printed=printed, control=beside, **more)


def test_every_part_has_its_lane_with_region_interval_paper_and_control():
    drawn = strip(judged(part("first", 5.0, printed=(7.0,), control=0.5), part("second", -3.0), part("third", 0.2)))
    assert drawn.count("<rect") == 3  # where the rule holds
    for colour in ("#00614a", "#9c3400", "#a3a3a3"):
        assert drawn.count(f'fill="{colour}" stroke="{colour}"') == 1
    assert drawn.count('fill="#fff" stroke="#4d4d4d"') == 1  # undecided: open, so that colour is not all that tells
    told = re.findall(r"<g><title>(.*?)</title>", drawn.replace("\xa0", " "))
    assert told[:4] == [
        "where it holds for first: over 0",
        "control, first: 0.5 points", "the paper, first: 7 points", "first: 5.0 points [4.0, 6.0]; n = 600",
    ]  # fmt: skip
    told = re.findall(r"</svg> (.*?)</li>", legend([judged(part("a", 1.0))]))
    assert told == ["ours with its 95 % interval", "undecided", "where the rule holds"]


@pytest.mark.parametrize("count", [1, 8, 18, 40])
def test_a_strip_stays_low_however_many_parts(count):
    drawn = strip(judged(*(part(f"part {place}", float(place)) for place in range(count))))
    assert drawn.count("<circle") == count
    height = float(re.search(r'height="([\d.]+)"', drawn)[1])
    assert height <= max(120, 4 * count + 18)


def test_names_of_26_letters_are_whole_and_longer_ones_are_smaller():
    names = ("training of FOMAML (paper)", "CCA: multiclass over random features", "x" * 50)
    found = re.findall(
        r'font-size="([\d.]+)"[^>]*text-anchor="end"><title>.*?</title>(.*?)<',
        strip(judged(*(part(n, 1.0) for n in names))),
    )
    assert found == [("9.5", names[0]), ("7.78", names[1]), ("7.37", "x" * 37 + "…")]


def test_names_in_thin_lanes_do_not_run_into_each_other():
    drawn = strip(judged(*(part(f"CCA pre–post slope {place}", float(place)) for place in range(12))))
    names = re.findall(r'y="([\d.]+)" font-size="([\d.]+)"[^>]*text-anchor="end"', drawn)
    apart = float(names[1][0]) - float(names[0][0])
    assert len(names) == 12 + 1 and all(1.15 * float(size) <= apart for _, size in names[:12])  # last: the unit


def test_parts_of_another_unit_have_a_scale_of_their_own():
    drawn = strip(judged(part("cost", -50.0), part("similarity", 0.5, 0.1, unit="")))
    assert drawn.count(" H374") + drawn.count("H374") == 2 and ">points<" in drawn


def test_what_is_far_outside_is_an_arrow_and_what_spans_decades_has_a_log_scale():
    near = [part(f"{value}", value, 0.1) for value in (0.5, 1.0, 1.5, 2.0)]
    drawn = strip(judged(*near, part("far", -2.7e24)))
    assert drawn.count("<circle") == 4 and "far: −2700000" in drawn and drawn.count("l6 -3.5") >= 1
    assert "log scale" in strip(judged(part("large", 2.7e24, rule=above(1)), part("small", 3.0, rule=above(1))))


def test_undefined_and_missing_parts_are_said():
    dead = part("dead", Undefined("layer is dead"))
    drawn = strip(judged(dead, part("lost", None), part("first", 5.0, rule=below(9))))
    assert ">undefined<" in re.sub("<title>.*?</title>", "", drawn) and "dead: undefined (layer is dead)" in drawn
    assert ">not measured<" in re.sub("<title>.*?</title>", "", drawn)


@pytest.mark.parametrize(
    "numbers",
    [[0.0], [-1e-9, 1e-9], [0.0, 1e9], [-50.0, 0.9], [93.0, 93.001], [1.0, 1e30], [1e-4, 1.4e-4], [93.0, 93.00001]],
)
def test_a_scale_shows_its_numbers_with_two_to_five_ticks(numbers):
    scale = Scale.of({numbers[0]}, numbers, [])
    assert all(scale.place(value)[1] == 0 and LEFT < scale.place(value)[0] < RIGHT for value in numbers)
    assert 2 <= len(scale.ticks()) <= 5 and len({label for _, label in scale.ticks()}) == len(scale.ticks())
    assert scale.place(float("inf")) == (RIGHT, 1) and scale.place(float("-inf")) == (LEFT, -1)


def test_ticks_of_tiny_and_of_huge_numbers_have_room():
    tiny = [label for _, label in Scale.of([-1e-9, 1e-9], [0.0], []).ticks()]
    huge = [label for _, label in Scale.of([-1e9, 1e9], [0.0], []).ticks()]
    for labels, wanted in ((tiny, "1e\N{MINUS SIGN}9"), (huge, "1e9")):
        assert {"0", wanted, f"\N{MINUS SIGN}{wanted}"} <= set(labels) and max(map(len, labels)) <= 6
