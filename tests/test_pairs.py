"""Pairs of trainings: what is put together draw by draw, the verdicts by their rules, and the section."""

import dataclasses
import math

import numpy as np
import pytest

import probe
from analyses.bootstrap import over_seeds
from analyses.compare import Compared
from analyses.measures.measure import Null
from analyses.table import Row, Table
from reports.entries import entries_of
from reports.evidence import Estimate
from reports.heatmap import heatmaps
from reports.parts import Missing, PageFigure, PageTable
from reports.studies.raghu2020.pairs.combining import LINE, difference, line, mean_of, pooled_row
from reports.studies.raghu2020.pairs.judgements import pair_judgements
from reports.studies.raghu2020.pairs.readings import fit, gap, points, similar, trainings
from reports.studies.raghu2020.pairs.rows import PAIR_MEASURES, StoreOf, study_pairs
from reports.studies.raghu2020.pairs.section import pairs_section
from reports.studies.raghu2020.study_table import StudyTable
from tests.captures import ADAPTATION, small_network, some_tasks
from trainers.errors import MetaprobeError

REGIMES = ("multiclass", "nil", "random", "multitask")


def value(number, spread=0.01, seed=0, n=100, null=None):
    replicates = number + spread * np.random.default_rng(seed).normal(size=40)
    return Compared(number, n, "", replicates, null)


def undefined():
    return Compared(None, 7, "dead layer", np.full(40, np.nan))


def study_of(table):
    return StudyTable(entries_of(table.frame()), 2, 3)


def verdicts(table):
    return {j.claim.id: j for j in pair_judgements(study_of(table))}


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    base, tasks, found = tmp_path_factory.mktemp("pairs"), some_tasks(3, n_query=2), []
    for place, (algorithm, seed) in enumerate([(a, s) for a in ("maml", "anil", *REGIMES) for s in (0, 1)]):
        path = base / f"{algorithm}{seed}.h5"
        probe.capture(small_network(seed=place), None, tasks, out=path, adaptation=ADAPTATION)
        found.append(StoreOf(path, algorithm, seed))
    return tuple(found)


@pytest.fixture(scope="module")
def table(captured):
    return study_pairs(captured, replicates=40, permutations=3)


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
    (row,) = pooled_row(Row(measure="m", value=None), units, seeds=3, tasks=30, range=(0, 1))
    values, replicates = np.array([0.5, 0.6, 0.7]), np.stack([u.replicates for u in units])
    expected = over_seeds(values, replicates, tasks=30, seeds=3, within=True, range=(0, 1))
    assert (row.value, row.low, row.high) == (expected.value, expected.low, expected.high)
    (row,) = pooled_row(Row(measure="m", value=None), [undefined()], seeds=2, tasks=30, range=(0, 1))
    assert (row.status, row.reason) == ("undefined", "pair 1: dead layer")


def test_every_number_that_is_put_together_follows_from_the_rows_of_pairs(table):
    study = study_of(table)
    rows = {
        (r.algorithm, r.seed, r.other_algorithm, r.other_seed, r.layer, r.phase): r.value
        for r in table.rows
        if r.measure == "mean_cca" and r.seed is not None and r.layer == r.other_layer
    }
    body = ("conv1", "conv2", "conv3", "conv4")
    assert trainings(study, ("anil", "maml")) == ((0, 1), (1, 0))
    assert trainings(study, ("maml", "maml")) == ((0, 1),)
    across = np.mean([rows["anil", i, "maml", 1 - i, layer, "pre-pre"] for i in (0, 1) for layer in body])
    within = np.mean([rows["maml", 0, "maml", 1, layer, "pre-pre"] for layer in body])
    assert similar(study, "mean_cca", ("anil", "maml"), "body").value == pytest.approx(across)
    assert gap(study, "mean_cca", ("anil", "maml"), ("maml", "maml"), "body").value == pytest.approx(across - within)
    random = np.mean([rows["random", i, "maml", 1 - i, layer, "pre-pre"] for i in (0, 1) for layer in body[:3]])
    assert similar(study, "mean_cca", ("random", "maml"), "first three").value == pytest.approx(random)
    x, y = ([rows["maml", 0, "maml", 1, layer, p] for layer in body] for p in ("pre-pre", "post-post"))
    assert fit(study, "mean_cca", "slope", "post-post").value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert [layer for layer, _, _ in points(study, "mean_cca", "post-post")] == [*body, "head"]


def test_all_layers_stand_against_all_and_every_row_names_its_stores(table):
    maps = [r for r in table.rows if r.measure == "mean_cca" and r.algorithm == "maml" and r.seed is None]
    assert len({(r.layer, r.other_layer) for r in maps} - {("body", "body"), ("first three", "first three")}) == 25
    for row in table.rows:
        assert row.source and all(len(part) == 12 for part in row.source.split("+"))
    assert {r.iteration for r in table.rows if r.algorithm == "random" and r.seed is not None} == {0}


def test_one_seed_compares_what_began_alike_and_decides_nothing(captured):
    table = study_pairs([s for s in captured if s.seed == 0], replicates=40, permutations=0)
    found = verdicts(table)
    assert {k: j.verdict for k, j in found.items()} == {"R6": "not measured", "R10": "not measured", "R13": "undecided"}
    assert "with different seeds, are needed; there is one" in found["R6"].why
    assert "began with the same weights" in found["R13"].why and "Two seeds" in found["R13"].decide
    section = pairs_section(study_of(table), table.frame())
    assert [type(b) for b in section.blocks] == [PageFigure, PageTable, PageFigure, Missing]


def test_stores_that_no_claim_is_about_are_refused(captured):
    with pytest.raises(MetaprobeError, match="at least one training, got none"):
        study_pairs([])
    with pytest.raises(MetaprobeError, match="unknown algorithm among the pairs of a study 'reptile'"):
        study_pairs([dataclasses.replace(captured[0], algorithm="reptile")])
    with pytest.raises(MetaprobeError, match="maml with seed 0 has two stores; give one of each training"):
        study_pairs([captured[0], captured[0]])


def made_up(gaps=0.0, slope=1.0, order=(0.5, 0.4, 0.3, 0.2), half=0.005):
    """Rows of a study with two pairs of seeds: what the rules read, as given."""
    rows = []

    def add(measure, number, learners, part, phase="pre-pre", seeds=(None, None)):
        bounds = {"low": number - half, "high": number + half} if math.isfinite(number) else {}
        who = {"algorithm": learners[0], "other_algorithm": learners[1], "seed": seeds[0], "other_seed": seeds[1]}
        rows.append(Row(measure=measure, value=number, layer=part, other_layer=part, phase=phase, **who, **bounds))

    for measure in PAIR_MEASURES:
        name = measure.name
        for learners in (("maml", "maml"), ("anil", "anil"), ("anil", "maml"), ("multiclass", "maml")):
            for pair in ((0, 1), (0, 2)):
                add(name, 0.5, learners, "conv1", seeds=pair)
            add(name, 0.5, learners, "body")
        for less in ("maml_maml", "anil_anil"):
            add(f"{name}_minus_{less}", gaps, ("anil", "maml"), "body")
        regimes = ("maml", "multiclass", "random", "multitask")
        for regime, number in zip(regimes, order, strict=True):
            add(name, number, (regime, "maml"), "first three")
        for i in range(3):
            less = f"{name}_minus_{regimes[i + 1]}_maml"
            add(less, order[i] - order[i + 1], (regimes[i], "maml"), "first three")
        for phase in ("pre-post", "post-pre", "post-post"):
            for kind, number in (("slope", slope), ("intercept", 0.0), ("r2", 0.99), ("r2_to_identity", 0.98)):
                add(f"{name}_{kind}", number, ("maml", "maml"), "body", phase)
    return Table.of(rows)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("holds", "holds", "holds")),
        ({"gaps": -0.1}, ("does not hold", "holds", "holds")),
        ({"gaps": -0.03}, ("undecided", "holds", "holds")),
        ({"slope": 0.5}, ("holds", "does not hold", "holds")),
        ({"slope": 0.9}, ("holds", "undecided", "holds")),
        ({"order": (0.5, 0.4, 0.2, 0.3)}, ("holds", "holds", "does not hold")),
        ({"order": (0.5, 0.5, 0.3, 0.2)}, ("holds", "holds", "undecided")),
    ],
)
def test_verdicts_follow_their_rules(change, expected):
    found = verdicts(made_up(**change))
    assert tuple(found[claim].verdict for claim in ("R6", "R10", "R13")) == expected
    for judgement in found.values():
        assert bool(judgement.decide) == (judgement.verdict == "undecided")
        assert judgement.ours and judgement.why.endswith(".")


def test_a_study_without_pairs_measures_nothing():
    empty = Table.of([Row(measure="accuracy", value=90.0, algorithm="maml", seed=0, other_algorithm="random")])
    assert {j.verdict for j in verdicts(empty).values()} == {"not measured"}
    section = pairs_section(study_of(empty), empty.frame())
    assert {type(block) for block in section.blocks} == {Missing}


def test_the_section_shows_all_and_draws_the_same_bytes(table):
    study, frame = study_of(table), table.frame()
    one, again = pairs_section(study, frame), pairs_section(study, frame)
    assert [type(b) for b in one.blocks] == [PageFigure, PageTable, PageFigure, PageFigure, PageTable]
    for block, other in zip(one.blocks, again.blocks, strict=True):
        if isinstance(block, PageFigure):
            assert (block.drawing.svg, block.drawing.pdf) == (other.drawing.svg, other.drawing.pdf)
        assert len(block.behind.frame) == len(frame)
    names = {block.name for block in one.blocks}
    for judgement in pair_judgements(study):
        assert set(judgement.claim.evidence) <= names
    assert isinstance(similar(study, "debiased_cka", ("nil", "maml"), "first three"), Estimate)


def test_a_map_needs_comparisons(table):
    with pytest.raises(MetaprobeError, match="nothing to draw: the table holds no svcca of two checkpoints"):
        heatmaps(table, "svcca")
