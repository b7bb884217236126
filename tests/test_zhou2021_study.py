"""The zhou2021 study end to end on tiny runs, and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import html
import re

import pytest
from matplotlib.backends.backend_pdf import FigureCanvasPdf

import trainers.tasks
from analyses.clustering.embedding import EmbeddingPlan
from analyses.clustering.task_optimum import OptimumSearch
from analyses.table import Table
from probe.cli import main
from reports.studies import StudyRequest, study_named
from reports.studies.running import run_study
from reports.studies.zhou2021 import measurements
from reports.studies.zhou2021.study import ZHOU2021, configs_of
from tests.conftest import make_imageset
from trainers.checkpoint import load_checkpoint
from trainers.errors import MetaprobeError
from trainers.run import RunFolder
from trainers.tasks.mixture import mix

DATA = mix([(name, make_imageset(n_classes=9, per_class=18, size=8, seed=i)) for i, name in enumerate("abc")])
REQUEST = StudyRequest(
    data="mixture:a,b,c", iterations=2, seeds=1, tasks=3, capture_tasks=11, val_tasks=2, n_way=2, n_query=2, n_shot=1,
    inner_steps=1, meta_batch=2, more_iterations=2, group_tasks=4, cluster_tasks=12, sweep="2,1", filters=4,
)  # fmt: skip
RUNS = ("maml-seed0", "tsa_maml-m2-seed0", "tsa_maml-m1-seed0", "maml-large-seed0")
MEASUREMENTS = ("task_accuracies", "agreement", "embedding", "step_curves", "bound_terms")


def made(request, folder):
    """Make the study; every step must end well."""
    page, results = run_study(ZHOU2021, request, folder, None, False)
    assert not results.missing()
    return page


def refuse(*_, **__):
    raise AssertionError("measured or trained again")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a tiny study."""
    folder = tmp_path_factory.mktemp("zhou") / "study"
    few = functools.partial(measurements.embedding, embed_plan=EmbeddingPlan(perplexity=9, methods=("pca", "tsne")))
    with pytest.MonkeyPatch.context() as patch:  # UMAP compiles itself for seconds, and is tested with the embeddings
        patch.setattr(measurements, "embedding", few)
        patch.setattr(
            measurements, "bound_terms", functools.partial(measurements.bound_terms, search=OptimumSearch(8, 2))
        )
        patch.setattr(trainers.tasks, "load_for", lambda *_, **__: DATA)
        patch.setattr(FigureCanvasPdf, "print_pdf", lambda *_, **__: None)  # half of the time, and not looked at
        assert made(REQUEST, folder) == folder / "report.html"
    return folder


def test_the_study_is_in_the_registry():
    assert study_named("zhou2021") is ZHOU2021
    assert ZHOU2021.presets["full"].sweep == (3, 1, 2, 5, 8, 11, 15)


def test_a_study_leaves_a_page_tables_figures_and_runs(out):
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {f"{run}/checkpoints/last.safetensors" for run in RUNS} <= names
    assert {"report.html", "tables/claims.csv", "tables/claims.tex", "tables/accuracy.csv"} <= names
    assert {f"figures/{name}.svg" for name in ("usage-heatmap", "embeddings", "step-curves")} <= names
    found = {name for name in names if name.startswith("tsa_maml-m2-seed0/measured/") and name.endswith(".csv")}
    assert {name.rpartition("/")[2] for name in found} == {
        f"{table}.csv" for table in ("accuracy", "steps", "clusters", "embedding", "bound")
    }
    assert not [name for name in names if name.endswith(".part")]


def test_every_learner_starts_where_it_should(out):
    base = load_checkpoint(RunFolder(out / "maml-seed0").checkpoint("last"))
    for name in RUNS[1:3]:
        config = RunFolder(out / name).read_config()
        last = load_checkpoint(RunFolder(out / name).checkpoint("last"))
        assert (config.algorithm, config.iterations, config.cluster_tasks) == ("tsa_maml", 2, 12)
        assert last.provenance["base"] == base.fingerprint
        assert last.clusters is not None and last.clusters.count == config.clusters
    large = load_checkpoint(RunFolder(out / "maml-large-seed0").checkpoint("last"))
    assert (large.network_config.filters, large.network_config.blocks, large.iteration) == (6, 6, 4)


def test_a_maml_run_of_just_that_config_is_taken_as_the_base(tmp_path):
    request = REQUEST.of(ZHOU2021)
    amount = request.amount(ZHOU2021)
    runs = configs_of(request, amount, 0, tmp_path)
    assert list(runs) == ["base", "m2", "m1", "large"]
    assert runs["base"] == (tmp_path / "maml-seed0", request.run_config(amount, "maml", 0))


def test_the_page_answers_every_claim_and_names_no_place_on_this_machine(out):
    page = (out / "report.html").read_text(encoding="utf-8")
    for claim in ("Z1", "Z2", "Z3", "Z4", "Z5", "Z6", "Z7", "Z8", "Z9", "Z10"):
        assert re.search(rf">\s*{claim}\b", page), claim
    assert "metaprobe study zhou2021 --data mixture:a,b,c" in html.unescape(page)
    assert "maml-seed0/checkpoints/last.safetensors" in page
    assert str(out) not in page
    for path in (out / "tables").iterdir():
        assert str(out) not in path.read_text(encoding="utf-8")


def test_rows_behind_the_page_are_those_measured_and_gains_are_of_the_same_tasks(out):
    shown = Table.read_csv(out / "tables" / "accuracy.csv").rows
    single = {
        run: [row for row in Table.read_csv(out / run / "measured" / "accuracy.csv").rows if row.task is not None]
        for run in RUNS
    }
    for run in RUNS:
        whole = [row for row in Table.read_csv(out / run / "measured" / "accuracy.csv").rows if row.task is None]
        assert {dataclasses.replace(row, frozen=row.frozen or None) for row in whole} <= {
            dataclasses.replace(row, frozen=row.frozen or None) for row in shown
        }
        assert {row.group for row in single[run]} == {"a", "b", "c", None}
    ours, base = single["tsa_maml-m2-seed0"], single["maml-seed0"]
    gain = next(
        row
        for row in shown
        if row.measure == "accuracy_gain_over_base" and row.checkpoint == ours[0].checkpoint and row.group == "b"
    )
    differences = [mine.value - other.value for mine, other in zip(ours, base, strict=True) if mine.group == "b"]
    assert gain.value == pytest.approx(sum(differences) / 3)


def test_a_second_call_trains_and_measures_nothing_anew(out, monkeypatch):
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    monkeypatch.setattr(trainers.tasks, "load_for", lambda *_, **__: DATA)
    monkeypatch.setattr("trainers.executor.Executor.gradient", refuse)
    for name in MEASUREMENTS:
        monkeypatch.setattr(measurements, name, refuse)
    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", lambda *_, **__: None)
    made(REQUEST, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_another_number_of_tasks_is_measured_anew(out, monkeypatch):
    monkeypatch.setattr(trainers.tasks, "load_for", lambda *_, **__: DATA)
    monkeypatch.setattr(measurements, "task_accuracies", refuse)
    _, results = run_study(ZHOU2021, dataclasses.replace(REQUEST, tasks=4), out, None, False)
    assert {name for name, _ in results.missing()} == {f"accuracy of {run}" for run in RUNS}
    assert "measured or trained again" in results.missing()[0][1].reason


# --- what it refuses ---


def test_data_of_one_domain_are_refused_before_anything_is_trained(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trainers.tasks, "load_for", lambda *_, **__: make_imageset())
    assert main(["study", "zhou2021", "--data", "glyphs", "--iterations", "1", "--out", str(tmp_path / "out")]) == 2
    assert "is about tasks from several domains; glyphs is of one. Give --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sweep_that_begins_with_one_initialisation_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(trainers.tasks, "load_for", lambda *_, **__: DATA)
    with pytest.raises(MetaprobeError, match=r"--sweep 1,3: the first number of clusters .* must be at least 2"):
        made(dataclasses.replace(REQUEST, sweep="1,3"), tmp_path)
