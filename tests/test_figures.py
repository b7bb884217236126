"""What commands draw with --figure: the rows of its table, what is seen in them, and how it is made again."""

import re
import struct
import zlib
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib.image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Table
from metaprobe.probe.cli.arguments import GIVEN
from metaprobe.probe.cli.figures.distances import distance_figure
from metaprobe.probe.cli.figures.freezing import freezing_figure
from metaprobe.probe.cli.figures.similarities import similarity_figure
from metaprobe.probe.cli.figures.writing import write_figure
from metaprobe.reports.blocks.canvas import style
from metaprobe.reports.blocks.declared import Curves, Dots
from metaprobe.reports.blocks.figure import draw
from metaprobe.trainers.errors import MetaprobeError
from tests.evidence_rows import accuracy
from tests.figure_rows import (
    FIGURES,
    LAYERS,
    WHO,
    alike,
    frozen,
    moved,
)


@pytest.fixture(autouse=True)
def command():
    token = GIVEN.set(("freeze", "a run", "--figure", "f.svg"))
    yield "Made by: metaprobe freeze 'a run' --figure f.svg"
    GIVEN.reset(token)


def texts(png):
    """Return the text chunks of a PNG."""
    found, at = {}, 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + size]
        if kind == b"tEXt":
            name, _, text = body.partition(b"\0")
            found[name.decode()] = text.decode("latin-1")
        if kind == b"iTXt":
            name, _, rest = body.partition(b"\0")
            text = rest[2:].split(b"\0", 2)[2]
            found[name.decode()] = (zlib.decompress(text) if rest[0] else text).decode()
        at += 12 + size
    return found


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_is_seen_and_how_it_is_made_and_is_legible_anywhere(name, command, tmp_path):
    block = FIGURES[name]()
    files = [tmp_path / f"a{suffix}" for suffix in (".svg", ".pdf", ".PNG")]
    for file in files:
        write_figure(block, file)
    svg, pdf, png = [file.read_bytes() for file in files]
    root = ElementTree.fromstring(svg)
    assert [root[0].tag[-5:], root[1].tag[-4:]] == ["title", "desc"]
    assert (root[0].text, root[1].text) == (block.caption, command) and root.get("width") == "396pt"
    told = texts(png)
    assert (told["Description"], told["Comment"]) == (block.caption, command)
    assert b"/Title" in pdf and b"(Made by: metaprobe freeze 'a run' --figure f.svg)" in pdf
    pixels = matplotlib.image.imread(files[2])
    assert (
        pixels.shape[1] == 1650 and (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
    )  # 5.5 inches; white behind
    assert re.search(r'<path d="M ?0 [^"]*" style="fill: #ffffff"', svg.decode())


@pytest.mark.parametrize("suffix", ["svg", "pdf", "png"])
def test_the_same_rows_and_command_are_the_same_bytes(suffix, tmp_path):
    for name in "ab":
        write_figure(FIGURES["steps"](), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def values(series):
    return [None if one is None else one.value for one in series.quantities]


def test_freezing_is_shown_beside_the_untrained_network_and_other_numbers_of_steps():
    figure = FIGURES["freeze"]()
    tested, cost, *steps = figure.panels
    assert tested.places == ("none", "conv1", "conv1–2", "NIL head") and tested.line == (20.0, "chance")
    assert [one.label for one in tested.series] == ["MAML", "untrained network"]
    assert values(tested.series[0]) == [90.0, 70.0, 50.0, 81.0] and values(tested.series[1])[-1] == 21.0
    assert values(cost.series[0]) == [None, -20.0, -40.0, None] and cost.title == "Change by freezing (points)"
    (own,) = steps
    assert [one.label for one in own.series] == ["5 steps", "9 steps"] and own.places == ("none", "conv1", "conv1–2")
    assert values(own.series[1]) == [92.0, None, 92.0]  # the NIL head takes no steps: it is in no panel by steps
    assert "MAML with conv1–2 frozen: −40.0 points [−40.5, −39.5]." in figure.caption
    assert "Reuse index of MAML, NIL head: 0.25 [0.20, 0.30]." in figure.caption
    assert figure.caption.endswith("over 600 tasks.")


def test_of_a_regression_errors_are_shown_without_chance():
    rows = [replace(one, measure=one.measure.replace("accuracy", "mean_squared_error")) for one in frozen(0.5, -0.1)]
    tested, cost = freezing_figure(Table.of(rows), None).panels
    assert (tested.title, cost.title, tested.line) == ("Test mean squared error", "Change by freezing", None)


def test_many_sets_or_layers_are_below_each_other():
    sets = [accuracy(50.0, 1.0, frozen=f"conv{n}", **(WHO | {"learner": None})) for n in range(12)]
    assert freezing_figure(Table.of(sets), None).panels[0].lying
    rows = [one for n in range(4) for one in moved() for one in (replace(one, layer=f"{n}.{one.layer}"),)]
    assert all(panel.lying for panel in distance_figure(Table.of(rows)).panels)


def test_distances_are_on_a_logarithmic_axis_where_all_have_a_place_there():
    figure = FIGURES["distance"]()
    assert all(panel.log for panel in figure.panels) and "farthest conv2, 0.500 [0.450, 0.550]" in figure.caption
    still = [replace(one, value=0.0) if one.layer == "head" else one for one in moved()]
    assert not any(panel.log for panel in distance_figure(Table.of(still)).panels)


def test_similarities_stand_beside_their_null_by_layer_or_over_steps():
    cca, angle = FIGURES["similarity"]().panels
    assert isinstance(cca, Dots) and cca.places == LAYERS and cca.limits == (-0.03, 1.03) and angle.limits is None
    assert values(cca.series[0]) == pytest.approx([0.9, 0.8, 0.7]) and {one.value for one in cca.series[0].nulls} == {
        0.1
    }
    assert "least alike head, 0.700 [0.680, 0.720], null 0.100 [0.090, 0.110]." in FIGURES["similarity"]().caption
    (course,) = FIGURES["steps"]().panels
    assert isinstance(course, Curves)
    assert [(one.label, one.dashed, [x for x, _ in one.points]) for one in course.curves[:2]] == [
        ("conv1", False, [1.0, 2.0]), ("", True, [1.0, 2.0])
    ]  # fmt: skip


def test_stores_of_other_last_steps_are_beside_each_other_unless_one_holds_its_every_step():
    ends = [one for n in (3, 2) for one in alike(n, inner_steps=n, source=f"{n}" * 12)]
    figure = similarity_figure(Table.of(ends), [MEASURES["mean_cca"]])
    (panel,) = figure.panels
    assert isinstance(panel, Dots) and [one.label for one in panel.series] == ["MAML, 3 steps", "MAML, 2 steps"]
    assert "every inner step" not in figure.caption
    course = [*alike(1, inner_steps=2, source="2" * 12), *ends]
    two, three = similarity_figure(Table.of(course), [MEASURES["mean_cca"]]).panels
    assert (two.title, two.ticks, three.title, three.ticks) == (
        "MAML, 2 steps: Mean CCA",
        (),
        "MAML, 3 steps: Mean CCA",
        (3.0,),
    )
    assert [one.marker for one in two.curves[:2]] == ["o", ""]
    assert [one.marker for one in three.curves[:2]] == ["o", "_"]  # a single place has no line to be dashed


def test_marks_at_the_ends_of_flat_panels_are_whole():
    rows = [*alike(), *(replace(one, measure="linear_cka") for one in alike() if one.measure == "mean_cca")]
    block = similarity_figure(Table.of(rows), [MEASURES[n] for n in ("mean_cca", "angular_cka", "linear_cka")])
    drawing = draw(block)
    with style():
        made = drawing.make()
        FigureCanvasAgg(made).draw()
    marks = [(axes, line) for part in made.subfigs for axes in part.axes for line in axes.lines if line.get_gid()]
    assert len(marks) == 15  # three layers of three measures, two of which have a null
    for axes, line in marks:
        size = (line.get_markersize() + line.get_markeredgewidth()) * made.dpi / 72
        half = size / 2 if line.get_marker() == "o" else 0.0  # a null is a flat line
        heights = axes.transData.transform(line.get_xydata())[:, 1]
        assert axes.bbox.y0 <= heights.min() - half and heights.max() + half <= axes.bbox.y1


def test_nothing_to_draw_is_told(tmp_path):
    undefined = [replace(one, value=None, low=None, high=None, status="undefined", reason="dead") for one in moved()]
    with pytest.raises(MetaprobeError, match="--figure: there is nothing to draw, no number of the table is one"):
        write_figure(distance_figure(Table.of(undefined)), tmp_path / "f.svg")
    assert not list(tmp_path.iterdir())
