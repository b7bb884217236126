"""What zhou2021 says of a made-up study: its headline by two verdicts, and what no number of tasks would turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyses.table import Table
from reports.evidence import Evidence
from reports.registry import STUDIES
from reports.verdicts import judge
from tests.zhou_rows import DOMAINS, MADE, study_rows

ZHOU2021 = STUDIES["zhou2021"]


def judged(rows, made=MADE):
    evidence = Evidence(Table.of(rows), made)
    return {claim.id: judge(claim, evidence) for claim in ZHOU2021.claims(evidence)}


def headline(rows):
    evidence = Evidence(Table.of(rows), MADE)
    return ZHOU2021.answer(evidence, judged(rows)).headline


def changed(measure, change, **where):
    """Return the rows of the study; where columns say so, value and interval of a measure are changed."""
    for row in study_rows():
        if row.measure == measure and all(getattr(row, name) == said for name, said in where.items()):
            value, low, high = (None if one is None else change(one) for one in (row.value, row.low, row.high))
            row = replace(row, value=value, low=low, high=high)
        yield row


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_what_was_planted_holds(seeds):
    found = {id: one.verdict for id, one in judged(study_rows(seeds)).items()}
    assert found == {f"Z{n}": "not measured" if n in (5, 6) else "holds" for n in range(1, 11)}


def shared():
    """Yield the rows with two domains on one initialisation."""
    for row in study_rows():
        apart = row.measure.startswith("usage_") and row.group in DOMAINS[1:]
        yield replace(row, cluster=(row.cluster - DOMAINS.index(row.group)) % 3) if apart else row


def test_two_domains_on_one_initialisation_fail_however_clear():
    assert judged(shared())["Z4"].verdict == "does not hold"
    assert "are not the domains" in headline(tuple(shared()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v, "An initialisation for each cluster helps, and the clusters are the domains"),
        (lambda v: v - 9, "An initialisation for each cluster does not help; the clusters are the domains"),
        (
            lambda v: v - 2.8,
            "Whether an initialisation for each cluster helps is undecided; the clusters are the domains",
        ),
    ],
)
def test_the_headline_follows_the_two_verdicts(change, told):
    assert headline(tuple(changed("accuracy_difference", change, learner="m3", minus="learner=m1"))) == told


def test_one_domain_that_loses_is_enough_and_where_the_loss_is_lowest_is_found():
    rows = changed("accuracy_difference", lambda v: v - 5, learner="m3", minus="learner=m1", group="shapes")
    assert judged(rows)["Z1"].verdict == "does not hold"
    flat = changed("query_loss", lambda v: 1.0, learner="m3")
    assert judged(flat)["Z3"].verdict == "does not hold"
    assert "steps 5–20" in judged(study_rows())["Z3"].why


def test_the_bound_says_nothing_where_the_rate_is_too_large_for_the_theorem():
    told = judged(study_rows(), replace(MADE, inner_lr=0.5))["Z10"]
    assert (told.verdict, told.decide) == ("undecided", "")
    assert "the bound says nothing of these learners" in told.why


def test_a_larger_network_is_told_with_its_size():
    assert "3.5 times the parameters" in judged(study_rows())["Z8"].why
