"""What zhou2021 says of a made-up study: its headline by two verdicts, and what no number of tasks would turn."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from metaprobe.analyses.measurements import KINDS
from metaprobe.analyses.table import Table
from metaprobe.analyses.testing import TestPlan
from metaprobe.analyses.testing.accuracy import accuracy_of
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.compose import page_of
from metaprobe.reports.page.files import read_tables, write_report
from metaprobe.reports.papers.zhou2021.claims import BASELINES
from metaprobe.reports.quantities import q
from metaprobe.reports.registry import STUDIES
from metaprobe.reports.verdicts import judge
from metaprobe.trainers.tasks.episodes import EpisodeSampler
from tests import evidence_rows
from tests.conftest import make_imageset
from tests.several_starts import checkpoint_of, two_starts
from tests.tiny_study import without_pdf
from tests.zhou_rows import DOMAINS, MADE, one_domain_rows, study_rows

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


def test_one_domain_that_loses_is_enough():
    rows = changed("accuracy_difference", lambda v: v - 5, learner="m3", minus="learner=m1", group="shapes")
    assert judged(rows)["Z1"].verdict == "does not hold"


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("id", ["Z3", "Z9"])
def test_what_is_on_the_same_tasks_is_paired(seeds, id):
    found = judged(study_rows(seeds))[id]
    assert found.parts and not [part.part.name for part in found.parts if part.reading.unpaired]
    assert "independent" not in found.why
    lacking = judged(study_rows(seeds, single=False))[id]
    assert all(part.reading.unpaired for part in lacking.parts)
    for one, other in zip(found.parts, lacking.parts, strict=True):
        assert one.reading.value == pytest.approx(other.reading.value, abs=1e-9)
        assert one.reading.n == 40


def test_the_loss_rises_or_not_from_step_4_to_the_last():
    assert "steps 4–20: rises" in judged(study_rows())["Z3"].why
    falling = changed("query_loss", lambda v: v - 0.5, learner="m3", step=20)
    found = judged(falling)["Z3"]
    assert (found.verdict, found.parts[3].verdict) == ("does not hold", "does not hold")
    assert "TSA-MAML, steps 4–20: does not rise" in found.why
    last = judged(row for row in study_rows() if row.measure != "query_loss" or row.step <= 4)["Z3"]
    assert [part.verdict for part in last.parts[1::2]] == ["not measured"] * 2


def test_clusters_under_a_symmetric_head_are_told_apart_and_judged_by_no_claim():
    evidence = Evidence(Table.of(study_rows()), MADE)
    told = ZHOU2021.answer(evidence, judged(study_rows())).sentences
    (twice,) = [one.replace("\N{NO-BREAK SPACE}", " ") for one in told if "trained on for as long:" in one]
    assert "paper's clusters it gains, +3.0 points [+2.6, +3.4] (clusters agree with the domains to 0.93" in twice
    assert "symmetric head's it gains, +3.5 points [+3.1, +3.9]" in twice
    level = changed("accuracy_difference", lambda v: v - 3.0, learner="m3", minus="learner=m1")
    told = " ".join(ZHOU2021.answer(Evidence(Table.of(level), MADE), judged(study_rows())).sentences)
    assert "paper's clusters it neither gains nor loses clearly, 0.0" in told
    without = [row for row in study_rows() if row.learner != "m3-symmetric"]
    verdicts = {id: one.verdict for id, one in judged(study_rows()).items()}
    assert {id: one.verdict for id, one in judged(without).items()} == verdicts
    sections = {one.name for one in ZHOU2021.sections(evidence, lambda _: "")}
    fewer = {one.name for one in ZHOU2021.sections(Evidence(Table.of(without), MADE), lambda _: "")}
    assert sections - fewer == {"symmetric-section"}


def test_on_one_domain_the_claims_of_one_are_judged_and_those_of_several_not():
    found = judged(one_domain_rows())
    assert {id: found[id].verdict for id in ("Z5", "Z6")} == {"Z5": "holds", "Z6": "holds"}
    assert [part.reading.value for part in found["Z5"].parts] == [1.5, 1.5]
    assert [part.reading.value for part in found["Z6"].parts] == [3.0, 4.0]
    for id in ("Z1", "Z2", "Z4"):
        assert found[id].verdict == "not measured" and "These data are of one domain" in found[id].why
    assert judged(one_domain_rows(-1.5))["Z5"].verdict == "does not hold"
    evidence = Evidence(Table.of(one_domain_rows()), MADE)
    answer = ZHOU2021.answer(evidence, found)
    assert answer.headline == "An initialisation for each cluster helps, on one domain"
    assert "over all domains" not in answer.sentences[0]
    names = [one.name for one in page_of(ZHOU2021, evidence).sections]
    assert not {"agreement-section", "embedding-section"} & set(names) and "symmetric-section" in names


def test_neither_claim_of_one_domain_is_judged_by_another_norm():
    only = [row for row in one_domain_rows() if row.view != "one-query"]
    assert [judged(only)[id].verdict for id in ("Z5", "Z6")] == ["not measured", "holds"]
    other = replace(MADE, configs=(("maml-seed0", "norm", "non-transductive"),))
    found = judged(one_domain_rows(), other)
    assert [found[id].verdict for id in ("Z5", "Z6")] == ["holds", "not measured"]
    assert "all queries of its task" in found["Z6"].why


@pytest.mark.parametrize(("task", "printed"), [((5, 1), (1.09, 0.75)), ((10, 5), (2.81, 2.48)), ((20, 1), ())])
def test_the_papers_gains_stand_beside_those_of_the_same_tasks(task, printed):
    found = judged(one_domain_rows(), replace(MADE, n_way=task[0], n_shot=task[1]))
    assert [part.part.printed for id in ("Z5", "Z6") for part in found[id].parts if part.part.name == "MAML"] == [
        pytest.approx((one,)) for one in printed
    ] or not printed


def test_the_bound_says_nothing_where_the_rate_is_too_large_for_the_theorem():
    told = judged(study_rows(), replace(MADE, inner_lr=0.5))["Z10"]
    assert (told.verdict, told.decide) == ("undecided", "")
    assert "the bound says nothing of these learners" in told.why


def test_a_larger_network_is_told_with_its_size():
    assert "3.5 times the parameters" in judged(study_rows())["Z8"].why


def test_an_accuracy_by_another_norm_has_rows_of_its_own():
    toy, plan = make_imageset(n_classes=12, per_class=18, size=8), TestPlan(tasks=4, n_query=3, seed=2, per_task=True)
    checkpoint, totals = checkpoint_of(two_starts(EpisodeSampler(toy, "test", 3, 2, 3, 2), 2)), []

    def counted(total):
        totals.append(total)
        return lambda tasks: None

    on = SimpleNamespace(checkpoint=checkpoint, data=toy, plan=plan, tasks=4, counted=counted)
    usual, alone = (KINDS["accuracy"].function(on, **asked).rows for asked in ({}, {"norm": "one-query"}))
    expected = accuracy_of(checkpoint, toy, replace(plan, norm="one-query")).rows
    assert [replace(row, view=None) for row in alone] == list(expected) and {row.view for row in alone} == {"one-query"}
    assert {row.view for row in usual} == {None} and totals == [4, 4]
    losses = [[row.value for row in rows if row.measure == "loss"] for rows in (usual, alone)]
    assert losses[0] != losses[1]
    rows = [replace(row, learner="m3") for row in (*usual, *alone)]
    evidence = Evidence(Table.of(rows), replace(MADE, trained_steps=checkpoint.adaptation.steps))
    for found, view in ((usual, ""), (alone, "one-query")):  # neither question is answered by the other's rows
        assert q("accuracy", learner="m3", view=view).read(evidence).value == found[0].value


def test_where_maml_is_not_above_chance_no_claim_on_what_it_learned_is_judged():
    rows = [replace(row, value=21.0, low=19.0, high=23.0) if row.measure == "accuracy" else row for row in study_rows()]
    found = judged(rows)
    assert {id for id, one in found.items() if one.verdict == "not applicable"} == {
        "Z1",
        "Z2",
        "Z3",
        "Z4",
        "Z7",
        "Z8",
        "Z9",
    }
    assert "is not shown to have learned what could be reused: its gain over chance is +1.0 points" in found["Z1"].why
    assert found["Z1"].ours
    assert headline(rows) == "Nothing is shown to have been learned that initialisations could improve"


def test_baselines_are_trained_as_long_as_all_that_is_compared_and_stand_as_they_are_tested():
    options = ZHOU2021.preset("paper")
    trained = {one.key: one for one in ZHOU2021.learners(options) if one.key in BASELINES and not one.extra}
    assert set(trained) == set(BASELINES)
    assert {one.settings["iterations"] for one in trained.values()} == {options.iterations + options.more_iterations}
    without = ZHOU2021.learners(replace(options, baselines=False))
    assert {one.key for one in without if one.extra} == set(BASELINES)  # a report of one's own runs may have them
    plain = next(row for row in study_rows() if row.measure == "accuracy" and row.learner == "base" and not row.group)
    rows = [
        replace(plain, learner="imaml", algorithm="imaml", inner_steps=16, value=61.0, low=60.0, high=62.0),
        replace(
            plain, learner="matching", head="matching", phase="pre", inner_steps=0, value=63.0, low=62.0, high=64.0
        ),
        replace(plain, learner="matching", value=13.0, low=12.0, high=14.0),
    ]
    page = page_of(ZHOU2021, Evidence(Table.of([*study_rows(), *rows]), MADE))
    tables = [block for section in page.sections for block in section.details if block.name == "accuracy"]
    told = {row[0].text: row[1].text for row in tables[0].rows}
    assert (told["iMAML"], told["matching networks"]) == ("61.0", "63.0")
    told = "iMAML takes 16 inner steps, the Meta-LSTM 12 at one shot and 8 at more, matching networks none."
    assert told in tables[0].notes


@pytest.mark.parametrize("learners", [("m1", "imaml"), ("m1", "imaml", "fomaml", "hsml")])
def test_a_frozen_body_is_told_of_each_baseline_with_its_own_number_of_steps(learners, tmp_path, monkeypatch):
    without_pdf(monkeypatch)
    body, trained, rows = "conv1,conv2,conv3,conv4", next(study_rows()).iteration, []
    for number, who in enumerate(learners):
        own = {"learner": who, "view": "reuse", "inner_steps": 16 if who == "imaml" else 5, "frozen": body}
        own |= {"seed": 0, "head": "own", "iteration": trained}  # as the study's other rows of it
        rows += [
            evidence_rows.accuracy(60.0 - number, 1.0, **own | {"frozen": ""}),
            evidence_rows.accuracy(50.0 - 3 * number, 1.0, **own),
            evidence_rows.row("accuracy_difference", -10.0 - 2 * number, 0.5, minus="frozen=none", **own),
            evidence_rows.row("reuse_index", 0.5, 0.1, **own),
        ]
    evidence = Evidence(Table.of((*study_rows(), *rows)), MADE)
    page = page_of(ZHOU2021, evidence)
    told = next(one for one in page.answer if one.startswith("Freezing conv1–4")).replace("\xa0", " ")
    few = "MAML, continued −10.0 points [−10.5, −9.5] and iMAML −12.0 points [−12.5, −11.5]."
    many = "of 4 learners, HSML −16.0 points [−16.5, −15.5] to MAML, continued −10.0 points [−10.5, −9.5]."
    assert told.endswith(few if len(learners) == 2 else many)
    (section,) = (one for one in page.sections if one.name == "reuse")
    table = section.blocks[-1]
    assert len(table.rows) == len(learners)
    assert [cell.text for cell in table.rows[1][1:]] == ["−12.0", "0.50"]
    again = page_of(ZHOU2021, read_tables(write_report(page, tmp_path).parent / "tables"))
    assert [one.name for one in again.sections] == [one.name for one in page.sections] and again.answer == page.answer
    assert "reuse" not in [one.name for one in page_of(ZHOU2021, Evidence(Table.of(study_rows()), MADE)).sections]
