"""Verdicts follow from whole intervals by stated rules, and their words from the parts."""

from __future__ import annotations

import pytest
from scipy import stats

from metaprobe.analyses.readings import Estimate, Undefined
from metaprobe.reports.claims import Claim, Part, Told, above, below, within
from metaprobe.reports.quantities import Computed, q
from metaprobe.reports.verdicts import all_of, judge
from tests.evidence_rows import accuracy, evidence_of, of_tasks

NOTHING = evidence_of()


def fixed(*interval):
    """Return a quantity that reads (value, low, high), or nothing."""
    return Computed(lambda _: Estimate(*interval, n=400) if interval else None)


def claim(*parts, **fields):
    return Claim(
        "X1", "title", "quantity", "paper", "where", "setting", "rule", parts, "It was not measured.", **fields
    )


CASES = [
    (above(2), (3, 2.5, 4), "holds"), (above(2), (3, 1, 4), "undecided"), (above(2), (1, 0, 1.5), "does not hold"),
    (below(2), (1, 0, 1.5), "holds"), (below(2), (1, 0, 2.5), "undecided"), (below(2), (3, 2.5, 4), "does not hold"),
    (within(-1, 1), (0, -0.5, 0.5), "holds"), (within(-1, 1), (1.5, 1.2, 2), "does not hold"),
    (within(-1, 1), (-3, -4, -2), "does not hold"), (within(-1, 1), (0.9, 0.5, 1.5), "undecided"),
    (within(-1, 1), (0, -2, 2), "undecided"), (above(2), (3, None, None), "undecided"), (above(2), (), "not measured"),
    (above(0, "no loss", "a loss", lenient=True), (-1, -2, 0.5), "holds"),
    (above(0, "no loss", "a loss", lenient=True), (-1, -2, -0.5), "does not hold"),
    (above(0, "no loss", "a loss", lenient=True), (), "not measured"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "interval", "verdict"), CASES)
def test_a_rule_judges_the_whole_interval(rule, interval, verdict):
    assert judge(claim(Part("it", fixed(*interval), rule)), NOTHING).verdict == verdict


def test_one_part_that_fails_decides_and_a_missing_one_leaves_it_open():
    good, bad, none = fixed(3, 2.5, 4), fixed(1, 0, 1.5), fixed()
    for parts, verdict in (((good, good), "holds"), ((good, bad, none), "does not hold"), ((good, none), "undecided")):
        assert judge(claim(*(Part("it", one, above(2)) for one in parts)), NOTHING).verdict == verdict
    assert all_of([]) == all_of(["not measured"]) == "not measured"


def _stretch(freedom):
    law = stats.norm if freedom is None else stats.t(freedom)
    return law.ppf(1 - 0.05 / 7 / 2) / law.ppf(0.975)


@pytest.mark.parametrize(
    ("seeds", "n", "freedom"), [((), 25, 24), (((0, 1.0), (1, 2.0), (2, 3.0)), 600, 2), ((), None, None)]
)
def test_an_interval_that_holds_together_with_others_is_bonferronis(seeds, n, freedom):
    one = Estimate(3.0, 2.0, 5.0, n, seeds)
    stretch = _stretch(freedom)
    found = one.simultaneous(7)
    assert (found.low, found.high) == pytest.approx((3 - stretch, 3 + 2 * stretch), rel=1e-9)
    several = one.simultaneous(7, seeds=3)  # of a difference drawn over all seeds, which names none
    assert several == found or several.low == pytest.approx(3 - _stretch(2))
    assert one.simultaneous(1) == one and Estimate(3.0).simultaneous(7) == Estimate(3.0)


def test_a_claim_of_many_parts_is_refuted_by_simultaneous_intervals_and_holds_by_plain_ones():
    near, far, good = fixed(1, 0.1, 1.9), fixed(0, -0.5, 0.5), fixed(3, 2.1, 4)
    parts = [Part("near", near, above(2)), *(Part(f"good {k}", good, above(2)) for k in range(5))]
    told = judge(claim(*parts), NOTHING)
    assert (told.verdict, told.parts[0].verdict, told.parts[0].alone) == ("undecided", "undecided", True)
    assert "By its own interval near would fail, by one that is simultaneous over all parts not." in told.why
    assert told.decide.startswith("Near: ")
    assert judge(claim(parts[0]), NOTHING).verdict == "does not hold"
    assert judge(claim(Part("far", far, above(2)), *parts[1:]), NOTHING).verdict == "does not hold"
    assert judge(claim(*parts[1:]), NOTHING).verdict == "holds"
    some = [Part("near", fixed(-1, -1.9, -0.1), above(0, "no loss", "a loss", lenient=True)), *parts[1:]]
    found = judge(claim(*some), NOTHING)
    assert (found.verdict, found.parts[0].verdict) == ("undecided", "undecided")  # never "holds"
    missing = [Part(f"none {k}", fixed(), above(2)) for k in range(5)]  # what was not measured could not fail
    assert judge(claim(parts[0], *missing), NOTHING).verdict == "does not hold"


def test_a_claim_about_what_is_not_there_is_not_applicable():
    told = judge(claim(Part("it", fixed(3, 2.5, 4), above(2)), presupposes=lambda _: "Nothing was learned."), NOTHING)
    assert (told.verdict, told.why, told.ours) == ("not applicable", "Nothing was learned.", ("it: 3.0 [2.5,\xa04.0]",))
    assert judge(claim(Part("it", fixed(), above(2)), presupposes=lambda _: "No."), NOTHING).verdict == "not measured"


def test_the_words_follow_from_the_parts():
    parts = [
        Part(
            "conv1", fixed(-0.5, -1, 0), above(-2.1, "under 2.1 points", "over 2.1 points"), control=fixed(0, -0.1, 0.1)
        ),
        Part(
            "conv1–2",
            fixed(-1, -1.5, -0.5),
            above(-2.1, "under 2.1 points", "over 2.1 points"),
            control=fixed(-9, -10, -8),
        ),
        Part("conv1–3", fixed(-2, -3, -1), above(-2.1, "under 2.1 points", "over 2.1 points"), control=fixed()),
        Part("conv1–4", fixed(), above(-2.1, "under 2.1 points", "over 2.1 points")),
    ]
    told = judge(
        claim(
            *parts, unit=" points", signed=True, lead="change:", control="an untrained network",
            beside=(Told("with 30 steps", fixed(1, 0, 2)),), remark=lambda _: "And a remark.",
        ), NOTHING,
    )  # fmt: skip
    assert told.verdict == "undecided"
    assert told.ours[:3] == (
        "change:",
        "with 30 steps: +1.0 points [0.0,\xa0+2.0]",
        "conv1: −0.5 points [−1.0,\xa00.0]",
    )
    assert told.why == (
        "Conv1 and conv1–2: under 2.1 points; conv1–3: undecided; conv1–4: not measured. An untrained network passes "
        "the same test for conv1: there it shows nothing. And a remark."
    )
    assert told.decide.startswith("Conv1–3: The value is so near") is False
    assert "More tasks (about" in told.decide or "hardly any number" in told.decide


def test_a_value_inside_its_null_shows_nothing():
    for null, verdict in (((0.1, 0.0, 0.2), "holds"), ((0.95, 0.9, 0.99), "undecided")):
        part = Part("conv1", fixed(0.95, 0.93, 0.97), above(0.9), clear_of=fixed(*null))
        found = judge(claim(part), NOTHING)
        assert found.verdict == verdict
        assert ("does not stand out" in found.decide) == (verdict == "undecided")
    undefined = Part("conv1", fixed(0.95, 0.93, 0.97), above(0.9), clear_of=Computed(lambda _: Undefined("dead")))
    assert judge(claim(undefined), NOTHING).verdict == "undecided"


def test_an_exact_value_on_the_bound_is_told_as_such():
    found = judge(claim(Part("it", fixed(2.0, 2.0, 2.0), above(2.0))), NOTHING)
    assert (found.verdict, found.decide) == ("undecided", "It: The value is exact and stands on the bound.")


def test_a_guard_takes_the_verdict_away():
    found = judge(claim(Part("it", fixed(3, 2.5, 4), above(2)), guard=lambda _: "One seed alone."), NOTHING)
    assert (found.verdict, found.decide) == ("undecided", "")
    assert found.why.endswith("One seed alone.")


def test_what_was_taken_as_independent_is_told():
    evidence = evidence_of(accuracy(90.0, 1.0), accuracy(80.0, 1.0, learner="anil"))
    gap = q("accuracy", learner="maml") - q("accuracy", learner="anil")
    assert (
        "Taken as independent, for want of a paired difference: gap."
        in judge(claim(Part("gap", gap, above(0))), evidence).why
    )


def test_where_the_seeds_at_hand_would_decide_more_seeds_are_asked_for():
    import numpy as np

    generator = np.random.default_rng(1)
    own = generator.normal(50, 1, size=(3, 400))
    shifts = np.array([[-3.0], [1.0], [-1.0]])
    evidence = evidence_of(*of_tasks(own), *of_tasks(own + shifts, frozen="conv1"))
    cost = q("accuracy", learner="maml", frozen="conv1") - q("accuracy", learner="maml")
    found = judge(claim(Part("conv1", cost, above(-2.1))), evidence)
    assert found.verdict == "undecided"
    assert found.decide == "Conv1: More seeds would decide it: for those at hand the tasks suffice."
