"""Works as records, the bibliography that numbers them, and how numbers are written."""

import dataclasses

import pytest

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.readings import Estimate, Undefined
from metaprobe.analyses.works import methods_of
from metaprobe.reports.page.compose import numbered
from metaprobe.reports.wording import number, with_interval
from metaprobe.trainers.errors import MetaprobeError

PAPER = Work("doe2020", "article", ("Doe, Jane", "Müller, João"), "{On} X – and Y?", "J", 2020)


def test_works_write_their_line_and_their_entry_and_are_numbered_once():
    assert PAPER.line == "Jane Doe, João Müller. On X – and Y? J, 2020."
    assert r"{Doe, Jane and M{\"u}ller, Jo{\~a}o}" in PAPER.bibtex and "title = {{On} X -- and Y?}" in PAPER.bibtex
    other = dataclasses.replace(PAPER, key="roe2021")
    works, cite = numbered((PAPER,), {"x": (other, PAPER), "y": (other,)})
    assert works == (PAPER, other) and [cite(name) for name in "xyz"] == ["[2,1]", "[2]", ""]
    with pytest.raises(MetaprobeError, match=r"two works have the BibTeX key 'doe2020': '{On} X – and Y.' and 'Z'"):
        numbered((PAPER,), {"x": (dataclasses.replace(PAPER, title="Z"),)})
    used = methods_of(("maml", "random"), "mixture:shapes,omniglot")
    assert list(used) == ["maml", "omniglot", "bootstrap", "median", "permutation"]


def test_numbers_have_one_sign_and_their_interval_unless_they_are_exact():
    assert [number(value) for value in (-0.04, 0.04, 1, -2.25)] == ["0.0", "<0.1", "1.0", "\N{MINUS SIGN}2.2"]
    found = (Estimate(1 / 3, 1 / 3, 1 / 3), Estimate(1 / 3, 0.331, 0.334), Estimate(2.0), Undefined("dead"), None)
    told = ["0.33 %", "0.33 % [0.33,\N{NO-BREAK SPACE}0.33]", "2.00 %", "undefined (dead)", "not measured"]
    assert [with_interval(each, 2, " %") for each in found] == told
