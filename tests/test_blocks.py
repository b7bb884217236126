"""Each kind of block draws what its quantities say, tells it to a mouse, and keeps the rows that it read."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from metaprobe.reports.blocks import declared
from metaprobe.reports.blocks.axes import _dark, _spread, contrast
from metaprobe.reports.blocks.canvas import Key, Sketch
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
from metaprobe.reports.blocks.figure import draw
from metaprobe.reports.blocks.planes import _COLOURS
from metaprobe.reports.page.compose import build
from metaprobe.reports.page.parts import Cell, Missing, PageFigure, PageTable
from metaprobe.reports.quantities import q
from tests.evidence_rows import accuracy, evidence_of, row

MISSING = ("Accuracies", "Nothing was tested.")
BLOCKS = ("", "conv1", "conv1,conv2")
EVIDENCE = evidence_of(
    *(accuracy(90.0 - at, 1.0, frozen=block, checkpoint="0123456789ab") for at, block in enumerate(BLOCKS)),
    *(accuracy(80.0 + at, 2.0, iteration=10 * at, learner="anil") for at in range(1, 4)),
    accuracy(None, frozen="conv2", status="undefined", reason="a layer is dead"),
    row("svcca", -0.25, 0.1, learner="maml", layer="conv1", seed=0, source="store <a&b>"),
    row("svcca", 0.75, 0.1, learner="maml", layer="conv2", seed=0),
)
SIMILAR = [q("svcca", learner="maml", layer=layer) for layer in ("conv1", "conv2")]


def maml(frozen):
    return q("accuracy", learner="maml", frozen=frozen)


# fmt: off
DOTS = Dots("Accuracy (%)", ("none", "conv1", "conv1–2", "conv2", "never"),
            (Series("MAML", "#0072b2", (*map(maml, (*BLOCKS, "conv2", "conv9")),), line="-"),),
            line=(20.0, "chance"), printed=((1, 46.5), (4, 44.0)), bands=((85.0, 90.0),), band_label="the paper's")
ANIL = Curve("ANIL", "#d55e00", tuple((float(i), q("accuracy", learner="anil", at=i)) for i in (10, 20, 30)))
CURVES = Curves("Accuracy (%)", "Iteration", (ANIL,))
MAP = Map("MAML against MAML", "SVCCA", "one", "other", {("a", "x"): SIMILAR[0], ("a", "y"): SIMILAR[1]})
POINT = Point(SIMILAR[1], 1.5, "conv2", "#053f37", told="layer")
PANELS = {"dots": DOTS, "curves": CURVES, "map": MAP, "scatter": Scatter("Two", ("svcca", "times two"), (POINT,), True)}
# fmt: on


def built(*panels, evidence=EVIDENCE, **options) -> PageFigure:
    part = build(Figure("shown", "What it shows.", panels, MISSING, **options), evidence)
    assert isinstance(part, PageFigure)
    return part


def texts(svg, tag="text"):
    found = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}" + tag)
    return [(element.text or "").replace("\N{NO-BREAK SPACE}", " ") for element in found]


def titles(svg):
    return texts(svg, "title")


def test_a_mark_tells_what_it_is_its_value_interval_tasks_and_origin():
    (svg,) = built(DOTS).panels
    assert titles(svg)[1] == "MAML, none: 90.0 [89.0, 91.0], n = 600; checkpoint 01234567"
    assert set(titles(svg)[:1] + titles(svg)[4:]) == {"MAML, conv2: undefined (a layer is dead)", "paper, conv1: 46.50"}
    assert "never" not in texts(svg)  # neither measured nor, for the paper's mark alone, shown
    assert [label for _, label in built(DOTS).legend] == ["MAML", "paper", "the paper's"]


def test_dots_stand_at_their_values_on_one_scale():
    (axes,) = (axes for part in built(DOTS).whole.make().subfigs for axes in part.axes)
    marks = [line for line in axes.lines if str(line.get_gid()).startswith("told:MAML")]
    assert [[*line.get_ydata()] for line in marks[:3]] == [[89.0, 90.0, 91.0], [88.0, 89.0, 90.0], [87.0, 88.0, 89.0]]
    assert [round(line.get_xdata()[1]) for line in marks[:3]] == [0, 1, 2]


def test_lying_dots_have_the_first_place_on_top_and_a_neighbour_does_not_name_them_again():
    lying = Dots("a", ("one", "other"), (Series("", "#000000", (maml(""), maml("conv1"))),), lying=True)
    part = built(lying, lying)
    assert all("other" in texts(svg) for svg in part.panels)
    assert texts(part.whole.svg()).count("other") == 1
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>(?:one|other)<', part.panels[0])]
    assert heights == sorted(heights)


def test_curves_show_each_seed_and_their_mean_and_say_where_they_lead():
    assert titles(built(CURVES).panels[0]) == ["ANIL: 81.0 at iteration 10 … 83.0 at iteration 30"]
    other = (accuracy(70.0 + i, learner="anil", iteration=10 * i, seed=1) for i in range(1, 4))
    (more,) = built(CURVES, evidence=evidence_of(*EVIDENCE.rows, *other)).panels
    assert more.count("#d55e00") == built(CURVES).panels[0].count("#d55e00") + 1
    assert titles(more) == ["ANIL: 76.0 at iteration 10 … 78.0 at iteration 30"]


def test_a_map_writes_its_numbers_names_its_measure_and_can_be_read():
    (svg,) = built(MAP).panels
    assert {"SVCCA", "−0.25", "0.75", "one", "other"} <= set(texts(svg)) and "MAML against MAML" in texts(svg)
    assert titles(svg)[0] == "a, x: −0.250 [−0.350, −0.150]; source store <a&b>"
    for colour in (_COLOURS(share)[:3] for share in range(49)):
        assert max(contrast(colour, (0.0, 0.0, 0.0)), contrast(colour, (1.0, 1.0, 1.0))) >= 4.5


def test_points_of_a_scatter_each_have_their_words():
    points = tuple(Point(float(i), 2.0 * i, "some", "#000000", told=f"task {i}") for i in range(30))
    (svg,) = built(Scatter("Plane", ("", ""), points)).panels
    assert titles(svg) == [f"task {i}" for i in range(30)]
    assert titles(built(PANELS["scatter"]).panels[0])[0] == "layer; svcca: 0.750 [0.650, 0.850]; times two: 1.50"


@pytest.mark.parametrize("kind", PANELS)
def test_a_figure_without_numbers_says_what_is_missing_or_nothing(kind):
    empty, block = evidence_of(), Figure("shown", "What it shows.", (PANELS[kind],), MISSING)
    assert build(block, empty) == Missing(*MISSING, "shown")
    assert build(Figure("shown", "", (PANELS[kind],)), empty) is None
    assert len(built(PANELS[kind], DOTS, evidence=evidence_of(*EVIDENCE.rows[:1])).panels) == 1 + (kind == "dots")


def test_a_figure_is_the_same_bytes_whatever_the_settings_around_it():
    one = built(*PANELS.values())
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        other = built(*PANELS.values())
        assert (one.panels, one.legend, one.whole.svg()) == (other.panels, other.legend, other.whole.svg())
        assert mpl.rcParams["font.size"] == 30
    assert one.whole.pdf() == other.whole.pdf()
    assert one.whole.pdf().startswith(b"%PDF") and b"CreationDate" not in one.whole.pdf()


def test_svgs_share_no_id_hold_nothing_that_reaches_the_page_and_fit_a_phone_or_a_column_of_text():
    part = built(*PANELS.values())
    ids: list[str] = []
    for svg in (*part.panels, *(mark for mark, _ in part.legend)):
        own = re.findall(r'\bid="([^"]+)"', svg)
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) <= set(own)
        assert not re.search(r"https?:|<!DOCTYPE|<metadata|<style|dc:date", re.sub(r'xmlns(:\w+)?="[^"]+"', "", svg))
        ids += own
    assert len(ids) == len(set(ids)) and all(name.startswith("shown-") for name in ids)
    assert all(float(re.search(r'width="([\d.]+)pt"', svg)[1]) <= 252 for svg in part.panels)  # 336 pixels
    assert 'width="396pt"' in part.whole.svg()


def test_panels_share_limits_where_they_are_asked_to():
    for share, several in ((False, 2), (True, 1)):
        parts = built(DOTS, CURVES, share=share).whole.make().subfigs
        assert len({axes.get_ylim() for part in parts for axes in part.axes}) == several


def test_a_block_keeps_every_row_that_it_read_and_no_other():
    assert set(built(DOTS).behind) == {o for o in EVIDENCE.rows if (o.learner, o.measure) == ("maml", "accuracy")}
    assert {row.measure for row in built(MAP, PANELS["scatter"]).behind} == {"svcca"}


def test_a_table_keeps_measured_lines_with_their_printed_neighbours():
    under = Under(maml("conv1") - maml(""), "Δ", 1, True, True), Under(maml("conv9"), "null")
    lines = (
        Line("MAML", (Said(maml("conv1"), under=under), Said(maml("conv2")))),
        Line("ANIL", (Said(maml("conv9")), Said(maml("conv8")))),
        Line("Paper", (Cell("46.5"), Cell("46.4"))),
    )
    part = build(Grid("table", "What it shows.", ("", "conv1", "conv2"), lines, MISSING), EVIDENCE)
    assert isinstance(part, PageTable) and [cells[0].text for cells in part.rows] == ["MAML", "Paper"]
    cell = Cell("89.0", ("[88.0,\xa090.0]", "Δ −1.0", "[−2.4,\xa0+0.4]"), number=True)
    assert part.rows[0][1:] == (cell, Cell("undefined", ("(a layer is dead)",)))
    assert {row.frozen for row in part.behind} == {"", "conv1", "conv2"}
    assert build(Grid("table", "", ("", "a", "b"), lines[1:], MISSING), EVIDENCE) == Missing(*MISSING, "table")
    assert build(Grid("table", "", ("", "a", "b"), lines[1:]), EVIDENCE) is None


def test_a_cell_scales_its_number_and_tells_the_spread_of_seeds_unless_it_is_plain():
    evidence = evidence_of(row("time", 0.001, learner="maml", seed=0), row("time", 0.003, learner="maml", seed=1))
    said = (Said(q("time", learner="maml"), unit=" ms", scale=1000.0, plain=plain) for plain in (False, True))
    (cells,) = build(Grid("table", "", ("", "a", "b"), (Line("t", tuple(said)),), MISSING), evidence).rows
    assert cells[1].text == cells[2].text == "2.0 ms"
    assert "sd 1.4, 2 seeds" in cells[1].lines and "sd 1.4, 2 seeds" not in cells[2].lines


def test_a_figure_of_its_own_kind_brings_its_panels():
    def own(evidence):
        value, key = maml("").read(evidence), Key("line", "#000000", "", "-")
        return value and [Sketch("own", lambda axes: axes.plot([0, 1], [0, value.value]), (key,))]

    block = declared.Custom("own", "What it shows.", own, MISSING)
    part = build(block, EVIDENCE)
    assert isinstance(part, PageFigure) and len(part.panels) == 1 and [label for _, label in part.legend] == ["line"]
    assert [row.value for row in part.behind] == [90.0]
    assert build(block, evidence_of()) == Missing(*MISSING, "own")


def test_plain_numbers_are_drawn_without_a_table(tmp_path):
    drawn = draw(Figure("plain", "Plain.", (Map("t", "m", "", "", {("a", "b"): 0.5, ("a", "c"): None}),)))
    drawn.write(tmp_path / "f.svg")
    drawn.write(tmp_path / "f.pdf")
    assert "0.50" in texts((tmp_path / "f.svg").read_text()) and (tmp_path / "f.pdf").read_bytes().startswith(b"%PDF")
    assert draw(Figure("plain", "Plain.", (Map("t", "m", "", "", {("a", "b"): None}),))) is None


def test_labels_move_apart_and_keep_their_order_and_are_dark_enough():
    assert _spread([0.2, 0.8], 0.1) == pytest.approx([0.2, 0.8]) and _spread([], 0.1) == []
    assert _spread([0.5, 0.52, 0.9], 0.1) == pytest.approx([0.46, 0.56, 0.9])
    assert _spread([0.5, 0.5], 0.1) == pytest.approx([0.45, 0.55]) and _spread([1, 1], 0.1) == pytest.approx([0.9, 1])
    assert contrast(_dark("#f0e442"), (1.0, 1.0, 1.0)) >= 4.5


def test_labels_of_lines_that_end_together_are_a_line_of_text_apart():
    ends = "abcde"
    curves = Curves("a", "Step", tuple(Curve(f"end {one}", "#0072b2", ((1.0, 2.0), (2.0, 3.0))) for one in ends))
    for columns in (2, 3):  # of which the second are lower
        svg = built(*[curves] * columns, columns=columns).whole.svg()
        places = {one: float(re.search(rf'y="([\d.]+)"[^>]*>end {one}<', svg)[1]) for one in ends}
        places = sorted(places.values())
        assert min(b - a for a, b in itertools.pairwise(places)) >= 8.5


@pytest.mark.parametrize(
    ("values", "above", "place"),
    [
        ((80.0, 50.0, 30.0), True, 0.0),
        ((22.0, 80.0, 50.0), False, 0.0),
        (((22.0, 15.0, 29.0), 80.0, 50.0), True, 0.1),
    ],
)
def test_the_word_of_a_level_line_stands_where_no_mark_is(values, above, place):
    values = [
        accuracy(one[0], one[0] - one[1], frozen=BLOCKS[at]) if isinstance(one, tuple) else one
        for at, one in enumerate(values)
    ]
    panel = Dots("a", ("x", "y", "z"), (Series("", "#0072b2", tuple(values)),), line=(20.0, "chance"), limits=(0, 100))
    axes, _ = (axes for part in built(panel, panel).whole.make().subfigs for axes in part.axes)
    (word,) = axes.texts
    assert (word.get_text(), word.get_va() == "bottom") == ("chance", above)
    assert (word.xy[0] > place) == (place > 0)


def test_numbers_along_an_axis_have_a_minus_sign():
    curves = Curves("a", "", (Curve("", "#0072b2", ((-1.0, 2.0), (1.0, 3.0))),), ticks=(-1.0, 1.0))
    assert "\N{MINUS SIGN}1" in texts(built(curves).whole.svg())


def test_a_panel_of_curves_that_are_all_undefined_says_so():
    curves = Curves("Accuracy (%)", "Step", (Curve("MAML", "#0072b2", ((1.0, maml("conv2")),)),))
    (svg,) = built(curves).panels
    assert "undefined" in texts(svg)
