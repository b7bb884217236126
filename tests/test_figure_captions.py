"""What a figure's caption says, and what maps and planes of figures show beside their numbers."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Table
from metaprobe.probe.cli.figures.clusters import clusters_figure
from metaprobe.probe.cli.figures.distances import distance_figure
from metaprobe.probe.cli.figures.freezing import freezing_figure
from metaprobe.probe.cli.figures.learners import learners_of
from metaprobe.probe.cli.figures.similarities import checkpoints_figure, similarity_figure
from metaprobe.probe.cli.figures.writing import write_figure
from metaprobe.reports.blocks.declared import Dots, Map, Scatter
from metaprobe.reports.blocks.figure import sketches
from tests.evidence_rows import row
from tests.figure_rows import FIGURES, FROZEN, MAPPED, WHO, alike, grouped, moved


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
