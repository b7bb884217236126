"""Studies end to end on tiny options: what they leave, what they do again, what becomes of what is lost or fails."""

import contextlib
import dataclasses
import html
import re
import shutil

import pytest

from metaprobe.analyses.clustering.bound import bound_terms
from metaprobe.analyses.clustering.embedding import EmbeddingPlan, embedding
from metaprobe.analyses.clustering.task_optimum import OptimumSearch
from metaprobe.analyses.measurements import KINDS
from metaprobe.analyses.table import Table
from metaprobe.probe.cli import main
from metaprobe.reports.registry import STUDIES
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.run import RunFolder
from tests.page_checks import commands_of
from tests.tiny_study import (
    THIRD,
    TINY,
    ask,
    files_of,
    made_once,
    make_third,
    without_pdf,
    working_in,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with pictures in class folders, and the third study made in it."""
    base = tmp_path_factory.mktemp("studies")
    shutil.copytree(made_once(tmp_path_factory, "third", make_third), base, dirs_exist_ok=True)
    return base


@contextlib.contextmanager
def asking(base, name):
    """Work in a folder on a study of the registry, of which what takes long is made short."""
    few = EmbeddingPlan(perplexity=9, methods=("pca", "tsne"))  # UMAP compiles itself for seconds
    quick = {
        "embedding": lambda on: embedding(on.checkpoint, on.data, on.plan, embed_plan=few),
        "bound": lambda on: bound_terms(on.checkpoint, on.data, on.plan, OptimumSearch(8, 2)),
    }
    with working_in(base) as patch:
        for kind, function in quick.items():
            patch.setitem(KINDS, kind, dataclasses.replace(KINDS[kind], function=function))
        if name != "third":
            without_pdf(patch)
        yield


@pytest.fixture(scope="module", params=TINY)
def name(request, place, tmp_path_factory):
    """A study, made in the folder of its name."""

    def make(base):
        with asking(base, request.param):
            assert ask(request.param, "--out", request.param) == 0

    if not (place / request.param).exists():
        made = made_once(tmp_path_factory, request.param + "-study", make)
        shutil.copytree(made / request.param, place / request.param)
    with asking(place, request.param):
        yield request.param


def claims_of(name):
    return {"third": range(1, 4), "raghu2020": range(1, 14), "zhou2021": range(1, 11), "arnold2021": range(1, 12),
            "antoniou2019": range(1, 6)}[name]  # fmt: skip


def test_a_study_leaves_a_page_its_tables_and_figures_and_the_runs_behind_them(place, name):
    names = set(files_of(place / name))
    assert {"report.html", "references.bib", "tables/made.json", "tables/claims.csv", "tables/claims.tex"} <= names
    drawn = {found for found in names if re.fullmatch(r"figures/.*\.svg", found)}
    assert drawn and {found.replace(".svg", ".pdf") for found in drawn} <= names
    assert not [found for found in names if found.endswith(".part") or found.startswith("failures")]
    page = (place / name / "report.html").read_text(encoding="utf-8")
    letter = {"antoniou2019": "M"}.get(name, name[0].upper())
    for number in claims_of(name):
        assert re.search(rf">\s*{letter}{number}\b", page), number
    assert f"metaprobe study {name} --data" in commands_of(place / name / "report.html")
    assert "@" in (place / name / "references.bib").read_text()


# Of what tiny studies cannot have: the reason is on the page.
LACKING = {"raghu2020": {"Similarity across seeds, before and after adaptation"}}


def test_the_page_shows_all_that_the_study_measures(place, name):
    page = html.unescape((place / name / "report.html").read_text(encoding="utf-8"))
    assert set(re.findall(r'class="missing"><b>(.*?): not measured', page)) == LACKING.get(name, set())


def test_every_number_is_of_a_checkpoint_of_the_study_and_none_of_a_single_task(place, name):
    last = {path.name: path for path in (place / name).glob("*-seed0")}
    known = {load_checkpoint(path).fingerprint for path in (place / name).glob("*/checkpoints/*.safetensors")
             if "resume" not in path.name}  # fmt: skip
    page = (place / name / "report.html").read_text(encoding="utf-8")
    assert all(load_checkpoint(RunFolder(path).checkpoint("last")).fingerprint in page for path in last.values())
    for path in (place / name / "tables").glob("*.csv"):
        if path.stem != "claims":  # which has columns of its own
            ids = {row.checkpoint for row in Table.read_csv(path).rows} - {None}
            assert ids <= {fingerprint[:12] for fingerprint in known}, path


def test_the_page_names_no_place_on_this_machine_and_loads_nothing(place, name):
    for path in [place / name / "report.html", *(place / name / "tables").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert str(place) not in text
        assert not re.search(r"(?<![\w<.])/(tmp|home|root|work|usr|var|private)/", text), path
    page = re.sub(r'xmlns(:\w+)?="[^"]+"', "", (place / name / "report.html").read_text(encoding="utf-8"))
    assert not re.search(r"(?i)https?:|//cdn|@import|<script|<link|url\((?!#)", page)


def test_learners_that_begin_with_another_begin_with_its_last_checkpoint(place, name):
    study = STUDIES.get(name, THIRD)
    learners = {learner.key: learner for learner in study.learners(study.preset("quick"))}
    for learner in learners.values():
        folder = place / name / f"{learner.folder or learner.algorithm}-seed0"
        if learner.base and folder.exists():
            base = learners[learner.base]
            body = RunFolder(place / name / f"{base.folder or base.algorithm}-seed0").checkpoint("last")
            found = load_checkpoint(RunFolder(folder).checkpoint("last"))
            assert found.provenance["base"] == load_checkpoint(body).fingerprint


def test_a_second_call_does_nothing_and_writes_the_same(place, name, capsys):
    before = {found: path.read_bytes() for found, path in files_of(place / name).items()}
    assert ask(name, "--out", name, "--dry-run") == 0
    states = dict(line.split("\t") for line in capsys.readouterr().out.splitlines() if line.count("\t") == 1)
    assert "to do" not in states.values() and states["steps to do"] == "0"
    assert ask(name, "--out", name) == 0
    assert {found: path.read_bytes() for found, path in files_of(place / name).items()} == before


def test_a_page_is_made_from_its_tables_alone(place, name, capsys):
    assert main(["report", "--from-tables", f"{name}/tables", "--out", f"again-{name}/report.html"]) == 0
    assert "report: " in capsys.readouterr().out
    again, first = (files_of(place / folder) for folder in (f"again-{name}", name))
    for found in again:
        one, other = (files[found].read_bytes() for files in (first, again))
        assert one == other or sorted(one.splitlines()) == sorted(other.splitlines()), found  # rows in another order
