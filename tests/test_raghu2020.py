"""What raghu2020 says of a made-up study: verdicts, its answer by the rules, remarks, and the map of what moved."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from metaprobe.analyses.table import Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.papers.raghu2020 import paper
from metaprobe.reports.papers.raghu2020.answer import classify
from metaprobe.reports.papers.raghu2020.study import RAGHU2020
from metaprobe.reports.probing import questions
from metaprobe.reports.verdicts import judge
from tests.evidence_rows import row
from tests.planting import blocks_of, read
from tests.raghu_rows import BODY, LAYERS, MADE, full_rows, study_rows


def evidence_of(rows):
    return Evidence(Table.of(rows), MADE)


def judged(rows):
    evidence = evidence_of(rows)
    return {claim.id: judge(claim, evidence) for claim in RAGHU2020.claims(evidence)}


def answered(rows):
    evidence = evidence_of(rows)
    return RAGHU2020.answer(evidence, {claim.id: judge(claim, evidence) for claim in RAGHU2020.claims(evidence)})


def changed(rows, value, half, **where):
    """Return the rows, some with another value and interval; a column may be given several values."""
    wanted = {name: said if isinstance(said, tuple) else (said,) for name, said in where.items()}
    rows = tuple(rows)
    found = [all(getattr(one, name) in said for name, said in wanted.items()) for one in rows]
    assert any(found)
    new = {"value": value, "low": value - half, "high": value + half}
    return tuple(replace(one, **new) if hit else one for one, hit in zip(rows, found, strict=True))


def kept(rows):
    """Return the rows with a body whose representations stay as they were."""
    return changed(rows, 0.97, 0.01, measure=("mean_cca", "debiased_cka"), learner="maml", layer=BODY)


COST = {"measure": "accuracy_difference", "frozen": ",".join(BODY)}


def test_bounds_are_the_papers_own_figures():
    costs = [none[0] - other[0] for none, *blocks in paper.TABLE_1.values() for other in blocks]
    gaps = [maml[0] - anil[0] for maml, anil in paper.TABLE_2.values()]
    heads = [abs(own[0] - nil[0]) for pairs in paper.TABLE_7.values() for own, nil in pairs if own]
    assert (max(costs), max(gaps), max(heads)) == pytest.approx((paper.COST, paper.GAP, paper.GAP))
    assert sorted(paper.REGIMES, key=lambda regime: -paper.TABLE_7[regime][0][1][0]) == list(paper.REGIMES)


def test_the_papers_ratios_are_those_of_its_mean_seconds():
    means = {
        ("training", "maml"): (0.15, 0.68), ("training", "fomaml"): (0.089, 0.40), ("training", "anil"): (0.084, 0.37),
        ("inference", "maml"): (0.083, 0.37), ("inference", "anil"): (0.020, 0.076),
    }  # fmt: skip
    for (what, who), printed in paper.SPEEDUPS.items():
        for ratio, maml, own in zip(printed, means[what, "maml"], means[what, who], strict=True):
            assert maml / own == pytest.approx(ratio, rel=0.01)
        assert all(low <= mean for low, mean in zip(paper.SECONDS[what, who], means[what, who], strict=True))


def test_the_inference_of_first_order_maml_is_a_control_and_not_judged():
    def rows(slow):
        for view in paper.VIEWS:
            for what, who in (*paper.SPEEDUPS, ("inference", "fomaml")):
                ratio = 0.5 if (what, who, view) == slow else 2.0
                yield row(f"{what}_speedup", ratio, 0.2, learner=who, seed=0, view=view, n=24)

    found = judged(rows(("inference", "fomaml", "paper")))["R11"]
    assert (found.verdict, judged(rows(("training", "anil", "ordinary")))["R11"].verdict) == ("holds", "does not hold")
    assert "training of FOMAML above the paper's 1.69" in found.why
    assert "inference of ANIL below the paper's 4.15" in found.why


def test_verdicts_rest_on_tests_with_the_papers_number_of_steps_and_times_on_the_trained_one():
    times = [
        row(f"{what}_speedup", 2.0, 0.2, learner=who, seed=0, view=view, n=24, inner_steps=5)
        for view in paper.VIEWS
        for what, who in paper.SPEEDUPS
    ]
    evidence = Evidence(Table.of((*study_rows(), *times)), replace(MADE, test_steps=10))
    found = {claim.id: judge(claim, evidence) for claim in RAGHU2020.claims(evidence)}
    assert [round(one.reading.value, 1) for one in found["R1"].parts] == [-0.1, -0.2, -0.6, -24.0]
    assert found["R1"].ours[:2] == (
        "change with 10 steps at test:",
        "conv1–4 with 5 steps: −44.0 points [−45.0,\xa0−43.0]",
    )
    assert found["R11"].verdict == "holds"


def test_the_made_up_study_gets_the_verdicts_its_numbers_deserve():
    told = dict.fromkeys(("R4", "R5", "R9"), "holds") | dict.fromkeys(("R1", "R2", "R3", "R7", "R12"), "does not hold")
    told |= {"R8": "undecided"}  # of the other regimes there is the untrained network alone
    assert {id: one.verdict for id, one in judged(study_rows()).items() if one.verdict != "not measured"} == told
    found = judged(full_rows())
    assert {found[id].verdict for id in ("R7", "R8", "R12")} == {"holds"}
    assert "NIL training 75.0 > random features 60.0 > multitask 50.0" in found["R8"].why


@pytest.mark.parametrize(
    ("gaps", "half", "verdict"),
    [
        ([1.0, -1.0], 1.0, "holds"),
        ([7.0, -7.0], 1.0, "does not hold"),  # gaps of opposite sign do not cancel
        ([5.5, -5.5], 6.0, "undecided"),  # |gap| is over 5, as it may be by noise alone
        ([4.0, 4.0], 2.0, "undecided"),
    ],
)
def test_curves_are_judged_by_what_their_gap_can_be(gaps, half, verdict):
    told = [(at, {"maml": 50.0, "anil": 50.0 + gap}) for at, gap in enumerate(gaps, 1)]
    rows = [
        row("val_accuracy", value, half / 2**0.5, learner=who, seed=0, iteration=at)
        for at, b in told
        for who, value in b.items()
    ]
    assert judged(rows)["R5"].verdict == verdict


@pytest.mark.parametrize("seeds", [1, 3])
def test_layers_and_the_head_are_compared_on_the_same_tasks(seeds):
    rng = np.random.default_rng(1)
    hard = rng.gamma(2.0, 1.0, size=(seeds, 30))  # what all layers share: plain intervals overlap
    found = {layer: hard + (0.2 if layer == "head" else 0.01 * place) for place, layer in enumerate(LAYERS)}
    what = {"learner": "maml", "iteration": 6000, "phase": "pre-post", "step": 5, "inner_steps": 5}
    rows = []
    for (layer, every), seed in itertools.product(found.items(), range(seeds)):
        mine = what | {"layer": layer, "seed": seed, "checkpoint": f"m{seed}"}
        rows.append(row("euclidean_distance", every[seed].mean(), 0.5, n=30, **mine))
        rows += [row("euclidean_distance", value, task=task, n=1, **mine) for task, value in enumerate(every[seed])]
    told = judged(rows)["R9"]
    assert told.verdict == "holds" and "independent" not in told.why
    for place, one in enumerate(told.parts):
        assert one.reading.value == pytest.approx(0.01 * place - 0.2) and one.reading.n == 30
        assert one.reading.high < -0.1
    assert judged(one for one in rows if one.task is None)["R9"].verdict == "undecided"


@pytest.mark.parametrize("single", [True, False])
def test_gaps_of_curves_are_paired_where_runs_noted_their_tasks_down(single):
    rows = []
    for who, shift in (("maml", 0.0), ("anil", 1.0)):
        each = np.linspace(20.0, 80.0, 30) + shift
        for measure, values in (("val_accuracy", each), ("val_loss", each / 50)):
            mine = {"learner": who, "seed": 0, "iteration": 100}
            rows.append(row(measure, values.mean(), 6.0, n=30, **mine))
            rows += [row(measure, v, task=task, n=1, **mine) for task, v in enumerate(values) if single]
    told = judged(rows)["R5"]
    assert told.verdict == ("holds" if single else "undecided") and ("independent" in told.why) != single
    assert "loss, told and not judged: 0.02 nats" in told.ours[0]
    assert ("[0.02,\xa00.02]" in told.ours[0]) == single  # else as wide as both of the learners'


def test_networks_that_began_alike_decide_nothing_of_r13():
    pairs = [{"learner": one, "other_learner": "maml", "seed": 0, "other_seed": 0} for one in ("multiclass", "random")]
    rows = [row("mean_cca", 0.5, 0.01, layer="conv1", **pair) for pair in pairs]
    between = {"layer": "first three", "other_layer": "first three", "phase": "pre-pre", "other_learner": "maml"}
    for one, other in (("maml", "multiclass"), ("multiclass", "random"), ("random", "multitask")):
        what = between | {"learner": one, "minus": f"learner={other}"}
        rows += [row(f"{measure}_difference", 0.2, 0.01, **what) for measure in questions.JUDGED]
    found = judged(rows)["R13"]
    assert (found.verdict, found.decide) == ("undecided", "")
    assert "One seed each" in found.why
    assert judged(rows[2:])["R13"].verdict == "holds"


@pytest.mark.parametrize(
    ("freezing", "similarity", "learned", "part_reused", "kind"),
    [
        ("holds", "holds", "holds", False, "The body is reused"),
        ("holds", "holds", "not measured", True, "Undecided"),
        ("holds", "holds", "undecided", True, "Nothing is shown to have been learned that could be reused"),
        ("holds", "holds", "does not hold", True, "Nothing is shown to have been learned that could be reused"),
        (
            "does not hold",
            "does not hold",
            "undecided",
            False,
            "Nothing is shown to have been learned that could be reused",
        ),
        ("does not hold", "does not hold", "holds", False, "The body is relearned"),
        ("does not hold", "does not hold", "not measured", False, "Undecided"),
        ("does not hold", "does not hold", "holds", True, "Mixed"),
        ("does not hold", "holds", "holds", False, "Mixed"),
        ("does not hold", "holds", "not measured", True, "Undecided"),
        ("holds", "does not hold", "holds", False, "Mixed"),
        ("holds", "undecided", "holds", True, "Undecided"),
        ("undecided", "does not hold", "holds", False, "Undecided"),
        ("not measured", "holds", "holds", False, "Undecided"),
        ("not measured", "does not hold", "not measured", False, "Undecided"),
        ("undecided", "not measured", "holds", False, "Undecided"),
    ],
)
def test_the_answer_follows_its_rules(freezing, similarity, learned, part_reused, kind):
    assert classify(freezing, similarity, learned, part_reused).partition(":")[0] == kind


def test_a_short_block_that_freezes_freely_in_an_untrained_network_too_is_no_evidence_of_reuse():
    assert answered(study_rows()).headline == "The body is relearned"
    told = answered(changed(study_rows(), -9.0, 0.5, measure="accuracy_difference", learner="random", frozen="conv1"))
    assert told.headline.startswith("Mixed")
    assert any("freezing conv1 costs the untrained network more" in sentence for sentence in told.sentences)


def test_a_body_kept_without_loss_is_reused_only_where_it_beats_an_untrained_one():
    rows = changed(kept(study_rows()), -0.5, 0.3, learner="maml", **COST)
    rows = changed(rows, 93.0, 0.5, measure="accuracy", learner="maml", frozen=COST["frozen"])
    assert answered(rows).headline == "The body is reused"
    for level, why in ((91.0, "gained no more than 2.1 points"), (89.5, "is not shown")):
        rows = changed(rows, level, 0.5, measure="accuracy", learner="random", head="nil")
        told = answered(rows)
        assert told.headline == "Nothing is shown to have been learned that could be reused"
        assert any("None of this counts here" in sentence and why in sentence for sentence in told.sentences)
        found = judged(rows)
        assert {id for id, one in found.items() if one.verdict == "not applicable"} >= {"R1", "R2", "R9"}
        assert "not shown to have learned" in found["R1"].why and found["R1"].ours


def test_the_answer_names_steps_blocks_contradictions_and_the_untrained_network():
    blocks = ("conv1,conv2", "conv1,conv2,conv3")
    rows = changed(study_rows(), -2.0, 0.5, measure="accuracy_difference", learner="maml", frozen=blocks)
    told = answered(kept(rows))
    text = " ".join(told.sentences)
    assert told.headline.startswith("Mixed")
    for words in (
        "5-way 1-shot accuracy by −44.0 points",
        "at 5 inner steps (trained with 5)",
        "with 30 steps at test by −6.0 points",
        "Freezing conv1 stays within 2.1 points; freezing conv1–4 costs over 2.1",
        "freezing conv1–2 and conv1–3 is undecided",
        "in an untrained network, freezing conv1, conv1–2 and conv1–3 costs as little",
        "evidence disagree",
    ):
        assert words in text
    alone = " ".join(answered(study_rows(learners=("maml", "anil"))).sentences)
    assert "no untrained network was tested" in alone


@pytest.mark.parametrize(("other", "name"), [("fomaml", "FOMAML"), ("anil", "ANIL")])
def test_a_study_without_maml_says_why_nothing_was_judged(other, name):
    rows = tuple(replace(one, learner=other) for one in study_rows(learners=("maml",)))
    told = answered(rows)
    assert told.headline.startswith("Not judged") and f"this study holds {name}" in told.sentences[0]
    assert {one.verdict for id, one in judged(rows).items() if id not in ("R7", "R12")} == {"not measured"}


def test_what_is_of_learners_that_adapt_is_the_same_with_other_regimes_beside_them():
    regimes = {"regimes-figure", "regimes-table", "learned", "freezing"}  # the last: the untrained NIL head
    with_them, alone = (evidence_of(tuple(rows)) for rows in (full_rows(), study_rows()))
    rows = [{block.name: read(block, one) for block in blocks_of(RAGHU2020, one)} for one in (with_them, alone)]
    assert {name for name in rows[1] if rows[0][name] != rows[1][name]} <= regimes
