"""Rows become readings, and questions find the rows that answer them, all of those and no others."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from metaprobe.analyses.readings import Estimate, Undefined, pool, quadrature
from metaprobe.analyses.table import Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.quantities import ANY, Computed, q
from metaprobe.trainers.errors import MetaprobeError
from tests.evidence_rows import MADE, accuracy, evidence_of, of_tasks, row

OWN = q("accuracy", learner="maml")
FROZEN = q("accuracy", learner="maml", frozen="conv1")


def test_one_seed_keeps_its_interval_and_several_add_their_spread():
    rows = [row("accuracy", 90.0, 1.0, seed=0, n=600), row("accuracy", 92.0, 1.0, seed=1, n=500)]
    assert pool(rows[:1]) == Estimate(90.0, 89.0, 91.0, 600, ((0, 90.0),))
    both = pool(rows)
    # t with one degree of freedom times sd/√2 = 12.706, and the tasks' own 1.0
    assert both.value - both.low == pytest.approx((12.7062**2 + 1.0) ** 0.5, rel=1e-4)
    assert (both.sd, both.n) == (pytest.approx(2**0.5), 500)
    assert pool(rows, (80.0, 95.0)).ends == (80.0, 95.0)


def test_a_value_that_is_undefined_for_one_seed_is_not_averaged_away():
    rows = [row("svcca", 0.9, seed=0), row("svcca", None, seed=1, status="undefined", reason="layer is dead")]
    assert pool(rows) == Undefined("1 of 2 seeds: layer is dead")


def test_two_rows_of_one_seed_are_an_error():
    rows = [accuracy(90.0, checkpoint=name, frozen="conv1") for name in ("aaa", "bbb")]
    with pytest.raises(MetaprobeError, match=r"learner maml, seed 0, .*frozen conv1.* of checkpoints aaa and bbb"):
        pool(rows)
    with pytest.raises(MetaprobeError, match="checkpoints aaa and aaa"):
        pool([rows[0], dataclasses.replace(rows[0], value=91.0)])
    assert pool([rows[0], dataclasses.replace(rows[0], source="another run")]) == pool(rows[:1])


def test_without_a_paired_row_half_widths_add_in_quadrature_and_the_estimate_says_so():
    assert quadrature(Estimate(10.0, 7.0, 13.0), Estimate(4.0, 0.0, 8.0)) == Estimate(6.0, 1.0, 11.0, unpaired=True)
    assert quadrature(Estimate(1.0), None) is None
    found = (OWN - q("accuracy", learner="anil")).read(
        evidence_of(accuracy(90.0, 3.0), accuracy(80.0, 4.0, learner="anil"))
    )
    assert found == Estimate(10.0, 5.0, 15.0, unpaired=True)


def test_a_question_is_answered_by_what_it_names_and_nothing_else():
    evidence = evidence_of(
        accuracy(1.0), accuracy(2.0, frozen="conv1"), accuracy(3.0, head="nil", phase="pre", inner_steps=0),
        accuracy(4.0, head="own", phase="pre", inner_steps=0), accuracy(5.0, inner_steps=30),
        accuracy(6.0, adapts="all"), accuracy(7.0, iteration=50), accuracy(8.0, learner="anil"),
        accuracy(9.0, group="signs"), accuracy(10.0, task=3), accuracy(11.0, head="maml"),
    )  # fmt: skip
    asked = {
        1.0: OWN, 2.0: FROZEN, 3.0: q("accuracy", learner="maml", head="nil"),
        4.0: q("accuracy", learner="maml", steps=0),
        5.0: q("accuracy", learner="maml", steps=30), 6.0: q("accuracy", learner="maml", adapts="all"),
        7.0: q("accuracy", learner="maml", at=50), 8.0: q("accuracy", learner="anil"),
        9.0: q("accuracy", learner="maml", group="signs"), 11.0: q("accuracy", learner="maml", head="maml"),
    }  # fmt: skip
    assert {value: one.read(evidence).value for value, one in asked.items()} == {value: value for value in asked}
    assert q("accuracy", learner="nobody").read(evidence) is None
    assert evidence.distinct("inner_steps", "accuracy") == (0, 5, 30)
    assert [one.value for one in evidence.rows_of(q("accuracy", learner="maml"), single=True)] == [10.0]


def test_the_last_step_and_the_last_iteration_of_each_seed_are_meant():
    rows = [row("mean_cca", 0.1 * s, learner="maml", layer="conv1", step=s, seed=0, phase="pre-post") for s in (1, 5)]
    rows += [
        accuracy(1.0, seed=0, iteration=10),
        accuracy(3.0, seed=1, iteration=20),
        accuracy(9.0, seed=1, iteration=5),
    ]
    evidence = evidence_of(*rows)
    assert q("mean_cca", learner="maml", layer="conv1").read(evidence).value == 0.5
    assert q("mean_cca", learner="maml", layer="conv1", step=1).read(evidence).value == pytest.approx(0.1)
    assert OWN.read(evidence).value == 2.0


def test_positions_go_before_images():
    kinds = [row("cka", v, learner="maml", layer="conv1", samples=s) for s, v in (("images", 0.1), ("positions", 0.9))]
    assert q("cka", learner="maml", layer="conv1").read(evidence_of(*kinds)).value == 0.9


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_is_paired_from_the_rows_of_single_tasks(seeds):
    generator = np.random.default_rng(0)
    hard = generator.normal(60, 15, size=(1, 200))  # what is hard for one is hard for the other
    left, right = (hard + generator.normal(shift, 1, size=(seeds, 200)) for shift in (0, 2))
    evidence = evidence_of(*of_tasks(left), *of_tasks(right, frozen="conv1"))
    found = (FROZEN - OWN).read(evidence)
    assert found.value == pytest.approx((right - left).mean())
    assert found.ends[1] - found.ends[0] < (0.5 if seeds == 1 else 5)
    assert not found.unpaired
    turned = (OWN - FROZEN).read(evidence)
    assert turned.value == pytest.approx(-found.value)
    assert ((FROZEN - OWN).fixed(evidence) is None) == (seeds == 1)
    made = [one for one in evidence.rows if one.measure == "accuracy_difference"]
    assert {one.minus for one in made} <= {"frozen=none", "frozen=conv1"}


def test_what_is_read_is_noted_and_enough_to_read_it_again():
    evidence = evidence_of(*of_tasks(np.arange(12.0).reshape(2, 6)), *of_tasks(np.ones((2, 6)), frozen="conv1"))
    with evidence.recording() as rows:
        found = [(FROZEN - OWN).read(evidence), OWN.read(evidence), (FROZEN - OWN).fixed(evidence)]
    assert all(one.task is None for one in rows)
    again = Evidence(Table.of(rows), MADE)
    assert [(FROZEN - OWN).read(again), OWN.read(again), (FROZEN - OWN).fixed(again)] == found


def test_quantities_can_be_turned_round_and_computed():
    evidence = evidence_of(accuracy(0.25, 0.05))
    assert (1 - OWN).read(evidence).ends == (pytest.approx(0.7), pytest.approx(0.8))
    assert (-OWN).read(evidence).value == -0.25
    assert Computed(lambda e: OWN.read(e)).read(evidence) == OWN.read(evidence)
    assert q("accuracy", learner="maml", frozen=ANY).read(evidence) == OWN.read(evidence)


def test_the_body_is_what_the_network_has_before_its_last_layer():
    evidence = evidence_of(layers=("stem", "block1", "block2", "fc"))
    assert (evidence.body, evidence.head) == (("stem", "block1", "block2"), "fc")
    assert evidence.blocks == ("stem", "stem,block1", "stem,block1,block2") and evidence.full == evidence.blocks[-1]
    rows = [row("cka", 1.0, learner="maml", layer=name) for name in ("head", "conv10", "conv2")]
    assert evidence_of(*rows, layers=()).layers == ("conv2", "conv10", "head")
