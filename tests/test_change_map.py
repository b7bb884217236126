"""The map of what a layer's weights and features change by: where a layer lies, and the place of what is nil."""

import pytest

from metaprobe.analyses.readings import Estimate
from metaprobe.reports.probing import questions
from metaprobe.reports.probing.change_map import _NIL, _Scale
from tests.raghu_rows import BODY, LAYERS, study_rows
from tests.test_raghu2020 import evidence_of


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
def test_where_a_layer_lies_on_the_map_follows_from_whole_intervals(weights, features, expected):
    assert questions.quarter(*(Estimate((low + high) / 2, low, high) for low, high in (weights, features))) == expected
    assert questions.quarter(Estimate(1.0), None) == ""


def test_a_change_is_the_relative_distance_beside_one_minus_cka():
    evidence = evidence_of(study_rows())
    weights, features = (one.read(evidence) for one in questions.change("conv4", "maml"))
    cka = questions.of_layer("debiased_cka", "conv4", "maml").read(evidence)
    assert weights == questions.of_layer("relative_distance", "conv4", "maml").read(evidence)
    assert (features.value, features.low, features.high) == pytest.approx((1 - cka.value, 1 - cka.high, 1 - cka.low))


def test_what_is_nil_has_a_place_of_its_own_below_the_smallest_decade():
    scale = _Scale.of([0.0, _NIL / 2, 0.02, 0.5])
    assert scale.low < scale.place(0.0, 0.2) < scale.place(_NIL / 2, 0.9) < scale.nil < 0.01
    assert (scale.place(0.02, 0.5), scale.high > 0.5) == (0.02, True)
    plain = _Scale.of([0.02, 3.0])
    assert (plain.nil, plain.place(-0.5, 0.5)) == (None, plain.low)
    assert plain.high > 3 and set(LAYERS) > set(BODY)
