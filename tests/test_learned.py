"""Whether anything was learned: gains against plain numpy, with intervals of an independent reference."""

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.table import Row, Table
from metaprobe.analyses.testing.learned import MARGIN, learned_table
from tests.interval_coverage import interval_of


def rows_of(values, algorithm="maml", head="own", steps=5, **more):
    row = Row(
        algorithm=algorithm, iteration=0 if algorithm == "random" else 9, frozen="", head=head, inner_steps=steps,
        measure="accuracy", value=None, n=1, **more,
    )  # fmt: skip
    return [
        dataclasses.replace(row, seed=seed, checkpoint=f"{algorithm}{seed}", task=task, value=float(value))
        for seed, tasks in enumerate(values)
        for task, value in enumerate(tasks)
    ]


def studies(trained, seeds=1, tasks=50):
    """Accuracies of own and NIL head, and of the NIL head on the untrained body, of tasks that are hard for all."""
    generator = np.random.default_rng(3)
    hard = generator.normal(0, 8, tasks)
    levels = (trained + 2, trained, 38.0)
    return [level + hard + generator.normal(0, 3, (seeds, tasks)) for level in levels]


def table_of(own, nil, untrained):
    random = rows_of(untrained, "random", "nil", 0)
    return Table.of([*rows_of(own), *rows_of(nil, head="nil", steps=0), *random, *rows_of(own + 5, steps=30)])


def the(table, **wanted):
    (row,) = [row for row in table.rows if all(getattr(row, name) == value for name, value in wanted.items())]
    return row


def test_gains_of_one_seed_are_paired_and_counted_from_chance():
    own, nil, untrained = studies(60.0)
    found = learned_table(table_of(own, nil, untrained), 5, 5)
    assert [(row.measure, row.head, row.seed, row.checkpoint, row.n) for row in found.rows] == [
        ("gain_over_chance", "own", 0, "maml0", 50),
        ("gain_over_untrained", "nil", 0, "maml0", 50),
        ("gain_over_chance", "nil", 0, "maml0", 50),
    ]
    gain = the(found, measure="gain_over_untrained")
    gaps = (nil - untrained)[0]
    expected = (gaps.mean(), *interval_of(gaps, (-100.0, 100.0)))
    assert (gain.value, gain.low, gain.high) == pytest.approx(expected, rel=1e-9)
    assert (gain.minus, gain.status) == (None, "ok")
    assert gain.reason == "more than 2 points over untrained features"
    for head, values in (("own", own[0]), ("nil", nil[0])):
        row = the(found, measure="gain_over_chance", head=head)
        low, high = interval_of(values, (0.0, 100.0))
        assert (row.value, row.low, row.high) == pytest.approx((values.mean() - 20, low - 20, high - 20), rel=1e-9)
        assert row.reason == "more than 2 points over chance, 20 %"


def test_of_several_seeds_there_is_a_row_each_and_one_of_all():
    own, nil, untrained = studies(60.0, seeds=3)
    found = learned_table(table_of(own, nil, untrained), 5, 5)
    gains = [row for row in found.rows if row.measure == "gain_over_untrained"]
    assert [row.seed for row in gains] == [0, 1, 2, None]
    assert [row.value for row in gains] == pytest.approx([*(nil - untrained).mean(axis=1), (nil - untrained).mean()])
    assert gains[-1].high - gains[-1].low > gains[0].high - gains[0].low  # seeds differ, too
    assert len(found) == 4 * 3


@pytest.mark.parametrize("level", [38.0, 38.0 + MARGIN])
def test_what_is_not_clear_of_the_margin_is_told(level):
    own, nil, untrained = studies(level)
    row = the(learned_table(table_of(own, nil, untrained), 5, 5), measure="gain_over_untrained")
    assert row.low < MARGIN
    assert row.reason.startswith("not clear of untrained features by 2 points: nothing is shown to be learned")
    table = learned_table(table_of(own - own.mean() + 20, nil, untrained), 5, 5)
    chance = the(table, measure="gain_over_chance", head="own")
    assert chance.low < 0 < chance.high
    assert "not clear of chance, 20 % by 2 points" in chance.reason


def test_without_the_untrained_test_or_a_number_it_is_undefined():
    own, nil, untrained = studies(60.0)
    rows = [row for row in table_of(own, nil, untrained).rows if row.algorithm != "random"]
    row = the(learned_table(Table.of(rows), 5, 5), measure="gain_over_untrained")
    assert (row.value, row.low, row.status) == (None, None, "undefined")
    assert "the untrained network was not tested with the NIL head" in row.reason
    lost = [dataclasses.replace(row, value=None, status="undefined") if row.task == 3 else row for row in rows]
    row = the(learned_table(Table.of(lost), 5, 5), measure="gain_over_chance", head="own")
    assert (row.value, row.status) == (None, "undefined")
    assert "1 of 50 tasks have no accuracy" in row.reason


def test_domains_are_apart_and_few_tasks_are_told():
    own, nil, untrained = studies(60.0, tasks=4)
    rows = table_of(own, nil, untrained).rows
    other = [dataclasses.replace(row, group="dots", value=row.value - 10 * (row.algorithm == "maml")) for row in rows]
    found = learned_table(Table.of([*rows, *other]), 5, 5)
    one, two = (the(found, measure="gain_over_untrained", group=group) for group in (None, "dots"))
    assert one.value - two.value == pytest.approx(10)
    assert "over 4 tasks, fewer than 10, is rough" in one.reason
