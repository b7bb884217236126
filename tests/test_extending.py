"""What is new goes all the way to a page: a measure, a learner, a layer; a study is in tests/tiny_study.py."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest

from metaprobe.analyses.measures.measure import MEASURES
from metaprobe.analyses.table import Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.compose import page_of
from metaprobe.reports.page.page import named_blocks, render
from metaprobe.reports.registry import STUDIES
from metaprobe.reports.verdicts import judge
from tests import raghu_rows, tiny_study


def test_a_study_is_declared_in_sixty_lines():
    text = inspect.getsource(tiny_study)
    declared = text[text.index("@dataclass") : text.index("TINY = {")]
    assert len([line for line in declared.splitlines() if line]) < 60


def like(rows, old, **new):
    """Return the rows of which a column says something, with others that say the same of something new."""
    ((column, value),) = new.items()
    return (*rows, *(replace(row, **{column: value}) for row in rows if getattr(row, column) == old))


def test_a_new_measure_and_a_new_learner_are_shown_under_their_own_names(monkeypatch):
    monkeypatch.setitem(MEASURES, "spectral", replace(MEASURES["pwcca"], name="spectral"))
    rows = like(tuple(raghu_rows.study_rows()), "maml", learner="boil")
    rows = like(like(rows, "pwcca", measure="spectral"), "pwcca_null", measure="spectral_null")
    page = page_of(STUDIES["raghu2020"], Evidence(Table.of(rows), raghu_rows.MADE))
    blocks = {block.name: block for block in named_blocks(page)}
    table = blocks["similarities"]
    assert any("Spectral" in title for title in table.header)
    titles = [row[0].text for row in table.rows]
    assert sum("boil" in title for title in titles) == len(raghu_rows.LAYERS)
    assert {row.measure for row in table.behind} >= {"spectral", "spectral_null"}
    for name in ("similarity-figure", "learning-curves", "freezing-figure", "change-map"):
        assert "boil" in [label for _, label in blocks[name].legend] or "boil" in "".join(blocks[name].panels), name
    assert "boil" in render(page)


@pytest.mark.parametrize("id", ["R1", "R2", "R9"])
def test_a_network_with_a_fifth_convolution_is_judged_on_five(id):
    layers = (*raghu_rows.BODY, "conv5", "head")
    evidence = Evidence(
        Table.of(like(tuple(raghu_rows.study_rows()), "conv4", layer="conv5")), replace(raghu_rows.MADE, layers=layers)
    )
    (claim,) = (claim for claim in STUDIES["raghu2020"].claims(evidence) if claim.id == id)
    told = judge(claim, evidence)
    assert any("5" in part.name for part in claim.parts)
    assert sum(one.verdict == "not measured" for one in told.parts) == (id == "R1")
    assert "conv1–5: not measured" in told.why or "conv5" in told.why
