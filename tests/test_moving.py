"""What moves in the inner loop: the readings behind both figures, their words, and their section."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.entries import entries_of
from reports.evidence import Estimate
from reports.page import Missing, PageFigure, PageTable
from reports.studies.raghu2020.moving.changes import (
    NIL,
    Change,
    changes,
    in_words,
    shown_steps,
    stages,
    steps_of,
    unrelated,
)
from reports.studies.raghu2020.moving.figures import similarity_by_step
from reports.studies.raghu2020.moving.map import _Scale, change_map
from reports.studies.raghu2020.moving.section import moving_section
from reports.studies.raghu2020.study_table import StudyTable
from tests.report_frames import BODY, LAYERS, STAGES, study_frame


def table(frame: pd.DataFrame) -> StudyTable:
    return StudyTable(entries_of(frame), 5, 5)


def change(weights: tuple[float, float], features: tuple[float, float]) -> Change:
    one, other = (Estimate((low + high) / 2, low, high) for low, high in (weights, features))
    return Change("conv1", one, other)


def test_a_change_is_the_relative_distance_beside_one_minus_cka_after_the_last_step() -> None:
    frame = study_frame()
    found = changes(table(frame), "maml")
    assert [c.layer for c in found] == list(LAYERS)
    rows = frame[(frame["algorithm"] == "maml") & (frame["layer"] == "conv4") & (frame["iteration"] == STAGES[-1])]
    rows = rows[rows["step"] == 5].set_index("measure")
    cka, distance = rows.loc["debiased_cka"], rows.loc["relative_distance"]
    conv4 = found[BODY.index("conv4")]
    assert (conv4.weights.value, conv4.weights.low) == (distance["value"], distance["low"])
    assert conv4.features.value == pytest.approx(1 - cka["value"], abs=1e-15)
    assert conv4.features.low == pytest.approx(1 - cka["high"], abs=1e-15)
    assert conv4.features.high == pytest.approx(1 - cka["low"], abs=1e-15)


def test_several_seeds_keep_their_own_points_in_both_directions() -> None:
    (conv1, *_) = changes(table(study_frame((0, 1, 2))), "maml")
    assert [seed for seed, _ in conv1.features.per_seed] == [seed for seed, _ in conv1.weights.per_seed] == [0, 1, 2]
    assert sum(value for _, value in conv1.features.per_seed) / 3 == pytest.approx(conv1.features.value)


def test_a_layer_without_one_of_both_is_not_on_the_map() -> None:
    frame = study_frame()
    undefined = (frame["measure"] == "debiased_cka") & (frame["layer"] == "head")
    frame.loc[undefined, "value"] = None
    frame.loc[undefined, ["status", "reason"]] = ["undefined", "dead"]
    assert [c.layer for c in changes(table(frame), "maml")] == list(BODY)
    assert changes(table(frame[frame["measure"] != "relative_distance"]), "maml") == ()
    assert stages(table(frame)) == STAGES


@pytest.mark.parametrize(
    ("weights", "features", "expected"),
    [
        ((0.2, 0.3), (0.2, 0.3), "moved, and it mattered"),
        ((0.2, 0.3), (0.01, 0.02), "moved, without effect"),
        ((0.01, 0.02), (0.2, 0.3), "hardly moved, yet it mattered"),
        ((0.0, 0.0), (0.0, 0.0), "still"),
        ((0.09, 0.11), (0.2, 0.3), "on the boundary"),
        ((0.2, 0.3), (0.05, 0.15), "on the boundary"),
    ],
)
def test_words_follow_from_whole_intervals(
    weights: tuple[float, float], features: tuple[float, float], expected: str
) -> None:
    assert in_words(change(weights, features)) == expected


def test_the_null_spans_what_shuffled_samples_differ_by() -> None:
    assert unrelated(table(study_frame()), ("maml", "anil")) == pytest.approx((0.977, 0.983))
    frame = study_frame()
    assert unrelated(table(frame[~frame["measure"].str.endswith("_null")]), ("maml",)) is None


def test_similarity_is_shown_by_step_for_learners_with_more_than_one() -> None:
    frame = study_frame()
    assert steps_of(table(frame), "mean_cca", "maml") == [1, 2, 3, 4, 5]
    one = frame[(frame["algorithm"] != "anil") | (frame["step"] == 5)]
    assert shown_steps(table(one)) == (("debiased_cka", "maml"), ("mean_cca", "maml"))
    last = frame[frame["step"].isna() | (frame["step"] == 5)]
    assert similarity_by_step(table(last)) is None
    assert change_map(table(last)) is not None


def test_what_is_nil_has_a_place_of_its_own_below_the_smallest_decade() -> None:
    scale = _Scale.of([Estimate(0.0), Estimate(NIL / 2), Estimate(0.02), Estimate(0.5)])
    assert scale.nil is not None
    assert scale.low < scale.place(0.0) == scale.place(NIL / 2) == scale.nil < scale.ticks()[1] == 0.01
    assert scale.place(0.02) == 0.02
    assert scale.ticks() == pytest.approx([scale.nil, 0.01, 0.1, 1.0])
    plain = _Scale.of([Estimate(0.02), Estimate(3.0)])
    assert plain.nil is None
    assert plain.ticks() == pytest.approx([0.01, 0.1, 1.0])
    assert plain.place(-0.5) == plain.low == 0.01
    assert plain.high > 3


def test_the_section_holds_both_figures_the_map_in_numbers_and_the_rows_behind_them() -> None:
    frame = study_frame((0, 1))
    section = moving_section(table(frame), frame, {"debiased_cka": "[2]", "mean_cca": "[1]"})
    by_step, on_map, numbers = section.blocks
    assert isinstance(by_step, PageFigure)
    assert isinstance(on_map, PageFigure)
    assert isinstance(numbers, PageTable)
    assert "debiased CKA [2] and mean CCA [1]" in by_step.caption
    assert by_step.behind is not None
    assert set(by_step.behind.frame["measure"]) == {"debiased_cka", "mean_cca", "debiased_cka_null", "mean_cca_null"}
    assert set(by_step.behind.frame["iteration"]) == {STAGES[-1]}
    assert set(by_step.behind.frame["step"]) == {1, 2, 3, 4, 5}
    assert on_map.behind is numbers.behind
    assert on_map.behind is not None
    assert set(on_map.behind.frame["step"]) == {5}
    assert set(on_map.behind.frame["iteration"]) == set(STAGES)
    assert [row[0].text for row in numbers.rows] == [f"{who}, {layer}" for who in ("MAML", "ANIL") for layer in LAYERS]
    words = {row[0].text: row[3].text for row in numbers.rows}
    assert words["ANIL, conv1"] == "still"
    assert words["MAML, head"] == "moved, and it mattered"


def test_what_was_not_measured_is_said_under_the_names_of_the_figures() -> None:
    frame = study_frame()
    frame = frame[~frame["measure"].isin(["debiased_cka", "mean_cca"])]
    section = moving_section(table(frame), frame, {})
    assert all(isinstance(block, Missing) for block in section.blocks)
    assert [block.name for block in section.blocks if isinstance(block, Missing)] == [
        "similarity-by-step",
        "change-map",
    ]
