"""Figures are the same bytes every time, and safe to stand together in a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from reports.entries import entries_of
from reports.figures import ALGORITHM_COLOURS, Drawing, _spread, canvas, drawing, label_ends, style
from reports.studies.raghu2020 import figures, layer_figures
from reports.studies.raghu2020.moving.figures import similarity_by_step
from reports.studies.raghu2020.moving.map import change_map
from reports.studies.raghu2020.study_table import StudyTable
from tests.report_frames import study_frame

FIGURES = (
    figures.learning_curves,
    figures.freezing,
    figures.head_steps,
    layer_figures.similarity,
    layer_figures.over_training,
    similarity_by_step,
    layer_figures.weight_distance,
    change_map,
)


def small(name: str = "small", text: str = "label") -> Drawing:
    with style():
        figure, (axes,) = canvas()
        axes.errorbar([0, 1], [1, 2], [0.1, 0.1], marker="o", color=ALGORITHM_COLOURS["maml"])
        label_ends(axes, [(1.0, 2.0, text, "#000000")])
        return drawing(name, figure, "Title", "What it shows.")


def test_the_same_figure_is_the_same_bytes() -> None:
    assert small() == small()
    assert b"CreationDate" not in small().pdf
    assert b"/Producer" not in small().pdf


def test_the_settings_of_the_caller_neither_enter_nor_change() -> None:
    plain = small()
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "lines.linewidth": 9}):
        assert small() == plain
        assert mpl.rcParams["font.size"] == 30


def test_two_figures_share_no_id_and_every_reference_has_its_target() -> None:
    one, other = small("one").svg, small("other").svg
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip((one, other), ids, strict=True):
        references = set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg))
        assert references <= own
        assert references


def test_an_svg_holds_no_address_date_doctype_or_page_wide_style() -> None:
    svg = re.sub(r'xmlns(:\w+)?="[^"]+"', "", small().svg)
    assert not re.search(r"https?:|<!DOCTYPE|<metadata|<style|dc:date", svg)


def test_text_is_text_and_is_escaped() -> None:
    svg = small(text="<script>$x$ & co</script>").svg
    assert "<script>" not in svg
    texts = [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert "<script>$x$ & co</script>" in texts


@pytest.mark.parametrize(
    ("places", "gap", "expected"),
    [
        ([0.2, 0.8], 0.1, [0.2, 0.8]),
        ([0.5, 0.5], 0.1, [0.45, 0.55]),
        ([0.5, 0.52, 0.9], 0.1, [0.46, 0.56, 0.9]),
        ([0.0, 0.0], 0.1, [0.02, 0.12]),
        ([1.0, 1.0], 0.1, [0.9, 1.0]),
        ([], 0.1, []),
    ],
)
def test_labels_move_apart_and_keep_their_order(places: list[float], gap: float, expected: list[float]) -> None:
    assert _spread(places, gap) == pytest.approx(expected)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)], ids=["one seed", "three seeds"])
def test_every_figure_draws_and_is_small(figure, seeds) -> None:
    drawn = figure(StudyTable(entries_of(study_frame(seeds)), 5, 5))
    assert drawn is not None
    assert len(drawn.svg) < 120_000
    assert len(drawn.pdf) < 120_000
    assert drawn.pdf.startswith(b"%PDF")


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_without_its_rows_is_none(figure) -> None:
    assert figure(StudyTable((), 5, 5)) is None


def test_the_curves_of_several_seeds_stand_beside_their_mean() -> None:
    def lines(seeds: tuple[int, ...]) -> int:
        drawn = figures.learning_curves(StudyTable(entries_of(study_frame(seeds)), 5, 5))
        assert drawn is not None
        return drawn.svg.count(ALGORITHM_COLOURS["maml"])

    assert lines((0, 1, 2)) > lines((0, 1))


def test_panels_come_row_by_row() -> None:
    with style():
        figure, axes = canvas(3, 3.0, rows=2)
        figure.draw_without_rendering()
        places = [axes_.get_position() for axes_ in axes]
    assert len(axes) == 6
    assert places[0].x0 < places[1].x0 < places[2].x0
    assert [round(place.y0, 6) for place in places[:3]] == [round(places[0].y0, 6)] * 3
    assert places[3].y1 < places[0].y0
