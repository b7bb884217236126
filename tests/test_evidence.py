"""Rows become readings: one seed or several, undefined values, and rows that must not be there twice."""

from __future__ import annotations

import pandas as pd
import pytest

from reports.entries import entries_of
from reports.evidence import Estimate, Undefined, minus, pool
from tests.report_frames import row, study_frame
from trainers.errors import MetaprobeError


def test_one_seed_keeps_its_interval_and_several_add_their_spread() -> None:
    rows = [row("accuracy", 90.0, 1.0, seed=0, n=600), row("accuracy", 92.0, 1.0, seed=1, n=500)]
    entries = entries_of(pd.DataFrame(rows))
    assert pool(entries[:1]) == Estimate(90.0, 89.0, 91.0, 600, ((0, 90.0),))
    both = pool(entries)
    assert isinstance(both, Estimate)
    assert both.low is not None
    assert both.sd == pytest.approx(2**0.5)
    # t with one degree of freedom times sd/√2 = 12.706, and the tasks' own 1.0
    assert both.value - both.low == pytest.approx((12.7062**2 + 1.0) ** 0.5, rel=1e-4)
    assert both.n == 500


def test_a_value_that_is_undefined_for_one_seed_is_not_averaged_away() -> None:
    rows = [row("svcca", 0.9, seed=0), row("svcca", None, seed=1, status="undefined", reason="layer is dead")]
    assert pool(entries_of(pd.DataFrame(rows))) == Undefined("1 of 2 seeds: layer is dead")


def test_two_rows_of_one_seed_are_an_error() -> None:
    rows = [
        row("accuracy", 90.0, seed=0, algorithm="maml", iteration=50, frozen="conv1", checkpoint=checkpoint)
        for checkpoint in ("aaa", "bbb")
    ]
    expected = r"\(algorithm maml, seed 0, iteration 50, frozen conv1\).* of checkpoints aaa and bbb"
    with pytest.raises(MetaprobeError, match=expected):
        pool(entries_of(pd.DataFrame(rows)))
    with pytest.raises(MetaprobeError, match="checkpoints aaa and aaa"):
        pool(entries_of(pd.DataFrame([rows[0], rows[0] | {"value": 91.0}])))


def test_the_untrained_network_of_two_runs_of_a_seed_counts_once() -> None:
    rows = [row("accuracy", 46.0, 1.0, seed=0, algorithm="random", checkpoint="ccc")] * 2
    assert pool(entries_of(pd.DataFrame(rows))) == Estimate(46.0, 45.0, 47.0, None, ((0, 46.0),))


def test_unpaired_differences_add_half_widths_in_quadrature() -> None:
    gap = minus(Estimate(10.0, 7.0, 13.0), Estimate(4.0, 0.0, 8.0))
    assert gap == Estimate(6.0, 1.0, 11.0)
    assert minus(Estimate(1.0), None) is None


def test_a_missing_column_and_a_word_for_a_number_are_named() -> None:
    frame = study_frame()
    with pytest.raises(MetaprobeError, match="no column inner_steps"):
        entries_of(frame.drop(columns="inner_steps"))
    with pytest.raises(MetaprobeError, match=r"row 0 of the study's table: value is 'high'"):
        entries_of(frame.astype({"value": object}).assign(value="high"))
