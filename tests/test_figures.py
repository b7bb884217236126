"""What commands draw with --figure: the rows of its table, what is seen in them, and how it is made again."""

import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.image
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Table
from metaprobe.probe.cli.arguments import GIVEN
from metaprobe.probe.cli.figures.clusters import clusters_figure
from metaprobe.probe.cli.figures.distances import distance_figure
from metaprobe.probe.cli.figures.freezing import freezing_figure
from metaprobe.probe.cli.figures.learners import learners_of
from metaprobe.probe.cli.figures.similarities import checkpoints_figure, similarity_figure
from metaprobe.probe.cli.figures.writing import write_figure
from metaprobe.reports.blocks.canvas import style
from metaprobe.reports.blocks.declared import Curves, Dots, Map, Scatter
from metaprobe.reports.blocks.figure import draw, sketches
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.run import RunFolder
from tests.evidence_rows import accuracy, row

BLOCKS = ("", "conv1", "conv1,conv2")
LAYERS = ("conv1", "conv2", "head")
WHO = {"checkpoint": "0123456789ab", "algorithm": "maml", "seed": 0, "iteration": 100}
DEMO = RunFolder(Path(__file__).parents[1] / "reports/demo/maml-glyphs").checkpoint("last")


def frozen(value, cost, **columns):
    own = WHO | {"learner": None} | columns
    for at, names in enumerate(BLOCKS):
        yield accuracy(value - cost * at, 1.0, frozen=names, **own)
        if at:
            change = accuracy(-cost * at, 0.5, frozen=names, minus="frozen=none", **own)
            yield replace(change, measure="accuracy_difference")
    yield accuracy(value - 9, 1.0, **(own | {"head": "nil", "inner_steps": 0, "phase": "pre"}))


UNTRAINED = {
    "checkpoint": "ba9876543210",
    "algorithm": "random",
    "iteration": 0,
    "source": "adapted as maml 0123456789ab",
}
FROZEN = Table.of(
    (
        *frozen(90.0, 20.0),
        *(one for one in frozen(92.0, 0.0, inner_steps=9) if one.head == "own" and one.frozen != "conv1"),
        *frozen(30.0, 1.0, **UNTRAINED),
        row("reuse_index", 0.25, 0.05, **WHO, head="nil", n=600),
    )
)


def alike(step=5, **columns):
    for measure, top in (("mean_cca", 0.9), ("angular_cka", 0.2)):
        for at, layer in enumerate(LAYERS):
            told = WHO | {"layer": layer, "phase": "pre-post", "step": step, "n": 75} | columns
            yield row(measure, top - 0.1 * at, 0.02, **told)
            yield row(f"{measure}_null", 0.1, 0.01, **told)


def moved(**columns):
    for layer, value in zip(LAYERS, (0.01, 0.5, 0.02), strict=True):
        for measure in ("euclidean_distance", "rms_change", "relative_distance"):
            yield row(measure, value, value / 10, **(WHO | {"layer": layer, "n": 20} | columns))


def grouped(planes):
    for place, group in enumerate(("signs", "objects")):
        for cluster in (0, 1):
            told = WHO | {"group": group, "cluster": cluster, "view": "assignment", "n": 10}
            yield row("usage_count", 9.0 if place == cluster else 1.0, **told)
            yield row("usage_frequency", 0.9 if place == cluster else 0.1, **told)
    for score in ("purity", "adjusted_rand", "normalised_mutual_information"):
        yield row(score, 0.8, 0.1, **WHO, view="assignment", n=20)
    for method in ("pca", "umap") if planes else ():
        yield row(
            f"{method}_trustworthiness", 0.95, **WHO, view="all", n=8, reason=f"{method.upper()}, seed 0; among 10"
        )
        for task in range(8):
            told = WHO | {"view": "all", "task": task, "group": ("signs", "objects")[task % 2], "cluster": task % 2}
            yield from (row(f"{method}_{axis}", float(task), **told) for axis in "xy")


MAPPED = Table.of(
    row("linear_cka", 0.5 + 0.1 * (one == other), **WHO, layer=one, phase="pre-pre", other_layer=other,
        other_checkpoint="f" * 12, other_algorithm="anil", other_seed=0, source="a+b")
    for one in LAYERS for other in LAYERS
)  # fmt: skip
FIGURES = {
    "freeze": lambda: freezing_figure(FROZEN, 20.0),
    "distance": lambda: distance_figure(Table.of(moved())),
    "similarity": lambda: similarity_figure(Table.of(alike()), [MEASURES["mean_cca"], MEASURES["angular_cka"]]),
    "steps": lambda: similarity_figure(Table.of((*alike(1), *alike(2))), [MEASURES["mean_cca"]]),
    "map": lambda: checkpoints_figure(MAPPED, "linear_cka"),
    "clusters": lambda: clusters_figure(Table.of(grouped(True)), "initialisation"),
}


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


def test_captions_tell_only_of_bars_nulls_and_moves_that_are_there():
    def bare(rows):
        return Table.of(replace(one, low=None, high=None) for one in rows if not one.measure.endswith("_null"))

    assert "Bars" not in freezing_figure(bare(FROZEN.rows), None).caption
    assert "Bars" in distance_figure(Table.of(moved())).caption
    still = [replace(one, value=0.0) for one in moved()]
    assert distance_figure(bare(still)).caption.endswith("in the inner loop. MAML: nothing moved.")
    for steps, word in (((5,), "Short lines"), ((1, 2), "Dashed")):
        rows, measures = [one for step in steps for one in alike(step)], [MEASURES["mean_cca"]]
        told = similarity_figure(Table.of(rows), measures).caption
        assert f" {word}: the null, each image beside another one. Bars: 95 % intervals." in told
        plain = similarity_figure(bare(rows), measures)
        assert "null" not in plain.caption + getattr(plain.panels[0], "axis", "") and "Bars" not in plain.caption


def test_a_distance_is_least_alike_where_it_is_largest():
    figure = similarity_figure(Table.of(alike()), [MEASURES["angular_cka"]])
    assert "least alike conv1, 0.200" in figure.caption


def test_a_map_says_where_its_largest_number_is_and_darkens_up_to_the_measures_largest():
    (panel,) = FIGURES["map"]().panels
    assert isinstance(panel, Map) and panel.title == "Before adaptation: MAML seed 0 against ANIL seed 0"
    assert panel.most == 1.0 and "largest conv1 against conv1, 0.6." in FIGURES["map"]().caption
    rows = [replace(one, measure="angular_cka") for one in MAPPED.rows]
    assert checkpoints_figure(Table.of(rows), "angular_cka").panels[0].most == pytest.approx(np.pi / 2)


def test_a_map_of_many_layers_has_upright_names_and_crosses_alone_in_its_cells():
    names = [f"layer{n // 10}.{n % 10}.conv.weight" for n in range(16)]
    rows = [row("linear_cka", 0.5 if one != other else None, **WHO, layer=one, phase="pre-pre", other_layer=other)
            for one in names for other in names]  # fmt: skip
    figure = checkpoints_figure(Table.of(rows), "linear_cka")
    (sketch,) = sketches(figure, None)
    axes = Figure(figsize=(5.5, sketch.height(5.5))).subplots()
    sketch.paint(axes)
    assert figure.columns == 1 and [text.get_text() for text in axes.texts if text.get_text()] == ["×"] * 16
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90.0}
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert FIGURES["map"]().columns == 2


def test_two_stores_of_one_checkpoint_are_told_apart_and_layers_of_one_name_are_said_to_be():
    told = {"other_checkpoint": WHO["checkpoint"], "other_algorithm": "maml", "source": f"{'a' * 12}+{'b' * 12}"}
    rows = [replace(one, **told) for one in MAPPED.rows if one.layer == one.other_layer]
    figure = checkpoints_figure(Table.of(rows), "linear_cka")
    (panel,) = figure.panels
    assert (panel.down, panel.across) == ("MAML seed 0, store aaaaaa", "MAML seed 0, store bbbbbb")
    assert panel.title == f"Before adaptation: {panel.down} against {panel.across}"
    assert figure.caption.startswith("CKA of each layer against that of its name. ")
    assert FIGURES["map"]().caption.startswith("CKA of all layers against all layers. ")
    runs = [replace(one, other_algorithm="maml") for one in MAPPED.rows]
    (panel,) = checkpoints_figure(Table.of(runs), "linear_cka").panels
    assert (panel.down, panel.across) == ("MAML seed 0, 012345", "MAML seed 0, ffffff")


def test_tasks_are_in_the_plane_below_their_clusters():
    figure = FIGURES["clusters"]()
    usage, agreement, *planes = figure.panels
    assert isinstance(usage, Map) and isinstance(agreement, Dots) and (figure.columns, figure.wide) == (3, 2)
    assert [panel.title for panel in planes] == ["all adapted parameters: UMAP", "all adapted parameters: PCA"]
    assert isinstance(planes[0], Scatter) and len(planes[0].points) == 8
    assert {(point.label, point.shape) for point in planes[0].points} == {
        ("signs", "initialisation 0"), ("objects", "initialisation 1")
    }  # fmt: skip
    assert "Adjusted Rand index by own assignment: 0.80 [0.70, 0.90]." in figure.caption
    assert figure.caption.endswith(" PCA, seed 0; UMAP, seed 0. Among 10.")
    assert len(clusters_figure(Table.of(grouped(False)), "cluster").panels) == 2


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


def test_learners_of_one_name_are_told_apart_by_what_differs():
    def labels(*columns):
        found = learners_of([row("a", 1.0, **(WHO | one)) for one in columns])
        assert len({(one.colour, one.marker) for one in found}) == len(found)
        return [one.label for one in found]

    assert labels({}, {"algorithm": "anil"}) == ["MAML", "ANIL"]
    assert labels({}, {"seed": 1}, {"algorithm": "anil"}) == ["MAML, seed 0", "MAML, seed 1", "ANIL"]
    assert labels({}, {"iteration": 2000}) == ["MAML, iteration 100", "MAML, iteration 2,000"]
    assert labels({"iteration": None}, {}) == ["MAML", "MAML, iteration 100"]  # imported: of how many nobody told
    assert labels({}, {"checkpoint": "f" * 12}) == ["MAML, 012345", "MAML, ffffff"]
    assert labels({"source": "a" * 12}, {"source": "b" * 12}) == [f"MAML, {'a' * 12}", f"MAML, {'b' * 12}"]
    assert labels({}, {"update_rule": "meta_kfo"}) == ["MAML", "MAML with meta_kfo"]


def test_captions_end_with_the_conditions_of_what_is_drawn(tmp_path):
    told = [replace(one, reason="3 ways under a new head") for one in FROZEN.rows if one.algorithm == "maml"]
    told = [replace(one, reason=f"unmodulated; {one.reason}") if one.frozen else one for one in told]
    told.append(replace(told[0], task=1, reason="of a task that is not drawn"))
    write_figure(freezing_figure(Table.of(told), None), tmp_path / "f.svg")
    caption = ElementTree.fromstring((tmp_path / "f.svg").read_bytes())[0].text
    assert caption.endswith("over 600 tasks. 3 ways under a new head. Unmodulated (5 of 8 values).")
    rows = [replace(one, value=None, low=None, high=None, status="undefined", reason=f"dead {place}; all")
            for place, one in enumerate(moved())]  # fmt: skip
    write_figure(distance_figure(Table.of((*rows, *moved(checkpoint="f" * 12)))), tmp_path / "f.svg")
    caption = ElementTree.fromstring((tmp_path / "f.svg").read_bytes())[0].text
    assert "20 tasks. Undefined: all (9 of 18 values). Undefined: dead 2 (1 of 18 values). " in caption
    assert caption.endswith("The table has 4 more remarks.")


def test_captions_count_no_places_in_the_plane(tmp_path):
    told = [replace(one, reason="k-means" if one.task is None else "UMAP") if one.reason is None else one
            for one in grouped(True)]  # fmt: skip
    write_figure(clusters_figure(Table.of(told), "cluster"), tmp_path / "f.svg")
    caption = ElementTree.fromstring((tmp_path / "f.svg").read_bytes())[0].text
    assert caption.endswith(" PCA, seed 0; UMAP, seed 0. Among 10. K-means.")


def test_nothing_to_draw_is_told(tmp_path):
    undefined = [replace(one, value=None, low=None, high=None, status="undefined", reason="dead") for one in moved()]
    with pytest.raises(MetaprobeError, match="--figure: there is nothing to draw, no number of the table is one"):
        write_figure(distance_figure(Table.of(undefined)), tmp_path / "f.svg")
    assert not list(tmp_path.iterdir())
