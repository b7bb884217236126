"""Training regimes and test heads: claims R7, R8 and R12, their rows, their section, and the runs they come from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses.testing import TestPlan
from analyses.testing.heads import compare_heads
from reports.entries import entries_of
from reports.page import render
from reports.studies.raghu2020 import measurements
from reports.studies.raghu2020.page import build_page
from reports.studies.raghu2020.regimes.claims import HEAD_MARGIN, NAMES, PAPER_HEADS, REGIMES
from reports.studies.raghu2020.regimes.figure import regimes_figure
from reports.studies.raghu2020.regimes.judgements import regime_judgements
from reports.studies.raghu2020.regimes.readings import of_regime
from reports.studies.raghu2020.study_table import StudyTable
from reports.studies.runs import bodies_of, check_runs
from tests.report_frames import full_frame, how_made, study_frame
from tests.study_runs import IMAGESET, PLAN, measure_run, refuse
from tests.test_claims import changed
from tests.test_report_page import checked
from tests.test_training import tiny
from trainers.checkpoint import load_checkpoint
from trainers.errors import MetaprobeError
from trainers.evaluate import evaluate, half_width, sampler_for
from trainers.outer_loop import train
from trainers.run import RunFolder


def judged(frame: pd.DataFrame):
    return {found.claim.id: found for found in regime_judgements(StudyTable(entries_of(frame), 5, 5))}


def verdict(frame: pd.DataFrame, claim: str) -> str:
    return judged(frame)[claim].verdict


def without(frame: pd.DataFrame, **where: str) -> pd.DataFrame:
    ((column, value),) = where.items()
    return frame.take([place for place, found in enumerate(frame[column].tolist()) if found != value])


# --- verdicts ---


def test_the_margin_is_the_papers_largest_gap_between_two_heads() -> None:
    pairs = [pair for table in PAPER_HEADS.values() for pair in table.values()]
    assert max(abs(own[0] - nil[0]) for own, nil in pairs if own) == pytest.approx(HEAD_MARGIN)
    one_shot = PAPER_HEADS["5-way 1-shot"]
    assert sorted(REGIMES, key=lambda regime: -one_shot[regime][1][0]) == list(REGIMES)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_what_the_paper_finds_holds_in_the_made_up_study(seeds) -> None:
    found = judged(full_frame(seeds))
    assert {claim: one.verdict for claim, one in found.items()} == {"R7": "holds", "R8": "holds", "R12": "holds"}
    assert "NIL training 75.0 > random features 60.0 > multitask 50.0" in found["R8"].why


@pytest.mark.parametrize(
    ("own_minus_nil", "expected"), [(3.0, "does not hold"), (1.5, "undecided"), (-9.0, "holds"), (1.0, "holds")]
)
def test_r7_asks_whether_anil_loses_without_its_head(own_minus_nil: float, expected: str) -> None:
    frame = changed(full_frame(), own_minus_nil, 0.4, measure="head_difference", algorithm="anil")
    assert verdict(frame, "R7") == expected


@pytest.mark.parametrize(
    ("accuracy", "expected", "told"),
    [
        (95.0, "does not hold", "MAML: above NIL training, random features and multitask; below multiclass."),
        (92.4, "undecided", "not told apart from multiclass."),
        (89.0, "holds", "above multiclass, NIL training, random features and multitask."),
    ],
)
def test_r8_asks_whether_any_other_regime_comes_near(accuracy: float, expected: str, told: str) -> None:
    frame = changed(full_frame(), accuracy, 0.6, measure="accuracy", algorithm="multiclass", head="nil")
    assert verdict(frame, "R8") == expected
    assert told in judged(frame)["R8"].why


def test_r8_is_of_maml_and_of_anil() -> None:
    frame = changed(full_frame(), 70.0, 0.6, measure="accuracy", algorithm="anil", head="nil", iteration=6000)
    assert verdict(frame, "R8") == "does not hold"
    assert "ANIL: above random features and multitask; below multiclass and NIL training." in judged(frame)["R8"].why


@pytest.mark.parametrize(
    ("gap", "expected"),
    [(2.5, "does not hold"), (-2.5, "does not hold"), (1.5, "undecided"), (-1.5, "undecided"), (1.0, "holds")],
)
@pytest.mark.parametrize("regime", ["maml", "multitask"])
def test_r12_asks_for_every_regime_in_both_directions(regime: str, gap: float, expected: str) -> None:
    frame = changed(full_frame(), gap, 0.4, measure="head_difference", algorithm=regime)
    assert verdict(frame, "R12") == expected


def test_a_regime_that_is_missing_leaves_the_claims_open_and_is_named() -> None:
    found = judged(without(full_frame(), algorithm="multitask"))
    assert (found["R8"].verdict, found["R12"].verdict) == ("undecided", "undecided")
    assert "Not measured: multitask." in found["R8"].why
    assert "not measured: multitask" in found["R12"].why
    assert {one.verdict for one in judged(study_frame()).values()} == {"not measured"}


# --- the section ---


def section_of(frame: pd.DataFrame) -> str:
    html = render(build_page(frame, how_made()))
    checked(html)
    return html[html.index('id="regimes"') : html.index('id="made"')]


def test_the_table_has_a_row_a_regime_and_the_papers_last() -> None:
    text = section_of(full_frame())
    names = [f'<th scope="row">{name[0].upper()}{name[1:]}<small>' for name in NAMES.values()]
    names += [f'<th scope="row">Paper: {name}<small>' for name in NAMES.values()]
    assert [text.index(name) for name in names] == sorted(text.index(name) for name in names)
    multiclass = text[text.index(names[2]) : text.index(names[3])]
    for told in ("79.4", "[78.8,", "80.0", "\N{MINUS SIGN}0.6", "new head, body frozen"):
        assert told in multiclass
    assert "38.4 ±0.8<small>54.6 ±0.4</small>" in text
    assert "Outer steps behind each body: MAML, ANIL, multiclass, NIL training and multitask: 6,000." in text


def test_the_rest_of_the_page_is_of_the_adapting_learners_alone() -> None:
    with_regimes, without_them = (render(build_page(frame, how_made())) for frame in (full_frame(), study_frame()))
    for name in ("learning", "similarity-section", "training", "moving", "weights"):
        start = f'<section id="{name}"'
        first, other = (page[page.index(start) : page.index("</section>", page.index(start))]
                        for page in (with_regimes, without_them))  # fmt: skip
        assert first == other, name


def test_a_study_without_regimes_says_what_is_missing() -> None:
    frame = study_frame()
    kept = without(without(frame, measure="accuracy"), measure="head_difference")
    assert "Training regimes: not measured." in section_of(kept)
    assert "No row here, or no number: multiclass, NIL training, random features and multitask." in section_of(frame)


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_figure_draws(seeds) -> None:
    drawn = regimes_figure(StudyTable(entries_of(full_frame(seeds)), 5, 5))
    assert drawn is not None
    assert len(drawn.svg) < 60_000
    assert regimes_figure(StudyTable((), 5, 5)) is None


# --- from runs to rows ---


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny runs: a body by NIL training, a random one, MAML, and heads on each of the three."""
    base = tmp_path_factory.mktemp("regimes")
    found = {name: base / name for name in ("maml", "nil", "random")}
    for name, folder in found.items():
        train(tiny(name, iterations=1 if name == "random" else 3, inner_steps=1, seed=7), IMAGESET, folder)
    for body in tuple(found):
        config = tiny("maml_head", iterations=2, inner_steps=1, seed=7)
        last = RunFolder(found[body]).checkpoint("last")
        found[f"head-{body}"] = base / f"head-{body}"
        train(dataclasses.replace(config, base=str(last)), IMAGESET, found[f"head-{body}"])
    return found


def test_the_difference_between_heads_is_paired_by_task(runs: dict[str, Path]) -> None:
    checkpoint = load_checkpoint(RunFolder(runs["head-nil"]).checkpoint("last"))
    rows = {(row.measure, row.head): row for row in compare_heads(checkpoint, IMAGESET, TestPlan(tasks=6)).rows}
    network, sampler = checkpoint.network(), sampler_for(checkpoint, IMAGESET)
    start, adaptation = checkpoint.start(), checkpoint.adaptation
    own = evaluate(network, start, sampler, adaptation, tasks=6).accuracy
    none = dataclasses.replace(adaptation, steps=0)
    nil = evaluate(network, start, sampler, none, tasks=6, head="nil").accuracy
    middle, half = float(np.mean(own - nil)), half_width(own - nil)
    gap = rows["head_difference", None]
    assert (gap.value, gap.low, gap.high) == pytest.approx((middle, middle - half, middle + half))
    assert (rows["accuracy", "own"].value, rows["accuracy", "nil"].value) == pytest.approx((own.mean(), nil.mean()))
    assert {row.n for row in rows.values()} == {6}


def test_rows_of_a_new_head_are_of_the_regime_that_left_its_body(runs: dict[str, Path]) -> None:
    configs = {name: RunFolder(run).read_config() for name, run in runs.items()}
    for body, iteration in (("nil", 3), ("random", 0)):
        on_body = of_regime(measure_run(RunFolder(runs[body]), IMAGESET, PLAN), configs[body]).rows
        raw = measure_run(RunFolder(runs[f"head-{body}"]), IMAGESET, PLAN)
        on_head = of_regime(raw, configs[body], configs[f"head-{body}"]).rows
        assert {(row.algorithm, row.seed, row.iteration) for row in (*on_body, *on_head)} == {(body, 7, iteration)}
        assert {(row.measure, row.head) for row in on_body} == {("accuracy", "nil"), ("loss", "nil")}
        tests = {(measure, "maml") for measure in ("accuracy", "loss", "accuracy_difference")}
        wanted = {*tests, ("head_difference", None)}
        assert {(row.measure, row.head) for row in on_head} == wanted
        assert {row.source for row in on_head} == {"maml_head of 2 iterations"}
        # The head's checkpoint holds the same body, so the NIL head does the same on it.
        again = next(row.value for row in raw.rows if (row.measure, row.head) == ("accuracy", "nil"))
        assert again == next(row.value for row in on_body if row.measure == "accuracy")


def test_what_was_measured_on_a_head_is_kept_until_the_head_changes(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(Path(shutil.copytree(runs["head-nil"], tmp_path / "head")))
    first = measure_run(folder, IMAGESET, PLAN)
    with monkeypatch.context() as patch:
        patch.setattr(measurements, "compare_heads", refuse)
        assert measure_run(folder, IMAGESET, PLAN) == first
    shutil.copy(RunFolder(runs["head-random"]).checkpoint("last"), folder.checkpoint("last"))
    assert measure_run(folder, IMAGESET, PLAN) != first


def test_heads_are_matched_to_bodies_by_their_weights_not_their_names(runs: dict[str, Path], tmp_path: Path) -> None:
    body = Path(shutil.copytree(runs["nil"], tmp_path / "renamed"))
    given = [runs["head-nil"], runs["maml"], runs["head-random"], runs["random"], body]
    check_runs(given)  # of random, one iteration; of heads, two; of all others, three
    assert bodies_of(given) == {runs["head-nil"]: body, runs["head-random"]: runs["random"]}


def test_runs_that_say_nothing_together_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(MetaprobeError, match=r"head-nil is a head on the body of checkpoint \w{12} .*give that"):
        check_runs([runs["maml"], runs["head-nil"]])
    with pytest.raises(MetaprobeError, match=r"head-maml is a head on .* the last of no run given here that trains a "):
        check_runs([runs["maml"], runs["head-maml"]])
    copy = Path(shutil.copytree(runs["head-nil"], tmp_path / "copy"))
    with pytest.raises(MetaprobeError, match=r"head-nil and .*copy are both heads on the body of .*nil; leave one out"):
        check_runs([runs["nil"], runs["head-nil"], copy])
    with pytest.raises(MetaprobeError, match=r"head-nil is given twice"):
        check_runs([runs["nil"], runs["head-nil"], runs["head-nil"]])
    train(tiny("multiclass", iterations=2, inner_steps=1), IMAGESET, tmp_path / "short")
    with pytest.raises(MetaprobeError, match=r"must agree in iterations; got 3 in .*maml, 2 in .*short"):
        check_runs([runs["maml"], runs["random"], tmp_path / "short"])
    train(tiny("reptile", iterations=1, inner_steps=1), IMAGESET, tmp_path / "reptile")
    with pytest.raises(MetaprobeError, match=r"runs of maml, fomaml, .*; .*reptile was trained by reptile: leave"):
        check_runs([runs["maml"], tmp_path / "reptile"])
