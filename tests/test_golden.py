"""Pages say and draw what they did: texts of whole pages, kept in tests/golden.

`METAPROBE_GOLDEN=write python -m pytest tests/test_golden.py` writes the texts anew; their diff belongs into the
commit that changes what a page says. Rows come from the CSV files of the gallery and from made-up studies; how a study
was made is made up throughout.
"""

import difflib
import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from reports.studies.raghu2020 import page as raghu2020
from reports.studies.raghu2020.derived import BETWEEN, FIXED
from reports.studies.zhou2021 import page as zhou2021
from reports.studies.zhou2021.learners import Learner
from tests import report_frames, zhou_frames
from tests.golden import drawn_as_text, rows_behind, rows_of, text_of
from tests.report_frames import BLOCKS, NIL_ACCURACY, STAGES, row

GOLDEN = Path(__file__).parent / "golden"
THREE_DOMAINS = (
    Learner("base", 0, "18b88bcc481c", 1, 28_933),
    Learner("tsa", 0, "8c7695a4ced6", 3, 28_933),
    Learner("tsa", 0, "35183dbb47e7", 1, 28_933),
)


def raghu(frame, data, *configs):
    made = report_frames.how_made(data, seeds=frame["seed"].nunique())
    return frame, lambda rows: raghu2020.build_page(rows, replace(made, configs=(*made.configs, *configs)))


def zhou(frame, data, learners):
    made = zhou_frames.how_made(data, seeds=frame["seed"].nunique())
    return frame, lambda rows: zhou2021.build_page(rows, made, learners, 0.05)


def three_seeds():
    """The made-up study with what is drawn over all seeds together; R4, R8 and R12 say what would decide."""
    gaps = [("anil", "maml", "own", "", -1.5), *(("maml", "random", "own", block, 40.0) for block in BLOCKS)]
    gaps += [
        (best, other, "nil", "", NIL_ACCURACY[best] - level - 12.5)
        for best in ("maml", "anil")
        for other, level in NIL_ACCURACY.items()
        if other not in ("maml", "anil")
    ]
    rows = []
    for end, half in (("", 1.0), (FIXED, 0.3)):
        told = {"iteration": STAGES[-1], "inner_steps": 5, "n": 600, "phase": "post"}
        rows += [
            row(BETWEEN + end, value, half, **told, algorithm=one, other_algorithm=other, head=head, frozen=frozen)
            for one, other, head, frozen, value in gaps
        ]
        rows.append(row("head_difference" + end, -1.5, half, **told, algorithm="multiclass", frozen=""))
    return pd.concat([report_frames.full_frame((0, 1, 2)), pd.DataFrame(rows)], ignore_index=True)


HEADS = tuple(("maml_head-nil-seed0", *setting) for setting in (("algorithm", "maml_head"), ("iterations", "800")))
PAGES = {
    "raghu2020-omniglot": lambda: raghu(rows_of("raghu2020-omniglot"), "omniglot", *HEADS),
    "raghu2020-cifar-fs": lambda: raghu(rows_of("raghu2020-cifar-fs"), "cifar_fs"),
    "raghu2020-made-up": lambda: raghu(three_seeds(), "glyphs"),
    "zhou2021-three-domains": lambda: zhou(rows_of("tsa-maml-three-domains"), "signs+objects+omniglot", THREE_DOMAINS),
    "zhou2021-made-up": lambda: zhou(
        zhou_frames.zhou_frame((0, 1)), "glyphs+patterns+shapes", zhou_frames.learners((0, 1))
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_what_they_did_and_no_more_than_the_rows_behind_them(name):
    frame, build = PAGES[name]()
    with drawn_as_text():
        page = build(frame)
        text, again = text_of(page), text_of(build(rows_behind(page)))
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("METAPROBE_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    same(path.read_text(encoding="utf-8"), text, path.name, "the page")
    same(text, again, "the page", "the page from the rows behind it")


def same(before, now, *names):
    diff = list(difflib.unified_diff(before.splitlines(), now.splitlines(), *names, lineterm="", n=2))
    more = f"\n… and {len(diff) - 200} lines more" if len(diff) > 200 else ""
    assert not diff, "\n".join(["", *diff[:200]]) + more
