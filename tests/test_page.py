"""The page: self-contained, escaped, the same bytes twice, made again from its tables, and honest about gaps."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from metaprobe.analyses.measures.work import Work
from metaprobe.analyses.table import Table
from metaprobe.reports.blocks.declared import Dots, Figure, Grid, Line, Said, Series
from metaprobe.reports.claims import Claim, Part, above, below, within
from metaprobe.reports.evidence import Evidence
from metaprobe.reports.made import Trained
from metaprobe.reports.page.compose import made_section, page_of
from metaprobe.reports.page.files import escape, read_tables, write_report
from metaprobe.reports.page.page import Page, render
from metaprobe.reports.page.parts import Cell, Missing, PageTable, Section, Statement
from metaprobe.reports.quantities import q
from metaprobe.reports.study.study import Answer, Study
from metaprobe.reports.study.study import Section as Declared
from metaprobe.reports.wording import with_interval
from metaprobe.trainers.errors import MetaprobeError, UnreadableInput
from metaprobe.trainers.formats.text import typeset
from tests.evidence_rows import MADE, accuracy, evidence_of
from tests.page_checks import checked

HOSTILE = "<script>alert(1)</script>\" onload='x' & $\\frac{a}"
PAPER = Work("doe2020", "article", ("Doe, Jane", "Müller, João"), "{On} X – and Y?", "J", 2020)
OWN, FROZEN = q("accuracy", learner="maml"), q("accuracy", learner="maml", frozen="conv1")
NIL = q("accuracy", learner="nil")


# fmt: off
def claim(id, rule, name="conv1", quantity=FROZEN, evidence=("tests",)):
    told = (f"Claim {id}", "accuracy", "48", "Table 1", "their data", "it does")
    return Claim(id, *told, (Part(name, quantity, rule, printed=(48.0,)),), "Nothing.", evidence, unit=" %")


def study(word=""):
    """A study of three claims, two tables and a figure; `word` stands wherever a text may come from outside."""
    line = Line(f"MAML{word}", (Said(OWN), Said(FROZEN)))
    tests, again = (Grid(name, f"{name} {word}", ("Learner", "Own", f"Frozen{word}"), (line,), ("Tests", "No rows."))
                    for name in ("tests", "again"))
    nothing = Grid("nothing", "", ("Learner", "Own"), (Line("NIL", (Said(NIL),)),), ("A table", "No rows."))
    dots = Dots(f"Accuracy{word}", ("own", f"conv1{word}"), (Series("MAML", "#0072b2", (OWN, FROZEN)),))
    section = Declared("all", f"All & {word}", (word,), ((f"term{word}", word),), (tests,), (again, nothing))
    found = (claim("C1", above(40)), claim("C2", below(40), f"conv1{word}"),
             claim("C3", within(0, 1), quantity=NIL, evidence=("tests", "nothing", "all")))
    return Study(
        "made-up", "", (PAPER,), f"A title{word}", "A question?", word, {}, lambda _: (), lambda _: (), lambda _: found,
        lambda _, cite: (section,),
        lambda evidence, verdicts: Answer(
            f"C1 {verdicts['C1'].verdict}{word}", (f"It is {with_interval(OWN.read(evidence))}.", word), "",
            Figure("dots", word, (dots,), ("Dots", "No rows."))))


def evidence(**made):
    told = {"learners": (Trained("maml", "MAML", 9, 100, 4),), "commands": ("metaprobe study made-up",)} | made
    return evidence_of(accuracy(50.0, 1.0), accuracy(45.0, 1.0, frozen="conv1"), **told)


def small_page(**changes):
    numbers = PageTable("numbers", "", ("A",), ((Cell("1"),),), (accuracy(50.0),))
    more = Section("more", "More & more", blocks=(numbers, Missing("A figure", "No `rows`.", "nothing")))
    return dataclasses.replace(Page("P", "Q?", (), "Yes", ("So.",), "R", (more,)), **changes)
# fmt: on


def links_in(html):
    return re.findall(r'<a href="(.*?)">(.*?)</a>', html)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(page_of(study(), evidence()), tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def html(report):
    return (report / "report.html").read_text(encoding="utf-8")


def test_the_page_is_one_file_that_links_to_itself_and_to_its_tables(report, html):
    checked(html, report)
    assert str(report) not in html
    assert (report / "references.bib").read_text(encoding="utf-8").startswith(PAPER.bibtex)
    shown = re.sub(r"<style.*?</style>", "", html, flags=re.S)
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b|\b(nan|NaN|None|NaT)\b", shown)


def test_the_first_screen_is_the_answer_its_training_and_a_figure_and_support_is_folded(html):
    told = ("C1 holds", "It is 50.0 [", "MAML: 100 outer steps of 4 tasks; 1 seed", 'id="dots"', 'class="facts"')
    places = [html.index(text) for text in (*told, 'id="claims"')]
    assert places == sorted(places)
    assert re.search(r"<summary>In support: Table 2 \(again\)</summary>\s*<figure id=.again", html)


def test_the_training_is_told_once_for_those_of_the_same_steps_and_heads_are_counted():
    steps = {"maml": ("MAML", 1000), "random": ("random features", 0), "anil": ("ANIL", 1000)}
    trained = [Trained(key, label, 9, count, 16) for key, (label, count) in steps.items()]
    heads = [Trained(f"new-{who}", f"MAML head, {who}", 9, 800, 16, who) for who in ("nil", "random")]
    page = page_of(study(), evidence(learners=(*heads, *trained, Trained("m1", "short", 9, 1, 4))))
    assert page.training == (
        "Training behind this: MAML and ANIL: 1,000 outer steps of 16 tasks; short: 1 outer step of 4 tasks; "
        "new heads for 2 bodies: 800 outer steps of 16 tasks; 1 seed of each."
    )


def test_a_claim_is_a_line_with_a_strip_and_its_words_open_below(html):
    lines = re.findall(r'<article class="claim">.*?</article>', html, re.S)
    marks = [re.search(r'class="mark (\w+)">(.*?)<', line).groups() for line in lines]
    assert marks == [("good", "holds"), ("bad", "does not hold"), ("none", "not measured")]
    assert [line.count("<svg") for line in lines] == [1, 1, 0] and "Nothing." in lines[2]
    assert "<dd>conv1: 45.0 % [44.0, 46.0]</dd>" in lines[0].replace("\xa0", " ")
    assert "C1 holds when it does." in lines[0]
    places = [("#tests", "Table 1"), ("#nothing", "not measured"), ("#all", "All &amp; ")]
    assert links_in(lines[2]) == [*places, ("tables/tests.csv", "tests.csv")]
    counts = re.search(r'<p class="count">(.*?)</p>', html)[1]
    assert re.sub("<.*?>", "", counts) == "1 holds, 1 does not hold, 1 not measured."


def test_the_same_study_gives_the_same_bytes_in_another_process(report, tmp_path):
    script = "import sys; from tests.test_page import *; write_report(page_of(study(), evidence()), sys.argv[1])"
    command, here = [sys.executable, "-c", script, str(tmp_path)], Path(__file__).parents[1]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}, cwd=here)
    files = [{p.relative_to(at).as_posix(): p.read_bytes() for p in at.rglob("*.*")} for at in (report, tmp_path)]
    assert files[0] == files[1]
    assert {"tables/tests.csv", "tables/claims-rows.csv", "tables/answer-rows.csv", "figures/dots.pdf"} < set(files[0])


def test_a_page_is_made_again_from_its_tables_alone(report, html):
    found = read_tables(report / "tables")
    assert len(found.rows) == 2  # each once, though several tables hold them
    assert render(page_of(study(), found)) == html


def test_rows_that_an_earlier_page_left_are_no_evidence(report, tmp_path):
    folder = Path(shutil.copytree(report / "tables", tmp_path / "tables"))
    Table.of((accuracy(1.0),)).write_csv(folder / "older.csv")
    (folder / "notes.csv").write_text("mine\n1\n")
    (folder / "notes.tex").write_text("mine")
    figures = Path(shutil.copytree(report / "figures", tmp_path / "figures"))
    (figures / "older.svg").write_text("older")
    (figures / "mine.svg").write_text("mine")
    assert (folder / "tests.tex").is_file() and (figures / "dots.pdf").is_file()
    write_report(small_page(), tmp_path)
    assert sorted(path.name for path in folder.glob("*.tex")) == ["notes.tex", "numbers.tex"]
    assert [path.name for path in figures.iterdir()] == ["mine.svg"]
    assert sorted(path.name for path in folder.glob("*.csv")) == ["claims.csv", "notes.csv", "numbers.csv"]
    with pytest.raises(UnreadableInput, match=r"notes.csv: no table of a report: .*; got mine. Move it elsewhere"):
        read_tables(folder)


DAMAGE = {
    "made.json": [
        (lambda _: None, "holds no made.json"),
        (lambda _: b"{}", "made.json: expected an object"),
        (lambda whole: whole.replace(b'"n_way": 5', b'"n_way": 0'), "n_way must be at least 1"),
    ],
    "tests.csv": [
        (lambda _: b"\xff\xfe", "tests.csv: cannot be read"),
        (lambda _: b"", "tests.csv: no table of a report.*got none"),
        (lambda whole: whole.replace(b",ok", b",", 1), "tests.csv: a row does not fit"),
    ],
}


@pytest.mark.parametrize(("name", "damage", "expected"), [(n, *each) for n, told in DAMAGE.items() for each in told])
def test_a_damaged_folder_of_tables_is_refused_by_name(report, tmp_path, name, damage, expected):
    folder = Path(shutil.copytree(report / "tables", tmp_path / "tables"))
    content = damage((folder / name).read_bytes())
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(UnreadableInput, match=expected):
        read_tables(folder)
    with pytest.raises(UnreadableInput, match="elsewhere: no such folder"):
        read_tables(tmp_path / "elsewhere")


def test_text_from_outside_is_escaped_everywhere(tmp_path):
    made = {"data": HOSTILE, "notes": (HOSTILE,), "missing": ((HOSTILE, "failed", HOSTILE),)}
    html = write_report(page_of(study(HOSTILE), evidence(**made)), tmp_path).read_text(encoding="utf-8")
    checked(html)
    assert "<script" not in html and "&lt;script&gt;" in html
    assert all(r"\frac{" not in tex.read_text(encoding="utf-8") for tex in (tmp_path / "tables").glob("*.tex"))


UNSEEN = "a\u202eb\x1b[2J\x00\udcff\u2066\u200f\x85\u2028c\N{SYMBOL FOR RECORD SEPARATOR}"


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_what_does_not_print_is_made_visible_in_every_file(tmp_path):
    made = {"data": UNSEEN, "notes": (UNSEEN,), "missing": ((UNSEEN, "failed", UNSEEN),)}
    paper = Work("x", "article", (f"Doe, {UNSEEN}",), UNSEEN, UNSEEN, 2020)
    told = dataclasses.replace(study(UNSEEN), works=(paper,))
    html = write_report(page_of(told, evidence(**made)), tmp_path).read_text(encoding="utf-8")
    checked(html)
    assert html.count(r"a\u202eb\x1b[2J\x00\udcff\u2066\u200f\x85\u2028c") > 10
    for path in tmp_path.rglob("*"):
        if path.suffix in (".html", ".svg", ".tex", ".bib"):
            text = path.read_bytes().decode("utf-8")
            unseen = {letter for letter in text if not letter.isprintable()} - set(
                "\n\N{NO-BREAK SPACE}\N{WORD JOINER}"
            )
            assert not unseen, (path.name, unseen)
            assert "u202eb" in text or path.name == "nothing.tex"
    assert read_tables(tmp_path / "tables").made.data == UNSEEN.replace("\udcff", r"\udcff")


def test_typographic_spaces_backslashes_and_line_ends_of_a_page_stay():
    assert typeset("a\N{NO-BREAK SPACE}b\N{NARROW NO-BREAK SPACE}c\\d\n\te é日") == (
        "a\N{NO-BREAK SPACE}b\N{NARROW NO-BREAK SPACE}c\\d\n\te é日"
    )


def test_parts_that_do_not_fit_are_errors_that_name_them():
    with pytest.raises(MetaprobeError, match="2 cells where the header has 1"):
        PageTable("t", "", ("A",), ((Cell("x"), Cell("y")),))
    with pytest.raises(MetaprobeError, match="lower-case words"):
        Section("../x", "")
    table = PageTable("t", "", ("A",), ((Cell("x"),),))
    with pytest.raises(MetaprobeError, match="'t' is used twice"):
        small_page(sections=(Section("s", "S", blocks=(table,), details=(table,)),))
    with pytest.raises(MetaprobeError, match="the name 'cite' is used twice"):
        small_page(sections=(Section("cite", "S"),))
    lost = dataclasses.replace(study(), claims=lambda _: (claim("C1", above(40), evidence=("testz",)),))
    with pytest.raises(MetaprobeError, match=r"unknown evidence of claim C1 'testz'. Did you mean tests"):
        page_of(lost, evidence())


def test_a_command_is_set_word_by_word_so_that_options_are_not_broken_behind_their_hyphens():
    commands = ("metaprobe study x --capture-tasks 60", "# <more>")
    html = render(small_page(sections=(Section("made", "How", blocks=(Statement(commands, code=True),)),)))
    (code,) = re.findall(r"<pre><code>(<span>.*?)</code></pre>", html, re.DOTALL)
    assert "<span>--capture-tasks</span> <span>60</span>" in code
    assert re.sub("<[^>]+>", "", code) == "metaprobe study x --capture-tasks 60\n# &lt;more&gt;"


def test_the_contents_number_sections_and_what_is_missing_says_why():
    html = render(small_page(works=(PAPER,)))
    assert links_in(html)[:2] == [("#more", "More &amp; more"), ("#references", "References")]
    assert re.findall(r"<h2><span>(\d)</span> (.*?)</h2>", html) == [("1", "More &amp; more"), ("2", "References")]
    assert "No <code>rows</code>." in html


def test_what_failed_stands_first_and_settings_that_differ_apart_from_those_that_are_shared():
    configs = [(run, *told) for run, value in (("a", "all"), ("b", "head")) for told in (("at", value), ("steps", "5"))]
    made = dataclasses.replace(MADE, configs=tuple(configs), missing=(("timing", "failed", "no clock"),))
    section = made_section(made)
    assert section.blocks[0].name == "missing-steps" and section.blocks[0].rows[0][1].mark == "bad"
    told = {table.name: [[cell.text for cell in line] for line in table.rows] for table in section.details}
    assert told == {"settings": [["a", "all"], ["b", "head"]], "shared-settings": [["steps", "5"]]}
    html = render(page_of(study(), Evidence(Table(), made)))
    assert html.index("Steps that failed") < html.index('id="claims"') and "<b>Tests: not measured.</b>" in html
    checked(html)


def test_latex_escapes_what_it_would_obey_and_has_as_many_columns_in_every_line(report):
    assert escape(r"5 % a_b & $x^2$ \i{x}") == r"5 \% a\_b \& \$x\textasciicircum{}2\$ \textbackslash{}i\{x\}"
    assert escape("−1 ± 2") == r"$-$1 $\pm$ 2"
    for path in (report / "tables").glob("*.tex"):
        text = path.read_text(encoding="utf-8")
        columns = re.sub(r">\{.*?\\linewidth\}", "p", re.findall(r"\\begin\{tabular\}\{(.*)\}", text)[0])
        body = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert body and {len(re.findall(r"(?<!\\)&", line)) for line in body} == {len(columns) - 1}, path.name
