"""Pairs of trainings: what is put together draw by draw, and the rows that follow from those of pairs."""

import dataclasses
import itertools

import numpy as np
import pytest

from metaprobe import probe
from metaprobe.analyses.bootstrap import over_seeds
from metaprobe.analyses.compared import Compared
from metaprobe.analyses.measures.measure import Null
from metaprobe.analyses.pairs import Comparisons, StoreOf, compare_trainings
from metaprobe.analyses.pairs.lines import LINE, difference, line, mean_of, pooled_rows
from metaprobe.analyses.table import Row
from metaprobe.trainers.errors import MetaprobeError
from tests.captures import ADAPTATION, small_network, some_tasks

REGIMES = ("multiclass", "nil", "random", "multitask")
BODY = ("conv1", "conv2", "conv3", "conv4")
MAML, ANIL, ACROSS = ("maml!", "maml!"), ("anil!", "anil!"), ("anil!", "maml!")  # keys of a study are no algorithms
WANTED = Comparisons(
    {"body": None, "first three": 3},
    (("body", MAML), ("body", ACROSS), *(("first three", (f"{regime}!", "maml!")) for regime in REGIMES)),
    (("body", ACROSS, MAML), ("body", ACROSS, ANIL), ("first three", ("random!", "maml!"), ("multiclass!", "maml!"))),
    (MAML,),
    (("body", MAML),),
)


def value(number, spread=0.01, seed=0, n=100, null=None):
    replicates = number + spread * np.random.default_rng(seed).normal(size=40)
    return Compared(number, n, "", replicates, null)


def undefined():
    return Compared(None, 7, "dead layer", np.full(40, np.nan))


def found(table, measure, learners, part, phase="pre-pre", minus=None):
    rows = [
        row for row in table.rows
        if (row.measure, row.learner, row.other_learner, row.layer, row.other_layer, row.phase, row.minus, row.seed)
        == (measure, *learners, part, part, phase, minus, None)
    ]  # fmt: skip
    assert len(rows) == 1, (measure, learners, part, len(rows))
    return rows[0]


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    base, tasks, found = tmp_path_factory.mktemp("pairs"), some_tasks(3, n_query=6), []
    for place, (algorithm, seed) in enumerate([(a, s) for a in ("maml", "anil", *REGIMES) for s in (0, 1)]):
        path = base / f"{algorithm}{seed}.h5"
        probe.capture(small_network(seed=place), None, tasks, out=path, adaptation=ADAPTATION)
        found.append(StoreOf(path, f"{algorithm}!", seed, algorithm))
    return tuple(found)


@pytest.fixture(scope="module")
def table(captured):
    return compare_trainings(captured, WANTED, replicates=40, permutations=3)


def test_means_and_differences_are_taken_draw_by_draw():
    null = Null(0.2, None, (0.1, 0.3), "")
    a, b = value(0.8, seed=1, n=50, null=null), value(0.6, seed=2, null=dataclasses.replace(null, values=(0.3, 0.5)))
    mean = mean_of({"a": a, "b": b})
    assert (mean.value, mean.n) == (pytest.approx(0.7), 50)
    assert np.allclose(mean.replicates, (a.replicates + b.replicates) / 2)
    assert mean.null.values == pytest.approx((0.2, 0.4))
    less = difference(a, b)
    assert less.value == pytest.approx(0.2)
    assert np.allclose(less.replicates, a.replicates - b.replicates)
    assert mean_of({"conv1": a, "conv2": undefined()}).reason == "conv2: dead layer"
    assert difference(undefined(), b).value is None


def test_a_line_is_that_of_least_squares():
    rng = np.random.default_rng(3)
    x, y = rng.random((6, 41)), rng.random((6, 41))
    sides = [{str(i): Compared(float(z[i, 0]), 9, "", z[i, 1:]) for i in range(6)} for z in (x, y)]
    found = line(*sides)
    for draw in (0, 5):
        slope, intercept = np.polyfit(x[:, draw], y[:, draw], 1)
        left = y[:, draw] - slope * x[:, draw] - intercept
        total = ((y[:, draw] - y[:, draw].mean()) ** 2).sum()
        expected = (slope, intercept, 1 - left @ left / total, 1 - ((y - x)[:, draw] ** 2).sum() / total)
        got = [found[k].value if draw == 0 else found[k].replicates[draw - 1] for k in LINE]
        assert got == pytest.approx(expected)
    same = line(sides[0], sides[0])
    assert [same[k].value for k in LINE] == pytest.approx([1, 0, 1, 1])
    flat = {str(i): value(0.5, 0.0) for i in range(4)}
    assert line(flat, flat)["slope"].reason == "the points do not differ"
    assert line({"a": undefined()}, {"a": value(1.0)})["slope"].reason == "a: dead layer"


def test_a_pooled_row_has_the_interval_over_seeds():
    units = [value(v, seed=i) for i, v in enumerate((0.5, 0.6, 0.7))]
    (row,) = pooled_rows(Row(measure="m", value=None), units, seeds=3, tasks=30, range=(0, 1))
    values, replicates = np.array([0.5, 0.6, 0.7]), np.stack([u.replicates for u in units])
    expected = over_seeds(values, replicates, tasks=30, seeds=3, within=True, range=(0, 1))
    assert (row.value, row.low, row.high) == (expected.value, expected.low, expected.high)
    (row,) = pooled_rows(Row(measure="m", value=None), [undefined()], seeds=2, tasks=30, range=(0, 1))
    assert (row.status, row.reason) == ("undefined", "pair 1: dead layer")


def test_every_number_that_is_put_together_follows_from_the_rows_of_pairs(table):
    rows = {
        (r.algorithm, r.seed, r.other_algorithm, r.other_seed, r.layer, r.phase): r.value
        for r in table.rows
        if r.measure == "mean_cca" and r.seed is not None and r.layer == r.other_layer
    }
    assert {key[1:4:2] for key in rows if key[0] == "anil" != key[2]} == {(0, 1), (1, 0)}
    assert {key[1:4:2] for key in rows if key[0] == "maml" == key[2]} == {(0, 1)}
    across = np.mean([rows["anil", i, "maml", 1 - i, layer, "pre-pre"] for i in (0, 1) for layer in BODY])
    maml, anil = (np.mean([rows[a, 0, a, 1, layer, "pre-pre"] for layer in BODY]) for a in ("maml", "anil"))
    assert found(table, "mean_cca", ACROSS, "body").value == pytest.approx(across)
    for minus, alone in (("learner=maml!", maml), ("other_learner=anil!", anil)):
        gap = found(table, "mean_cca_difference", ACROSS, "body", minus=minus)
        assert gap.value == pytest.approx(across - alone)
        assert gap.low < gap.value < gap.high
    random, multiclass = (
        np.mean([rows[a, i, "maml", 1 - i, layer, "pre-pre"] for i in (0, 1) for layer in BODY[:3]])
        for a in ("random", "multiclass")
    )
    learners = ("random!", "maml!")
    assert found(table, "mean_cca", learners, "first three").value == pytest.approx(random)
    gap = found(table, "mean_cca_difference", learners, "first three", minus="learner=multiclass!")
    assert gap.value == pytest.approx(random - multiclass)
    x, y = ([rows["maml", 0, "maml", 1, layer, p] for layer in BODY] for p in ("pre-pre", "post-post"))
    slope = found(table, "mean_cca_slope", MAML, "body", "post-post")
    assert slope.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert ("maml", 0, "maml", 1, "head", "post-post") in rows


def test_every_row_says_what_the_study_calls_both(table):
    assert all(row.learner == f"{row.algorithm}!" for row in table.rows)
    assert all(row.other_learner == f"{row.other_algorithm}!" for row in table.rows)


def test_all_layers_stand_against_all_and_every_row_names_its_stores(table):
    maps = [r for r in table.rows if r.measure == "mean_cca" and r.algorithm == "maml" and r.seed is None]
    assert {(r.layer, r.other_layer) for r in maps} - {("body", "body")} == set(
        itertools.product((*BODY, "head"), repeat=2)
    )
    for row in table.rows:
        assert row.source and all(len(part) == 12 for part in row.source.split("+"))


def test_the_body_is_all_layers_but_the_last_whatever_they_are_called():
    layers = ("stem", "a", "b", "c", "top")
    assert WANTED.layers_of("body", layers) == ("stem", "a", "b", "c")
    assert WANTED.layers_of("first three", layers) == ("stem", "a", "b")
    assert {both for both, _ in WANTED.of(ANIL, layers)} == {(name, name) for name in layers[:-1]}
    assert len(WANTED.of(MAML, layers)) == 25 + 3 * 5


def test_one_seed_compares_what_began_alike(captured):
    table = compare_trainings([s for s in captured if s.seed == 0], WANTED, replicates=40, permutations=0)
    assert {(row.seed, row.other_seed) for row in table.rows} == {(0, 0), (None, None)}
    assert not [row for row in table.rows if (row.learner, row.other_learner) in (MAML, ANIL)]
    assert found(table, "mean_cca", ("random!", "maml!"), "first three").value is not None


def test_stores_that_nothing_is_asked_of_are_refused(captured):
    with pytest.raises(MetaprobeError, match="at least one training, got none"):
        compare_trainings([], WANTED)
    with pytest.raises(MetaprobeError, match="unknown learner among the pairs of a study 'reptile'"):
        compare_trainings([dataclasses.replace(captured[0], learner="reptile")], WANTED)
    with pytest.raises(MetaprobeError, match="maml! with seed 0 has two stores; give one of each training"):
        compare_trainings([captured[0], captured[0]], WANTED)
    with pytest.raises(MetaprobeError, match=r"unknown part of a network 'boddy'.*body"):
        Comparisons({"body": None}, (("boddy", MAML),))
