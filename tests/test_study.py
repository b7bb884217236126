"""The raghu2020 study end to end on tiny runs: what it writes, what it measures again, what its page must not say."""

import dataclasses
import hashlib
import html
import re
import shutil

import pytest
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from safetensors.torch import load_file

from analyses.table import Table
from probe.cli import main
from reports.studies import Preset
from reports.studies.raghu2020 import measurements, work
from reports.studies.request import train_command
from tests.study_runs import (
    MEASUREMENTS,
    REQUEST,
    STUDY,
    files_of,
    page_of,
    refuse,
    run_config,
    study,
    trained,
    working_in,
    write_pictures,
)
from trainers.checkpoint import load_checkpoint
from trainers.errors import MetaprobeError
from trainers.run import CHECKPOINT_NAMES, RunFolder

CLAIMS = tuple(f"R{number}" for number in range(1, 14))
BODIES = ("nil", "multiclass", "multitask", "random")
ADAPTING = ("maml-seed0", "anil-seed0")
ALL = hashlib.sha256(b"maml0+anil0+nil0+multiclass0+multitask0+random0").hexdigest()[:6]
RUNS = (*ADAPTING, *(f"{body}-seed0" for body in BODIES), *(f"maml_head-{body}-seed0" for body in BODIES))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with pictures in class folders and the study made in `first` from there."""
    base = tmp_path_factory.mktemp("study")
    write_pictures(base)
    with working_in(base):
        assert study("--out", "first") == 0
    return base


def test_a_study_leaves_a_page_its_tables_and_figures_and_the_runs_behind_them(place):
    names = {str(name) for name in files_of(place / "first")}
    assert {"report.html", "tables/claims.csv", "tables/claims.tex", "tables/freezing.csv"} <= names
    figures = {name for name in names if name.startswith("figures/")}
    assert {name.replace(".svg", ".pdf") for name in figures if name.endswith(".svg")} <= figures
    assert len(figures) >= 8
    stages = ("third", "two-thirds", "last")
    staged = " ".join(f"freezing-{stage} similarity-{stage}-of-0" for stage in stages)
    tables = {
        "maml-seed0": f"accuracy distance {staged} pairs-{ALL} timing",
        "anil-seed0": "accuracy distance freezing-last similarity-last-of-0",
    } | {run: "accuracy freezing-last" for run in RUNS if run.startswith("maml_head")}
    assert {name.partition("/")[0] for name in names if "/checkpoints/" in name} == set(RUNS)
    for run in RUNS:
        assert {f"{run}/checkpoints/{name}.safetensors" for name in CHECKPOINT_NAMES} <= names
        found = {name for name in names if name.startswith(f"{run}/measured/")}
        wanted = tables.get(run, "accuracy").split()
        notes = {f"{run}/measured/capture-{path.stem}.json" for path in (place / "first" / run).glob("captures/*")}
        assert found == notes | {f"{run}/measured/{table}.{kind}" for table in wanted for kind in ("csv", "json")}


def test_every_run_is_trained_as_asked_for(place):
    for run in ADAPTING:
        assert RunFolder(place / "first" / run).read_config() == run_config(run.partition("-")[0])
    for body in BODIES:
        config = RunFolder(place / "first" / f"{body}-seed0").read_config()
        assert config == run_config(body, iterations=1 if body == "random" else 3)
        head = RunFolder(place / "first" / f"maml_head-{body}-seed0")
        base = RunFolder(place / "first" / f"{body}-seed0").checkpoint("last")
        assert head.read_config().base == str(base.relative_to(place))
        assert head.read_config() == run_config("maml_head", iterations=2, base=head.read_config().base)
        last, trained_on = load_checkpoint(head.checkpoint("last")), load_checkpoint(base)
        assert last.provenance["base"] == trained_on.fingerprint
        kept = [name for name, value in last.params.items() if (value == trained_on.params[name]).all()]
        assert kept == [name for name in last.params if not name.startswith("head.")]


def test_a_study_leaves_captures_and_nothing_half_written(place):
    names = {str(name) for name in files_of(place / "first")}
    assert {f"maml-seed0/captures/{stage}.h5" for stage in ("third", "two-thirds", "last")} <= names
    assert {f"{run}-seed0/captures/last.h5" for run in ("anil", *BODIES)} <= names
    assert not [name for name in names if name.endswith(".part")]


def test_the_page_answers_every_claim_and_says_what_made_it(place):
    page = page_of(place / "first")
    for claim in CLAIMS:
        assert re.search(rf">\s*{claim}\b", page), claim
    assert REQUEST.command("raghu2020") in html.unescape(page)
    for run in RUNS:
        for name in CHECKPOINT_NAMES if run in ADAPTING else ("last",):
            path = RunFolder(place / "first" / run).checkpoint(name)
            assert load_checkpoint(path).fingerprint in page


def test_numbers_on_the_page_come_from_the_runs(place):
    """The rows behind the page's figures are those that the runs measured, to the last digit."""
    measured = Table.read_csv(place / "first" / "maml-seed0" / "measured" / "freezing-last.csv").rows
    shown = Table.read_csv(place / "first" / "tables" / "freezing.csv").rows
    compared = [row for row in measured if row.measure in ("accuracy", "accuracy_difference") and row.task is None]
    assert {bare(row) for row in compared} <= {bare(row) for row in shown}
    known = {
        load_checkpoint(RunFolder(place / "first" / run).checkpoint(name)).fingerprint[:12]
        for run in RUNS
        for name in CHECKPOINT_NAMES
    }
    for path in (place / "first" / "tables").glob("*.csv"):
        if path.stem != "claims":  # which has columns of its own
            rows = Table.read_csv(path).rows
            assert rows, path
            assert {row.checkpoint for row in rows} <= known | {None}
            assert not [row for row in rows if row.task is not None]


def bare(row):
    return dataclasses.replace(row, frozen=row.frozen or None)


def test_the_pages_tables_tell_nothing_frozen_from_not_applicable(place):
    shown = Table.read_csv(place / "first" / "tables" / "freezing.csv").rows
    assert "" in {row.frozen for row in shown if row.measure == "accuracy"}


def test_the_page_names_no_place_on_this_machine_and_loads_nothing(place):
    assert "nil-seed0/checkpoints/last.safetensors" in page_of(place / "first")  # the base of a head
    for path in [place / "first" / "report.html", *(place / "first" / "tables").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert str(place) not in text
        assert not re.search(r"(?<![\w<.])/(tmp|home|root|work|usr|var|private)/", text), path
    page = re.sub(r'xmlns(:\w+)?="[^"]+"', "", page_of(place / "first"))
    assert not re.search(r"(?i)https?:|//cdn|@import|<script|<link|url\((?!#)", page)


def test_interrupted_and_resumed_in_another_folder_it_gives_the_same_bytes(place):
    with working_in(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "similarity_over_seeds", interrupted)
        assert study("--out", "other/second") == 130
        assert not (place / "other" / "second" / "report.html").exists()
        patch.undo()
        patch.chdir(place)
        patch.setenv("METAPROBE_CACHE", str(place / "cache"))
        patch.setattr(measurements, "freeze", refuse)  # measured before the interruption, so read
        assert study("--out", "other/second") == 0
    first, second = files_of(place / "first"), files_of(place / "other" / "second")
    assert list(first) == list(second)
    for name in first:
        if name.parts[0].startswith("maml_head-") and name.name == "config.toml":  # tells where the body lies
            first_config, config = (RunFolder(files[name].parent).read_config() for files in (first, second))
            assert dataclasses.replace(first_config, base=config.base) == config
        elif name.parts[0].startswith("maml_head-") and name.suffix == ".safetensors":  # holds the config
            assert load_file(first[name]).keys() == load_file(second[name]).keys()
            assert all((value == load_file(second[name])[key]).all() for key, value in load_file(first[name]).items())
        elif name.name != "metrics.jsonl":  # holds seconds
            assert first[name].read_bytes() == second[name].read_bytes(), name


def test_a_second_call_trains_and_measures_nothing_anew(place, monkeypatch):
    before = {name: path.read_bytes() for name, path in files_of(place / "first").items()}
    for name in MEASUREMENTS:
        monkeypatch.setattr(measurements, name, refuse)
    monkeypatch.setattr("trainers.executor.Executor.gradient", refuse)
    with working_in(place):
        assert study("--out", "first") == 0
    assert {name: path.read_bytes() for name, path in files_of(place / "first").items()} == before


def interrupted(*_, **__):
    raise KeyboardInterrupt


# --- reports of its runs ---


@pytest.fixture
def small(monkeypatch):
    """Reports measure as much as the full preset says; here it is little."""
    monkeypatch.setitem(STUDY.presets, "full", Preset(iterations=3, seeds=1, tasks=4, capture_tasks=3, val_tasks=2))
    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", lambda *_, **__: None)  # half of the time, and not looked at


def test_a_report_of_the_studys_runs_reads_what_was_measured(place, small, monkeypatch):
    before = {name: path.stat().st_mtime_ns for name, path in files_of(place / "first").items()}
    for name in MEASUREMENTS:
        monkeypatch.setattr(measurements, name, refuse)
    with working_in(place):
        assert main(["report", *(f"first/{run}" for run in reversed(RUNS)), "--out", "page/runs.html"]) == 0
    for path in (place / "first" / "tables").glob("*.csv"):
        shown, wanted = ((place / where / "tables" / path.name).read_text().splitlines() for where in ("page", "first"))
        assert sorted(shown) == sorted(wanted), path
    assert "metaprobe report" in (place / "page" / "runs.html").read_text(encoding="utf-8")
    assert {name: path.stat().st_mtime_ns for name, path in files_of(place / "first").items()} == before


def test_a_report_may_be_written_into_a_runs_folder(place, small, tmp_path):
    shutil.copytree(place / "first", tmp_path / "first")
    runs = [str(tmp_path / "first" / run) for run in ADAPTING]
    tables = files_of(tmp_path / "first" / "maml-seed0" / "measured")
    before = {name: path.read_bytes() for name, path in tables.items()}
    with working_in(place), pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            assert main(["report", *runs, "--out", f"{runs[0]}/report.html"]) == 0
            for name in MEASUREMENTS:
                patch.setattr(measurements, name, refuse)
    assert {name: path.read_bytes() for name, path in tables.items()} == before


def test_a_report_prints_the_commands_that_make_it_again(place, small):
    with working_in(place):
        assert main(["report", *(f"first/{run}" for run in RUNS), "--out", "again/runs.html"]) == 0
    page = html.unescape((place / "again" / "runs.html").read_text(encoding="utf-8"))
    for name in RUNS:
        config = RunFolder(place / "first" / name).read_config()
        if config.base is not None:
            config = dataclasses.replace(config, base=config.base.removeprefix("first/"))
        assert train_command(config, name) in page
        assert trained(train_command(config, name)) == (config, name)
    assert f"metaprobe report {' '.join(RUNS)} --out runs.html\n" in re.sub(r"<[^>]+>", "", page)
    assert "seen from the folder in which the command is given" in page


def test_as_many_tasks_as_are_measured_on_every_run_or_as_asked_for(place, tmp_path, monkeypatch):
    plans = []

    def stop(runs, plan, trained):
        plans.append((plan.tasks, plan.capture_tasks, plan.head_steps))
        raise MetaprobeError("stop")

    monkeypatch.setattr(work, "measuring", stop)
    shutil.copytree(place / "first", tmp_path / "first")
    runs = [str(tmp_path / "first" / run) for run in ADAPTING]
    with working_in(place):
        for more in ((), ("--tasks", "7"), ("--capture-tasks", "9"), ("--tasks", "0")):
            assert main(["report", *runs, "--out", str(tmp_path / "page.html"), *more]) == 2
        (tmp_path / "first" / "anil-seed0" / "measured" / "accuracy.json").unlink()
        assert main(["report", *runs, "--out", str(tmp_path / "page.html")]) == 2
    full = STUDY.presets["full"]
    assert plans == [(4, 3, (2,)), (7, 3, (2,)), (4, 9, (2,)), (full.tasks, full.capture_tasks, full.head_steps)]


# --- what is lost or fails ---


@pytest.mark.parametrize("how", ["report", "study"])
@pytest.mark.parametrize("fate", ["is missing", "has changed since"])
def test_a_store_that_is_gone_is_named_and_the_page_does_not_shrink(place, tmp_path, capsys, how, fate):
    shutil.copytree(place / "first", tmp_path / "first")
    store = tmp_path / "first" / "anil-seed0" / "captures" / "last.h5"
    store.unlink() if fate == "is missing" else store.write_bytes(b"other")
    page = tmp_path / "first" / "report.html"
    page.unlink()
    with working_in(place):
        if how == "study":
            assert study("--out", str(tmp_path / "first")) == 3
        else:
            runs = [str(tmp_path / "first" / run) for run in RUNS]
            assert main(["report", *runs, "--out", str(page)]) == 3
    told = capsys.readouterr().err
    assert "anil-seed0/captures/last.h5" in told
    assert fate in told
    assert "capture-last.json too, to capture and measure again" in told
    assert not page.exists()


def test_a_step_that_fails_stands_on_the_page_and_the_rest_goes_on(place, tmp_path, capsys, monkeypatch):
    shutil.copytree(place / "first", tmp_path / "first")
    (tmp_path / "first" / "anil-seed0" / "measured" / "distance.json").unlink()
    with working_in(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "weight_distance", broken)
        assert study("--out", str(tmp_path / "first")) == 1
        assert "failed: distance of anil-seed0: ZeroDivisionError: by nothing" in capsys.readouterr().err
        trace = tmp_path / "first" / "failures" / "distance-of-anil-seed0.txt"
        assert "in broken" in trace.read_text()
        assert "ZeroDivisionError: by nothing" in page_of(tmp_path / "first")
        patch.undo()
    with working_in(place):
        assert study("--out", str(tmp_path / "first")) == 0
    assert page_of(tmp_path / "first") == page_of(place / "first")


def broken(*_, **__):
    raise ZeroDivisionError("by nothing")


def test_the_numbers_do_not_depend_on_the_number_of_jobs(place):
    with working_in(place):
        assert study("--out", "jobs", "--jobs", "2") == 0
    for path in (place / "first" / "tables").glob("*.csv"):
        if path.stem not in ("claims", "timing"):
            one, two = (Table.read_csv(place / out / "tables" / path.name).rows for out in ("first", "jobs"))
            assert [unsourced(row) for row in one] == [unsourced(row) for row in two], path


def unsourced(row):
    """A store's hash names the number of threads that its run had."""
    return dataclasses.replace(row, source=None)


def test_a_dry_run_prints_the_plan_and_does_nothing(place, tmp_path, capsys):
    with working_in(place):
        assert study("--out", str(tmp_path / "new"), "--dry-run") == 0
        new = capsys.readouterr().out
        assert study("--out", "first", "--dry-run") == 0
        old = capsys.readouterr().out
    assert not (tmp_path / "new").exists()
    lines = dict(line.split("\t")[:2] for line in new.splitlines() if line.count("\t") == 2)
    assert {"train maml-seed0", "capture maml-seed0 at last", f"pairs at {ALL} of maml-seed0"} <= set(lines)
    assert {state for step, state in lines.items() if step != "step"} == {"to do"}
    assert "minutes, about" in new
    assert "\tto do\t" not in old
