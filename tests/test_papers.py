"""What holds for every claim and every block of every study, planted from the questions that they ask."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from metaprobe.analyses.table import Row, Table
from metaprobe.reports import registry
from metaprobe.reports.blocks.declared import Grid
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.compose import build, page_of
from metaprobe.reports.page.page import named_blocks
from metaprobe.reports.page.parts import ClaimsList, Missing, PageFigure, PageTable
from metaprobe.reports.verdicts import judge
from tests import antoniou_rows, arnold_rows, planting, raghu_rows, zhou_rows
from tests.tiny_study import THIRD

STUDIES = {**registry.STUDIES, "third": THIRD}
TWO = Row(measure="mean_cca", learner="maml", other_learner="maml", seed=0, other_seed=1, layer="conv1", value=0.5)
ROWS = {
    "raghu2020": ((*raghu_rows.full_rows((0, 1)), TWO), raghu_rows.MADE),
    "zhou2021": (tuple(zhou_rows.study_rows((0, 1), single=False)), zhou_rows.MADE),
    "arnold2021": (tuple(arnold_rows.study_rows()), arnold_rows.MADE),
    "antoniou2019": (tuple(antoniou_rows.study_rows()), antoniou_rows.MADE),
    "third": ((), raghu_rows.MADE),
}
NEVER = {("zhou2021", "Z5"), ("zhou2021", "Z6")}  # of CIFAR-FS, which a study of several domains never measures
FIXED = {"domains on their own"}  # a matter of which clusters, not of how many; turned in test_zhou2021


@functools.cache
def evidence_of(name):
    return planting.planted(STUDIES[name], *ROWS[name])


def plain(name):
    rows, made = ROWS[name]
    return Evidence(Table.of(rows), made)


CLAIMS = [(name, claim.id) for name, study in STUDIES.items() for claim in study.claims(plain(name))]
BLOCKS = [(name, one.name) for name, study in STUDIES.items() for one in planting.blocks_of(study, plain(name))]


@pytest.mark.parametrize(("name", "id"), CLAIMS)
def test_a_claim_turns_with_each_of_its_parts(name, id):
    claim = next(claim for claim in STUDIES[name].claims(evidence_of(name)) if claim.id == id)
    evidence = planting.held(claim, evidence_of(name))
    if (name, id) in NEVER:
        assert judge(claim, evidence).verdict == "not measured"
        return
    told = judge(claim, evidence)
    assert (told.verdict, told.decide) == ("holds", ""), told.why
    for part in claim.parts:
        lacking = judge(claim, planting.without(part, evidence))
        assert lacking.verdict in ("undecided", "not measured"), part.name
        assert len(claim.parts) > 1 or (lacking.verdict, lacking.why) == ("not measured", claim.needs)
        if part.name not in FIXED:
            failed = judge(claim, planting.moved(part, claim, evidence, "does not hold"))
            assert failed.verdict == "does not hold", part.name
            assert part.rule.fails in failed.why
    nothing = judge(claim, Evidence(Table(), evidence.made))
    assert (nothing.verdict, nothing.why) == ("not measured", claim.needs)


@pytest.mark.parametrize(("name", "block"), BLOCKS)
def test_a_block_is_made_from_the_rows_behind_it_and_says_what_is_missing(name, block):
    evidence = evidence_of(name)
    found = named(block, name, evidence)
    part = build(found, evidence)
    assert isinstance(part, PageTable if isinstance(found, Grid) else PageFigure)
    again = Evidence(Table.of(part.behind), evidence.made)
    alike = named(block, name, again)
    assert set(planting.read(alike, again)) == set(part.behind)
    if isinstance(part, PageTable):
        assert build(alike, again).rows == part.rows
    else:
        assert sum(map(len, part.panels)) < 150_000
        assert all("<title>" in panel and "data:image" not in panel for panel in part.panels)
    empty = Evidence(Table(), evidence.made)
    lacking = named(block, name, empty)
    nothing = lacking and build(lacking, empty)
    assert nothing is None or (isinstance(nothing, Missing) and nothing.name == block and nothing.reason)


def named(block, name, evidence):
    return next((one for one in planting.blocks_of(STUDIES[name], evidence) if one.name == block), None)


@pytest.mark.parametrize("name", STUDIES)
def test_a_page_without_rows_says_of_everything_that_it_is_missing(name):
    page = page_of(STUDIES[name], Evidence(Table(), ROWS[name][1]))
    assert {found.verdict for found in page.judgements.values()} == {"not measured"}
    measured = [block for section in page.sections if section.name != "made" for block in section.blocks]
    assert all(isinstance(block, Missing | ClaimsList) for block in measured)
    assert not [block for block in named_blocks(page) if isinstance(block, PageFigure)]


@pytest.mark.parametrize(
    ("share", "told"), [(0.05, "freeze conv1 by themselves"), (0.1, "freeze no layer by themselves")]
)
def test_layers_that_learned_rates_freeze_are_named(share, told):
    rows = (
        dataclasses.replace(row, value=share) if (row.measure, row.layer) == ("rate_kept", "conv1") else row
        for row in antoniou_rows.study_rows()
    )
    answer = " ".join(page_of(antoniou_rows.STUDY, Evidence(Table.of(rows), antoniou_rows.MADE)).answer)
    assert f"Learned rates {told}" in answer
    assert f"conv1 {share:.2f}, conv2 0.50" in answer
