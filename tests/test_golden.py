"""Pages say and draw what they did: texts of whole pages, kept in tests/golden.

`METAPROBE_GOLDEN=write python -m pytest tests/test_golden.py` writes the texts anew; their diff belongs into the
commit that changes what a page says. Rows come from the tables of the gallery, from which its pages can be made again,
and from made-up studies.
"""

import difflib
import os
from pathlib import Path

import pytest

from metaprobe.analyses.table import Table
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.page.compose import page_of
from metaprobe.reports.page.files import read_tables
from metaprobe.reports.page.page import rows_behind
from metaprobe.reports.registry import STUDIES
from tests import raghu_rows, zhou_rows
from tests.golden import text_of

GOLDEN = Path(__file__).parent / "golden"
PAGES = {
    "raghu2020-omniglot": lambda: published("raghu2020-omniglot"),
    "raghu2020-cifar-fs-mean-head": lambda: published("raghu2020-cifar-fs-mean-head"),
    "arnold2021-omniglot": lambda: published("arnold2021-omniglot"),
    "antoniou2019-omniglot": lambda: published("antoniou2019-omniglot"),
    "raghu2020-made-up": lambda: Evidence(Table.of(raghu_rows.full_rows((0, 1, 2))), raghu_rows.MADE),
    "zhou2021-three-domains": lambda: published("tsa-maml-three-domains"),
    "zhou2021-made-up": lambda: Evidence(Table.of(zhou_rows.study_rows((0, 1))), zhou_rows.MADE),
}


def published(name):
    return read_tables(Path(__file__).parents[1] / "reports" / "gallery" / name / "tables")


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_what_they_did_and_no_more_than_the_rows_behind_them(name):
    evidence = PAGES[name]()
    study = STUDIES[evidence.made.study]
    page = page_of(study, evidence)
    behind = dict.fromkeys(row for _, rows in sorted(rows_behind(page).items()) for row in rows)
    again = page_of(study, Evidence(Table.of(behind), evidence.made))
    text, path = text_of(page), GOLDEN / f"{name}.txt"
    if os.environ.get("METAPROBE_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    same(path.read_text(encoding="utf-8"), text, path.name, "the page")
    same(text, text_of(again), "the page", "the page from the rows behind it")


def same(before, now, *names):
    diff = list(difflib.unified_diff(before.splitlines(), now.splitlines(), *names, lineterm="", n=2))
    more = f"\n… and {len(diff) - 200} lines more" if len(diff) > 200 else ""
    assert not diff, "\n".join(["", *diff[:200]]) + more
