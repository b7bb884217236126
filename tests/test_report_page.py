"""The report: self-contained, escaped, the same bytes twice, and honest about what is missing."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from analyses.measures.measure import MEASURES
from reports.citations import methods_of
from reports.latex import escape
from reports.page import Cell, Missing, Page, PageTable, Rows, Section, render, write_report
from reports.references import Bibliography, citation_of, cited, entries
from reports.studies.raghu2020.page import build_page
from reports.wording import number
from tests.report_frames import how_made, study_frame
from trainers.errors import MetaprobeError

VOID = {"meta", "br", "hr", "img", "link", "input"}
HOSTILE = "<script>alert(1)</script>\" onload='x' & $\\frac{a}"


class Checker(HTMLParser):
    """Collect the tags, ids and links of a page, and fail on tags that do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src") and value]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(build_page(study_frame(), how_made()), tmp_path_factory.mktemp("report")).parent


def test_the_same_run_gives_the_same_bytes_in_another_folder_and_process(report: Path, tmp_path: Path) -> None:
    script = (
        "import sys; from tests.report_frames import *; from reports.studies.raghu2020.page import build_page; "
        "from reports.page import write_report; write_report(build_page(study_frame(), how_made()), sys.argv[1])"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    command = [sys.executable, "-c", script, str(tmp_path / "again")]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[1])
    names = sorted(path.relative_to(report) for path in report.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(tmp_path / "again") for path in tmp_path.rglob("*") if path.is_file())
    assert len(names) > 30
    for name in names:
        assert (report / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_the_page_loads_nothing_runs_nothing_and_links_only_to_itself_and_its_tables(report: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(?i)https?:|//cdn|@import|url\((?!#)", re.sub(r'xmlns(:\w+)?="[^"]+"', "", html))
    checker = checked(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert len(checker.ids) == len(set(checker.ids))
    for link in checker.links:
        assert link.removeprefix("#") in checker.ids if link.startswith("#") else (report / link).is_file(), link


def test_a_report_is_small_and_holds_no_date_or_path(report: Path) -> None:
    assert sum(path.stat().st_size for path in report.rglob("*") if path.is_file()) < 1_500_000
    html = (report / "report.html").read_text(encoding="utf-8")
    assert str(report) not in html
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b", html)


def test_names_from_outside_are_escaped_everywhere(tmp_path: Path) -> None:
    frame = study_frame()
    frame["reason"] = frame["reason"].where(frame["reason"].isna(), HOSTILE)
    frame.loc[frame["frozen"] == "conv1", "frozen"] = HOSTILE.replace(",", "")
    made = how_made(HOSTILE)
    made = type(made)(**{**vars(made), "commands": (HOSTILE,), "notes": (HOSTILE,), "versions": ((HOSTILE, HOSTILE),)})
    path = write_report(build_page(frame, made), tmp_path)
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    checked(html)
    for tex in (tmp_path / "tables").glob("*.tex"):
        assert r"\frac{" not in tex.read_text(encoding="utf-8")


def test_undefined_values_carry_their_reason_and_nan_never_shows(report: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    assert "undefined<small>(2 of 5 columns are dead)</small>" in html
    assert not re.search(r"\b(nan|NaN|None|inf|NaT)\b(?! frozen)", re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL))


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        ({"measure": ["val_loss", "val_accuracy", "train_loss", "train_accuracy"]}, "Learning curves: not measured."),
        ({"measure": ["accuracy", "accuracy_difference"]}, "Freezing: not measured."),
        ({"measure": ["mean_cca", "debiased_cka"]}, "Similarity before and after adaptation: not measured."),
        ({"measure": ["euclidean_distance", "relative_distance"]}, "Weight distance: not measured."),
        ({"algorithm": ["anil"]}, "no test of ANIL"),
        ({"algorithm": ["random"]}, "Untrained network: not measured."),
        ({"algorithm": ["maml"]}, "no test of MAML"),
        ({"iteration": [2000, 4000]}, "Fewer than two checkpoints"),
        ({"inner_steps": [10, 30]}, "one number of steps only"),
        ({"algorithm": ["maml", "anil", "random"]}, "Not judged: no MAML in this study"),
    ],
)
def test_what_was_not_measured_is_said(drop: dict[str, list[object]], expected: str) -> None:
    frame = study_frame()
    ((column, values),) = drop.items()
    kept = [place for place, value in enumerate(frame[column].tolist()) if value not in values]
    html = render(build_page(frame.take(kept), how_made()))
    assert expected in re.sub(r"</?b>", "", html)
    checked(html)


def test_the_page_says_how_it_was_tested_and_what_its_intervals_assume(report: Path) -> None:
    html = (report / "report.html").read_text(encoding="utf-8")
    assert "5 queries a class in training, 15 in tests" in html
    assert html.count("are paired, task by task") == 2
    assert "Nulls: n = 7,500 to 120,000 samples" in html
    assert "Verdicts are judged on MAML only" in html


def test_fomaml_is_a_learner_of_its_own_beside_maml() -> None:
    ours = study_frame()
    theirs = study_frame(algorithms=("maml", "random"))
    theirs["checkpoint"] = theirs["checkpoint"].where(theirs["algorithm"] == "random", "f" * 12)
    both = pd.concat([ours, theirs.replace({"algorithm": {"maml": "fomaml"}})], ignore_index=True)
    html = render(build_page(both, how_made()))
    assert '<th scope="row">FOMAML<small>own head, 5 steps, as trained</small>' in html
    assert "FOMAML, on the same tasks" in html
    checked(html)


def test_the_rows_behind_a_table_are_whole_and_at_full_precision(report: Path) -> None:
    frame = study_frame()
    with open(report / "tables" / "freezing.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    source = frame[frame["measure"].isin(["accuracy", "accuracy_difference"])]
    assert list(rows[0]) == list(frame.columns)
    assert len(rows) == len(source)
    assert [float(r["value"]) for r in rows] == source["value"].tolist()
    assert all(r["checkpoint"] and r["source"] for r in rows)


def test_several_seeds_are_shown_one_by_one_with_mean_and_sd() -> None:
    html = render(build_page(study_frame((0, 1, 2)), how_made(seeds=3)))
    assert "MAML, seed 2" in html
    assert "MAML, mean" in html
    assert "3 seeds" in html


def test_latex_tables_have_as_many_columns_in_every_line(report: Path) -> None:
    for path in (report / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        spec = re.sub(r">\{.*?\\linewidth\}", "p", re.findall(r"\\begin\{tabular\}\{(.*)\}", text)[0])
        columns = len(spec)
        assert set(spec) <= {"l", "r", "p"}
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert body, path.name
        assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {columns - 1}, path.name
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_escapes_what_it_would_obey() -> None:
    assert escape(r"50 % of a_b & $x^2$ \input{x}") == (
        r"50 \% of a\_b \& \$x\textasciicircum{}2\$ \textbackslash{}input\{x\}"
    )
    assert escape("−1 ± 2") == r"$-$1 $\pm$ 2"


def test_citations_become_numbered_lines_without_addresses() -> None:
    bibtex = (
        "@article{a, author={Doe, Jane and Roe, R.}, title={{On} X}, journal={J}, year={2020}, url={https://x.org}}"
    )
    assert cited(bibtex) == ("Jane Doe, R. Roe. On X. J, 2020.",)
    found = Bibliography.of(
        bibtex, ["one", "two"], {"one": bibtex, "two": bibtex.replace("X", "Y").replace("{a,", "{b,")}.__getitem__
    )
    assert found.marks == {"one": "[1]", "two": "[2]"}
    with pytest.raises(MetaprobeError, match="holds no BibTeX entry"):
        cited("Doe 2020")
    with pytest.raises(MetaprobeError, match="'b' has no author and no year"):
        cited("@misc{b, title={T}}")
    with pytest.raises(MetaprobeError, match="unknown measure 'mean_cc'"):
        citation_of("mean_cc")


def test_parts_of_a_page_that_do_not_fit_are_errors() -> None:
    with pytest.raises(MetaprobeError, match="2 cells where the header has 1"):
        PageTable("t", "", ("A",), ((Cell("x"), Cell("y")),))
    with pytest.raises(MetaprobeError, match="lower-case words"):
        Rows("../x", pd.DataFrame())
    table = PageTable("t", "", ("A",), ((Cell("x"),),))
    with pytest.raises(MetaprobeError, match="'t' is used twice"):
        Page("P", "", (), "", (), "", (Section("s", "S", blocks=(table, table)),))


def linked(**changes: object) -> Page:
    """A page of a claims table that leads to a table, to something missing and to a section."""
    frame = pd.DataFrame({"value": [0.5]})
    behind = Rows("numbers", frame)
    claim = Cell("0.5", ("[0.4, 0.6]",), number=True, links=("numbers", "again", "nothing", "more"))
    claims = PageTable("claims", "Claims", ("Claim", "Ours"), ((Cell("R1"), claim),), stacked=True)
    tables = (
        PageTable("numbers", "Numbers", ("Value",), ((Cell("0.5"),),), behind),
        PageTable("again", "Again", ("Value",), ((Cell("0.5"),),), behind),
    )
    more = Section("more", "More & more", blocks=(*tables, Missing("A figure", "No rows.", "nothing")))
    page = Page("P", "Q?", (), "Yes", ("So.",), "R", (Section("overview", "Overview", blocks=(claims,)), more))
    return replace(page, **changes)


def test_a_claim_leads_to_what_it_rests_on_and_to_the_rows_behind_it(tmp_path: Path) -> None:
    path = write_report(linked(), tmp_path)
    html = path.read_text(encoding="utf-8")
    found = re.search(r'<small class="links">(.*?)</small>', html, re.DOTALL)
    assert found is not None
    assert re.findall(r'<a href="(.*?)">(.*?)</a>', found[1]) == [
        ("#numbers", "Table 2"),
        ("#again", "Table 3"),
        ("#nothing", "not measured"),
        ("#more", "More &amp; more"),
        ("tables/numbers.csv", "numbers.csv"),
    ]
    checker = checked(html)
    for link in checker.links:
        assert link.removeprefix("#") in checker.ids if link.startswith("#") else (tmp_path / link).is_file(), link
    assert "Table 2" not in (tmp_path / "tables" / "claims.tex").read_text(encoding="utf-8")


def test_a_link_to_nothing_is_an_error_that_names_it() -> None:
    lost = PageTable("t", "", ("A",), ((Cell("x", links=("freezing-figur",)),),))
    with pytest.raises(
        MetaprobeError, match=r"in table 't' of page 'P': 'freezing-figur'. Did you mean freezing-figure"
    ):
        linked(sections=(Section("s", "S", blocks=(lost, Missing("F", "No rows.", "freezing-figure"))),))
    with pytest.raises(MetaprobeError, match="the name 'cite' is used twice"):
        linked(sections=(Section("cite", "S"),))
    with pytest.raises(MetaprobeError, match="lower-case words"):
        Missing("F", "No rows.", "No Name")


def test_only_a_stacked_table_carries_the_titles_of_its_columns_in_its_cells() -> None:
    html = render(linked())
    assert re.findall(r'data-label="(.*?)"', html) == ["Claim", "Ours"]
    assert '<table class="claims stacked">' in html
    assert '<table class="numbers">' in html


def test_the_contents_list_numbers_every_section_and_the_references() -> None:
    html = render(linked(references=("A work.",)))
    contents = re.search(r"<nav.*?</nav>", html, re.DOTALL)
    assert contents is not None
    entries_ = re.findall(r'<li><a href="#(.*?)">(.*?)</a></li>', contents[0])
    assert entries_ == [("overview", "Overview"), ("more", "More &amp; more"), ("references", "References")]
    assert re.findall(r"<h2><span>(\d)</span> (.*?)</h2>", html) == [
        ("1", "Overview"),
        ("2", "More &amp; more"),
        ("3", "References"),
    ]


def test_bibtex_stands_on_the_page_and_in_a_file_that_it_links_to(tmp_path: Path) -> None:
    bibtex = ("@book{a, title={X \N{EN DASH} & Y}, author={Doe, J.}, year={2020}}", "@misc{b, title={Z}}")
    html = write_report(linked(references=("X", "Z"), bibtex=bibtex), tmp_path).read_text(encoding="utf-8")
    assert (tmp_path / "references.bib").read_text(encoding="utf-8") == "\n\n".join(bibtex) + "\n"
    assert '<a href="references.bib">' in html
    assert "X \N{EN DASH} &amp; Y}" in html  # as it is: no word joiner in what is there to be copied
    assert "references.bib" not in render(linked(references=("X",)))


def test_a_bibliography_holds_the_entry_of_every_work_once_under_its_own_key() -> None:
    one = "@misc{a, author={Doe, Jane}, title={One}, year={2020}}"
    two = '@misc{b,\n  author={M{\\"u}ller, Jo{\\~a}o}, title={Two}, year={2021}}'
    found = Bibliography.of(one, ["x"], {"x": f"{one}\n{two}"}.__getitem__, {"method": two})
    assert found.texts == ("Jane Doe. One. 2020.", "João Müller. Two. 2021.")
    assert found.bibtex == (one, two)
    assert found.marks == {"x": "[1,2]", "method": "[2]"}
    assert entries(f"{one}\n\n{two}\n") == (one, two)
    with pytest.raises(MetaprobeError, match="two works have the BibTeX key 'a': 'One' and 'Other'"):
        Bibliography.of(one, ["x"], {"x": one.replace("One", "Other")}.__getitem__)


def test_what_a_study_used_is_cited_by_learner_data_and_statistics() -> None:
    assert list(methods_of(("maml", "anil", "random"), "glyphs")) == ["maml", "bootstrap", "median", "permutation"]
    assert list(methods_of(("nil",), "mixture:shapes,omniglot")) == [
        "nil",
        "omniglot",
        "bootstrap",
        "median",
        "permutation",
    ]
    every = methods_of(("maml", "fomaml", "nil"), "mixture:omniglot,cifar_fs")
    found = Bibliography.of(citation_of("mean_cca"), MEASURES, citation_of, every)
    assert found.marks["maml"] == found.marks["fomaml"]
    assert len(found.bibtex) == len(found.texts) > 12


def test_the_types_of_a_table_do_not_matter() -> None:
    frame = study_frame()
    whole = ("seed", "iteration", "step", "task", "inner_steps", "n")
    typed = frame.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(("value", "low", "high"), "Float64"))
    assert render(build_page(typed, how_made())) == render(build_page(frame, how_made()))


@pytest.mark.parametrize(
    ("value", "digits", "signed", "text"),
    [
        (-44.04, 1, False, "−44.0"),
        (-0.04, 1, True, "0.0"),
        (0.0004, 3, False, "<0.001"),
        (-0.0004, 3, False, ">−0.001"),
        (0.0, 3, False, "0.000"),
        (1.25, 1, True, "+1.2"),
    ],
)
def test_numbers_are_written_with_a_true_minus_and_never_as_minus_zero(
    value: float, digits: int, signed: bool, text: str
) -> None:
    assert number(value, digits, signed=signed) == text


def test_settings_that_differ_stand_apart_from_those_that_are_shared() -> None:
    html = render(build_page(study_frame(), how_made()))
    assert html.index("Settings in which the trainings differ") < html.index("Settings that all trainings share")
    assert re.search(r'<th scope="row">maml seed 0</th>\s*<td>all</td>\s*</tr>', html)
    assert re.search(r'<th scope="row">anil seed 0</th>\s*<td>head</td>\s*</tr>', html)
    assert re.search(r'<th scope="row">inner_lr</th>\s*<td>0.4</td>\s*</tr>', html)
