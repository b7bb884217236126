"""Verdicts follow from intervals by the printed rules, and the answer from the verdicts."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from reports.entries import entries_of
from reports.evidence import Estimate, Undefined
from reports.studies.raghu2020.answer import answer, classify
from reports.studies.raghu2020.claims import (
    ACCURACY_MARGIN,
    ANIL_MARGIN,
    CLAIMS,
    PAPER_ACCURACY,
    PAPER_FREEZING,
    all_of,
    judge_above,
    judge_below,
)
from reports.studies.raghu2020.judgements import judgements
from reports.studies.raghu2020.study_table import FULL, StudyTable
from tests.report_frames import row, study_frame


def study(frame: pd.DataFrame) -> StudyTable:
    return StudyTable(entries_of(frame), trained_steps=5, n_way=5)


def verdicts(frame: pd.DataFrame) -> dict[str, str]:
    return {judged.claim.id: judged.verdict for judged in judgements(study(frame))}


def changed(frame: pd.DataFrame, value: float, half: float, **where: object) -> pd.DataFrame:
    """Return the frame with the value and interval of some rows replaced."""
    keep = pd.Series(True, index=frame.index)
    for column, wanted in where.items():
        keep &= frame[column] == wanted
    assert keep.any()
    frame = frame.copy()
    frame.loc[keep, ["value", "low", "high"]] = [value, value - half, value + half]
    return frame


@pytest.mark.parametrize(
    ("reading", "above", "below"),
    [
        (None, "not measured", "not measured"),
        (Undefined("dead layer"), "undecided", "undecided"),
        (Estimate(1.0), "undecided", "undecided"),
        (Estimate(1.0, 0.95, 1.1), "holds", "does not hold"),
        (Estimate(0.8, 0.7, 0.85), "does not hold", "holds"),
        (Estimate(0.95, 0.85, 1.0), "undecided", "undecided"),
        (Estimate(0.9, 0.9, 0.9), "undecided", "undecided"),
    ],
)
def test_a_threshold_is_judged_by_the_whole_interval(reading, above, below) -> None:
    assert judge_above(reading, 0.9) == above
    assert judge_below(reading, 0.9) == below


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        (["holds", "holds"], "holds"),
        (["holds", "undecided"], "undecided"),
        (["holds", "not measured"], "undecided"),
        (["holds", "not measured", "does not hold"], "does not hold"),
        (["not measured", "not measured"], "not measured"),
        ([], "not measured"),
    ],
)
def test_a_claim_of_parts_holds_only_in_all_of_them(parts, whole) -> None:
    assert all_of(parts) == whole


def test_the_margins_are_the_papers_largest_gaps() -> None:
    costs = [first.value - other.value for first, *rest in PAPER_FREEZING.values() for other in rest]
    assert max(costs) == pytest.approx(ACCURACY_MARGIN)
    assert max(maml.value - anil.value for _, maml, anil in PAPER_ACCURACY) == pytest.approx(ANIL_MARGIN)
    assert list(CLAIMS) == ["R1", "R2", "R3", "R4", "R5", "R7", "R8", "R9", "R12"]


def test_the_made_up_study_gets_the_verdicts_its_numbers_deserve() -> None:
    assert verdicts(study_frame()) == {
        "R1": "does not hold",
        "R2": "does not hold",
        "R3": "does not hold",
        "R4": "holds",
        "R5": "holds",
        "R9": "holds",
    } | dict.fromkeys(("R6", "R7", "R8", "R10", "R11", "R12", "R13"), "not measured")


@pytest.mark.parametrize(("cost", "half", "verdict"), [(-0.5, 0.3, "holds"), (-2.0, 0.3, "undecided")])
def test_freezing_is_judged_against_the_margin(cost: float, half: float, verdict: str) -> None:
    frame = changed(study_frame(), cost, half, measure="accuracy_difference", algorithm="maml", frozen=FULL)
    assert verdicts(frame)["R1"] == verdict


def test_similarity_inside_its_null_is_no_evidence_of_reuse() -> None:
    frame = study_frame()
    for measure in ("mean_cca", "debiased_cka"):
        for layer in ("conv1", "conv2", "conv3", "conv4"):
            frame = changed(frame, 0.97, 0.01, measure=measure, algorithm="maml", layer=layer)
    assert verdicts(frame)["R2"] == "holds"
    frame = changed(frame, 0.99, 0.01, measure="mean_cca_null", algorithm="maml", layer="conv2")
    assert verdicts(frame)["R2"] == "undecided"


@pytest.mark.parametrize(
    ("freezing", "similarity", "learned", "part_reused", "kind"),
    [
        ("holds", "holds", "holds", False, "reused"),
        ("holds", "holds", "not measured", True, "undecided"),
        ("holds", "holds", "undecided", True, "undecided"),
        ("holds", "holds", "does not hold", True, "undecided"),
        ("does not hold", "does not hold", "holds", False, "relearned"),
        ("does not hold", "does not hold", "not measured", False, "relearned"),
        ("does not hold", "does not hold", "not measured", True, "mixed"),
        ("does not hold", "holds", "holds", False, "mixed"),
        ("does not hold", "holds", "not measured", True, "undecided"),
        ("holds", "does not hold", "holds", False, "mixed"),
        ("holds", "does not hold", "undecided", False, "undecided"),
        ("holds", "undecided", "holds", True, "mostly reused"),
        ("not measured", "holds", "not measured", False, "undecided"),
        ("not measured", "does not hold", "not measured", False, "mostly relearned"),
        ("undecided", "not measured", "holds", False, "undecided"),
    ],
)
def test_the_answer_follows_its_rules(freezing, similarity, learned, part_reused, kind) -> None:
    assert classify(freezing, similarity, learned=learned, part_reused=part_reused) == kind


def test_a_short_block_that_freezes_freely_in_an_untrained_network_too_is_no_evidence_of_reuse() -> None:
    told = answer(study(study_frame()), "glyphs", "5-way 1-shot")
    assert told.kind == "relearned"
    costly = changed(study_frame(), -9.0, 0.5, measure="accuracy_difference", algorithm="random", frozen="conv1")
    told = answer(study(costly), "glyphs", "5-way 1-shot")
    assert told.kind == "mixed"
    assert any("freezing conv1 costs the untrained network more" in sentence for sentence in told.sentences)


def test_a_body_kept_without_loss_is_reused_only_where_it_beats_an_untrained_one() -> None:
    frame = study_frame()
    for layer in ("conv1", "conv2", "conv3", "conv4"):
        for measure in ("mean_cca", "debiased_cka"):
            frame = changed(frame, 0.97, 0.01, measure=measure, algorithm="maml", layer=layer)
    frame = changed(frame, -0.5, 0.3, measure="accuracy_difference", algorithm="maml", frozen=FULL)
    frame = changed(frame, 93.0, 0.5, measure="accuracy", algorithm="maml", frozen=FULL, head="own")
    assert answer(study(frame), "glyphs", "5-way 1-shot").kind == "reused"
    as_good = changed(frame, 92.0, 0.5, measure="accuracy", algorithm="random", frozen=FULL)
    told = answer(study(as_good), "glyphs", "5-way 1-shot")
    assert told.kind == "undecided"
    assert any("does not count here" in sentence for sentence in told.sentences)


def test_blocks_that_are_undecided_are_named_as_such_and_not_as_needed() -> None:
    frame = study_frame()
    for block in ("conv1,conv2", "conv1,conv2,conv3"):
        frame = changed(frame, -2.0, 0.5, measure="accuracy_difference", algorithm="maml", frozen=block)
    text = " ".join(answer(study(frame), "glyphs", "5-way 1-shot").sentences)
    assert "Freezing conv1 stays within 2.1 points; freezing conv1–4 costs more than 2.1;" in text
    assert "freezing conv1–2 and conv1–3 is undecided" in text


@pytest.mark.parametrize(("other", "name"), [("fomaml", "FOMAML"), ("anil", "ANIL")])
def test_a_study_without_maml_says_why_nothing_was_judged(other: str, name: str) -> None:
    frame = study_frame(algorithms=("maml", "random")).replace({"algorithm": {"maml": other}})
    told = answer(study(frame), "glyphs", "5-way 1-shot")
    assert told.kind == "not judged"
    assert f"this study holds {name}" in told.sentences[0]
    assert set(verdicts(frame).values()) == {"not measured"}


def curves(gaps: list[float], half: float) -> pd.DataFrame:
    """Return validation accuracies of MAML and ANIL with some gaps, each with an interval of the gap of ± half."""
    rows = []
    for iteration, gap in enumerate(gaps, 1):
        for algorithm, value in (("maml", 50.0), ("anil", 50.0 + gap)):
            at = {"algorithm": algorithm, "seed": 0, "iteration": iteration}
            rows.append(row("val_accuracy", value, half / 2**0.5, **at))
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gaps", "half", "verdict"),
    [
        ([1.0, -1.0], 1.0, "holds"),
        ([7.0, -7.0], 1.0, "does not hold"),  # gaps of opposite sign do not cancel
        ([5.5, -5.5], 6.0, "undecided"),  # |gap| is over 5, as it may be by noise alone
        ([4.0, 4.0], 2.0, "undecided"),
    ],
)
def test_curves_are_judged_by_what_their_gap_can_be(gaps: list[float], half: float, verdict: str) -> None:
    assert verdicts(curves(gaps, half))["R5"] == verdict


def test_the_answer_names_contradictions_head_steps_and_the_untrained_network() -> None:
    text = " ".join(answer(study(study_frame()), "glyphs", "5-way 1-shot").sentences)
    assert "5-way 1-shot accuracy by −44.0 points" in text
    assert "at the 5 inner steps it was trained with" in text
    assert "With 30 steps at test the change is −6.0 points" in text
    assert "In an untrained network, freezing conv1, conv1–2 and conv1–3 costs less" in text
    kept = study_frame()
    for measure in ("mean_cca", "debiased_cka"):
        for layer in ("conv1", "conv2", "conv3", "conv4"):
            kept = changed(kept, 0.97, 0.01, measure=measure, algorithm="maml", layer=layer)
    told = answer(study(kept), "glyphs", "5-way 1-shot")
    assert told.kind == "mixed"
    assert any("disagree" in sentence for sentence in told.sentences)


def test_without_an_untrained_network_the_answer_says_so() -> None:
    told = answer(study(study_frame(algorithms=("maml", "anil"))), "glyphs", "5-way 1-shot")
    assert any("No untrained network was tested" in sentence for sentence in told.sentences)


def test_an_empty_table_measures_nothing() -> None:
    empty = study_frame().iloc[:0]
    assert set(verdicts(empty).values()) == {"not measured"}
    assert answer(study(empty), "glyphs", "5-way 1-shot").kind == "not judged"


def test_other_inner_steps_do_not_enter_the_verdict() -> None:
    frame = study_frame()
    assert verdicts(frame)["R1"] == "does not hold"
    at_thirty = dataclasses.replace(study(frame), trained_steps=10)
    cost = at_thirty.test("maml", FULL, measure="accuracy_difference")
    assert isinstance(cost, Estimate)
    assert cost.value == pytest.approx(-24.0)
