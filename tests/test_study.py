"""The raghu2020 study end to end on tiny runs: what it writes, what it measures again, what its page must not say."""

import contextlib
import dataclasses
import html
import re
import shlex
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from PIL import Image

from analyses.table import COLUMNS, Table
from probe.cli import main
from reports.studies import PRESETS, STUDIES, Preset, StudyRequest, measurements, study_named
from reports.studies.measurements import Plan, learning_curves, measure_run
from reports.studies.runs import run_labels
from reports.studies.study import train_command
from tests.conftest import make_imageset
from tests.test_training import tiny
from trainers.checkpoint import load_checkpoint, save_checkpoint
from trainers.config import TrainConfig
from trainers.errors import MetaprobeError
from trainers.outer_loop import train
from trainers.run import CHECKPOINT_NAMES, RunFolder

REQUEST = StudyRequest(
    data="class_folder:pictures", iterations=3, seeds=1, tasks=4, capture_tasks=3, val_tasks=2, n_way=3, n_query=2,
    inner_steps=1, meta_batch=2,
)  # fmt: skip
CLAIMS = ("R1", "R2", "R3", "R4", "R5", "R9")
IMAGESET = make_imageset(n_classes=12, per_class=18, size=8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder to work in, with pictures in class folders and the study made in `first` from there."""
    base = tmp_path_factory.mktemp("study")
    for class_id, name in enumerate(IMAGESET.class_names):
        folder = base / "pictures" / name
        folder.mkdir(parents=True)
        with open(base / "pictures" / f"{IMAGESET.splits[class_id]}.txt", "a", encoding="utf-8") as names:
            names.write(name + "\n")
        for number, image in enumerate(IMAGESET.images_of(class_id)):
            Image.fromarray(IMAGESET.images[image, 0]).save(folder / f"{number}.png")
    with working_in(base):
        assert study("--out", "first") == 0
    return base


@contextlib.contextmanager
def working_in(base):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(base)
        patch.setenv("METAPROBE_CACHE", str(base / "cache"))
        yield


def study(*more):
    return main([*shlex.split(REQUEST.command("raghu2020"))[1:], *more])


def files_of(folder):
    return {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}


def page_of(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_a_study_leaves_a_page_its_tables_and_figures_and_the_runs_behind_them(place):
    names = {str(name) for name in files_of(place / "first")}
    assert {"report.html", "tables/claims.csv", "tables/claims.tex", "tables/freezing.csv"} <= names
    figures = {name for name in names if name.startswith("figures/")}
    assert {name.replace(".svg", ".pdf") for name in figures if name.endswith(".svg")} <= figures
    assert len(figures) >= 8
    for run, tables in (("maml-seed0", "accuracy distance freezing similarity"), ("anil-seed0", "accuracy distance")):
        assert {f"{run}/checkpoints/{name}.safetensors" for name in CHECKPOINT_NAMES} <= names
        found = {name for name in names if name.startswith(f"{run}/measured/")}
        assert found == {f"{run}/measured/{table}.{kind}" for table in tables.split() for kind in ("csv", "json")}
        assert RunFolder(place / "first" / run).read_config() == REQUEST.run_config(run.partition("-")[0], 0)
    assert {f"maml-seed0/captures/{stage}.h5" for stage in ("third", "two-thirds", "last")} <= names
    assert not [name for name in names if name.endswith(".part")]


def test_the_page_answers_every_claim_and_says_what_made_it(place):
    page = page_of(place / "first")
    for claim in CLAIMS:
        assert re.search(rf">\s*{claim}\b", page), claim
    assert REQUEST.command("raghu2020") in html.unescape(page)
    for run in ("maml-seed0", "anil-seed0"):
        for name in CHECKPOINT_NAMES:
            path = RunFolder(place / "first" / run).checkpoint(name)
            assert load_checkpoint(path).fingerprint in page


def test_numbers_on_the_page_come_from_the_runs(place):
    """The rows behind the page's figures are those that the runs measured, to the last digit."""
    measured = Table.read_csv(place / "first" / "maml-seed0" / "measured" / "freezing.csv").rows
    shown = Table.read_csv(place / "first" / "tables" / "freezing.csv").rows
    compared = [row for row in measured if row.measure in ("accuracy", "accuracy_difference")]
    assert {bare(row) for row in compared} <= {bare(row) for row in shown}
    known = {
        load_checkpoint(RunFolder(place / "first" / run).checkpoint(name)).fingerprint[:12]
        for run in ("maml-seed0", "anil-seed0")
        for name in CHECKPOINT_NAMES
    }
    for path in (place / "first" / "tables").glob("*.csv"):
        if path.stem != "claims":  # which has columns of its own
            rows = Table.read_csv(path).rows
            assert rows, path
            assert {row.checkpoint for row in rows} <= known | {None}


def bare(row):
    return dataclasses.replace(row, frozen=row.frozen or None)


def test_the_pages_tables_tell_nothing_frozen_from_not_applicable(place):
    shown = Table.read_csv(place / "first" / "tables" / "freezing.csv").rows
    assert "" in {row.frozen for row in shown if row.measure == "accuracy"}


def test_the_page_names_no_place_on_this_machine_and_loads_nothing(place):
    for path in [place / "first" / "report.html", *(place / "first" / "tables").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert str(place) not in text
        assert not re.search(r"(?<![\w<.])/(tmp|home|root|work|usr|var|private)/", text), path
    page = re.sub(r'xmlns(:\w+)?="[^"]+"', "", page_of(place / "first"))
    assert not re.search(r"(?i)https?:|//cdn|@import|<script|<link|url\((?!#)", page)


def test_interrupted_and_resumed_in_another_folder_it_gives_the_same_bytes(place):
    with working_in(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements, "similarity", interrupted)
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
        if name.name != "metrics.jsonl":  # holds seconds
            assert first[name].read_bytes() == second[name].read_bytes(), name


def interrupted(*_, **__):
    raise KeyboardInterrupt


def refuse(*_, **__):
    raise AssertionError("measured again")


# --- measuring one run ---

PLAN = Plan(tasks=3, capture_tasks=2, head_steps=(2,))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A MAML run, and the table of everything that is measured on it."""
    folder = RunFolder(tmp_path_factory.mktemp("measured") / "run")
    train(tiny(iterations=3, inner_steps=1), IMAGESET, folder.path)
    return folder, measure_run(folder, IMAGESET, PLAN)


@pytest.fixture
def run(measured, tmp_path):
    """A copy of that run, measured."""
    shutil.copytree(measured[0].path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def counted(monkeypatch):
    """Which measurements are made."""
    counts = set()

    def counting(name, function):
        def call(*arguments, **options):
            counts.add(name)
            return function(*arguments, **options)

        return call

    for name in ("accuracy_of", "freeze", "similarity", "weight_distance"):
        monkeypatch.setattr(measurements, name, counting(name, getattr(measurements, name)))
    return counts


EVERYTHING = {"accuracy_of", "freeze", "similarity", "weight_distance"}


def test_what_was_measured_is_read(measured, run, counted):
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == set()


def test_another_checkpoint_data_set_or_plan_is_measured_anew(measured, run, counted):
    last = load_checkpoint(run.checkpoint("last"))
    moved = {name: value + 0.01 for name, value in last.params.items()}
    save_checkpoint(run.checkpoint("last"), dataclasses.replace(last, params=moved))
    table = measure_run(run, IMAGESET, PLAN)
    assert counted == EVERYTHING
    ids = {row.checkpoint for row in table.rows if row.iteration == 3 and row.checkpoint}
    assert ids == {load_checkpoint(run.checkpoint("last")).fingerprint[:12]}
    assert ids.isdisjoint({row.checkpoint for row in measured[1].rows})
    counted.clear()
    assert measure_run(run, IMAGESET, PLAN) == table
    assert counted == set()
    measure_run(run, make_imageset(n_classes=12, per_class=18, size=8, seed=1), PLAN)
    assert counted == EVERYTHING
    counted.clear()
    measure_run(run, make_imageset(n_classes=12, per_class=18, size=8, seed=1), dataclasses.replace(PLAN, tasks=2))
    assert counted == EVERYTHING


@pytest.mark.parametrize("name", ["freeze", "similarity"])
def test_an_error_in_the_middle_costs_only_the_table_at_hand(measured, run, counted, monkeypatch, name):
    shutil.rmtree(run.path / "measured")
    shutil.rmtree(run.path / "captures")
    working, calls = getattr(measurements, name), []

    def breaks(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("disk full")
        return working(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(measurements, name, breaks)
        with pytest.raises(OSError, match="disk full"):
            measure_run(run, IMAGESET, PLAN)
    done = {path.stem for path in (run.path / "measured").glob("*.csv")}
    assert done == {"accuracy", "distance"} | ({"freezing"} if name == "similarity" else set())
    assert not list(run.path.rglob("*.part"))
    counted.clear()
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == {"similarity", name}


def test_a_table_without_its_note_is_not_trusted(measured, run, counted):
    (run.path / "measured" / "accuracy.csv").write_text("half a tab")
    (run.path / "measured" / "accuracy.json").unlink()
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == {"accuracy_of"}


def test_a_table_that_could_not_be_written_has_no_note(run, monkeypatch):
    shutil.rmtree(run.path / "measured")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Table, "write_csv", full)
    with pytest.raises(OSError, match="disk full"):
        measure_run(run, IMAGESET, PLAN)
    assert not list(run.path.glob("measured/*"))


@pytest.mark.parametrize("note", [b"\xff\xfe", b"{", b"[]", b"[" * 100_000])
def test_a_note_that_cannot_be_read_vouches_for_nothing(measured, run, counted, note):
    (run.path / "measured" / "distance.json").write_bytes(note)
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == {"weight_distance"}


@pytest.mark.parametrize("name", ["version", "COLUMNS", "TEST_QUERIES"])
def test_another_version_or_table_is_measured_anew(run, counted, monkeypatch, name):
    other = {"version": lambda _: "0.0", "COLUMNS": (*COLUMNS, "more"), "TEST_QUERIES": 2}
    monkeypatch.setattr(measurements, name, other[name])
    measure_run(run, IMAGESET, PLAN)
    assert counted == EVERYTHING


@pytest.mark.parametrize(("iterations", "stages"), [(1, {1}), (2, {1, 2})])
def test_a_very_short_run_is_measured_once_an_iteration(tmp_path, iterations, stages):
    folder = RunFolder(tmp_path)
    train(tiny(iterations=iterations, inner_steps=1), IMAGESET, tmp_path)
    table = measure_run(folder, IMAGESET, PLAN)
    assert {row.iteration for row in table.rows if row.measure == "linear_cka"} == stages
    assert len(set(table.rows)) == len(table.rows)
    assert {row.iteration for row in table.rows if row.inner_steps == 2 and row.algorithm == "maml"} == {iterations}


def test_a_table_that_was_changed_is_measured_anew(measured, run):
    path = run.path / "measured" / "accuracy.csv"
    Table(Table.read_csv(path).rows[:1]).write_csv(path)
    assert measure_run(run, IMAGESET, PLAN) == measured[1]


def test_learning_curves_have_a_point_a_validation_and_means_of_training_between(tmp_path):
    folder = RunFolder(tmp_path)
    folder.claim(tiny(iterations=5, val_every=2, seed=3, meta_batch=4, val_tasks=8))
    validated = {
        "val_iteration": 2,
        "val_loss": 0.75,
        "val_loss_half_width": 0.25,
        "val_accuracy": 60.0,
        "val_accuracy_half_width": 8.0,
    }
    for iteration in (1, 2, 3, 4, 5):
        record = {
            "iteration": iteration,
            "train_loss": 2.0**-iteration,
            "train_accuracy": 10.0 * iteration,
            "seconds": 0.5,
        }
        folder.append_metrics(record | (validated if iteration in (2, 4, 5) else {}))
    curves = learning_curves(folder)
    assert len(curves) == 12
    assert {(row.algorithm, row.seed, row.source) for row in curves.rows} == {("maml", 3, "metrics.jsonl")}
    train_loss = [(row.iteration, row.value, row.n) for row in curves.rows if row.measure == "train_loss"]
    assert train_loss == [(2, 0.375, 8), (4, 0.09375, 8), (5, 0.03125, 4)]
    accuracy = [(row.iteration, row.value) for row in curves.rows if row.measure == "train_accuracy"]
    assert accuracy == [(2, 15.0), (4, 35.0), (5, 50.0)]
    found = {(row.measure, row.value, row.low, row.high, row.n) for row in curves.rows if row.measure.startswith("val")}
    assert found == {("val_loss", 0.75, 0.5, 1.0, 8), ("val_accuracy", 60.0, 52.0, 68.0, 8)}


def test_everything_measured_is_one_table(measured):
    folder, table = measured
    assert table.rows[: len(learning_curves(folder))] == learning_curves(folder).rows
    wanted = {"train_loss", "val_accuracy", "accuracy", "accuracy_difference", "euclidean_distance", "linear_cka_null"}
    assert wanted <= {row.measure for row in table.rows}
    assert {row.iteration for row in table.rows if row.measure == "linear_cka"} == {1, 2, 3}
    assert {row.iteration for row in table.rows if row.measure == "euclidean_distance"} == {0, 1, 2, 3}
    assert {row.algorithm for row in table.rows if row.measure == "accuracy"} == {"maml", "random"}


# --- reports of runs ---


@pytest.fixture
def small(monkeypatch):
    """Reports measure as much as the full preset says; here it is little."""
    monkeypatch.setitem(PRESETS, "full", Preset(iterations=3, seeds=1, tasks=4, capture_tasks=3, val_tasks=2))
    monkeypatch.setattr(FigureCanvasPdf, "print_pdf", lambda *_, **__: None)  # half of the time, and not looked at


def test_a_report_of_the_studys_runs_reads_what_was_measured(place, small, monkeypatch):
    before = {name: path.stat().st_mtime_ns for name, path in files_of(place / "first").items()}
    for name in ("accuracy_of", "freeze", "similarity", "weight_distance"):
        monkeypatch.setattr(measurements, name, refuse)
    with working_in(place):
        assert main(["report", "first/maml-seed0", "first/anil-seed0", "--out", "page/runs.html"]) == 0
    for path in (place / "first" / "tables").glob("*.csv"):
        assert (place / "page" / "tables" / path.name).read_bytes() == path.read_bytes()
    assert "metaprobe report" in (place / "page" / "runs.html").read_text(encoding="utf-8")
    assert {name: path.stat().st_mtime_ns for name, path in files_of(place / "first").items()} == before


def test_a_report_may_be_written_into_a_runs_folder(place, small, tmp_path):
    shutil.copytree(place / "first", tmp_path / "first")
    runs = [str(tmp_path / "first" / run) for run in ("maml-seed0", "anil-seed0")]
    tables = files_of(tmp_path / "first" / "maml-seed0" / "measured")
    before = {name: path.read_bytes() for name, path in tables.items()}
    with working_in(place), pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            assert main(["report", *runs, "--out", f"{runs[0]}/report.html"]) == 0
            for name in ("accuracy_of", "freeze", "similarity", "weight_distance"):
                patch.setattr(measurements, name, refuse)
    assert {name: path.read_bytes() for name, path in tables.items()} == before


def test_a_report_prints_the_commands_that_make_it_again(place, small):
    with working_in(place):
        assert main(["report", "first/maml-seed0", "first/anil-seed0", "--out", "again/runs.html"]) == 0
    page = html.unescape((place / "again" / "runs.html").read_text(encoding="utf-8"))
    for name in ("maml-seed0", "anil-seed0"):
        config = RunFolder(place / "first" / name).read_config()
        assert train_command(config, name) in page
        assert trained(train_command(config, name)) == (config, name)
    assert "metaprobe report maml-seed0 anil-seed0 --out runs.html\n" in re.sub(r"<[^>]+>", "", page)
    assert "seen from the folder in which the command is given" in page


def trained(command):
    """What the command line makes of a train command."""
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probe.cli.training.load_data", lambda *_: None)
        patch.setattr("trainers.outer_loop.train", lambda config, _, folder: asked.append((config, str(folder))))
        with pytest.raises(AttributeError):  # no checkpoint comes back
            main(shlex.split(command)[1:])
    return asked[0]


def test_a_train_command_names_only_what_is_no_default():
    command = train_command(TrainConfig("maml", "glyphs", adapt_norm=False, clip=10.0, seed=2), "my runs")
    assert command == "metaprobe train maml --data glyphs --seed 2 --clip 10.0 --no-adapt-norm --out 'my runs'"
    assert trained(command)[0] == TrainConfig("maml", "glyphs", adapt_norm=False, clip=10.0, seed=2)


def test_as_many_tasks_as_are_measured_on_every_run_or_as_asked_for(place, tmp_path, monkeypatch):
    plans = []

    def stop(folder, imageset, plan):
        plans.append((plan.tasks, plan.capture_tasks))
        raise MetaprobeError("stop")

    monkeypatch.setattr(measurements, "measure_run", stop)
    shutil.copytree(place / "first", tmp_path / "first")
    runs = [str(tmp_path / "first" / run) for run in ("maml-seed0", "anil-seed0")]
    with working_in(place):
        for more in ((), ("--tasks", "7"), ("--capture-tasks", "9"), ("--tasks", "0")):
            assert main(["report", *runs, "--out", str(tmp_path / "page.html"), *more]) == 2
        (tmp_path / "first" / "anil-seed0" / "measured" / "accuracy.json").unlink()
        assert main(["report", *runs, "--out", str(tmp_path / "page.html")]) == 2
    assert plans == [(4, 3), (7, 3), (4, 9), (PRESETS["full"].tasks, PRESETS["full"].capture_tasks)]


def test_only_maml_brings_the_untrained_network(measured, small, tmp_path, monkeypatch):
    shutil.copytree(measured[0].path, tmp_path / "maml")
    for seed in (0, 1):
        folder = RunFolder(tmp_path / f"fomaml{seed}")
        train(tiny("fomaml", iterations=3, inner_steps=1, seed=seed), IMAGESET, folder.path)
        table = measure_run(folder, IMAGESET, PLAN)
        assert {row.algorithm for row in table.rows} == {"fomaml"}
    monkeypatch.setattr("trainers.tasks.load_imageset", lambda *_, **__: IMAGESET)
    runs = [tmp_path / name for name in ("maml", "fomaml0", "fomaml1")]
    STUDIES["raghu2020"].report(runs, tmp_path / "page" / "report.html", None, 3, 2)
    assert "fomaml" in page_of(tmp_path / "page").lower()


def test_runs_that_do_not_belong_together_are_refused(measured, tmp_path, capsys):
    other = tmp_path / "other"
    train(tiny(iterations=1, n_way=2, val_tasks=2, seed=1), IMAGESET, other)
    out = tmp_path / "page" / "report.html"
    run = measured[0].path
    report = STUDIES["raghu2020"].report
    with pytest.raises(MetaprobeError, match=r"must agree in n_way; got 3 in .*run, 2 in .*other"):
        report([run, other], out, None, None, None)
    with pytest.raises(MetaprobeError, match=r"a report needs at least one run"):
        report([], out, None, None, None)
    with pytest.raises(MetaprobeError, match=r"run is given twice"):
        report([run, run.parent / "." / "run"], out, None, None, None)
    shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(MetaprobeError, match=r"run and .*copy are both maml with seed 0"):
        report([run, tmp_path / "copy"], out, None, None, None)
    assert main(["report", str(tmp_path), "--out", str(out)]) == 3
    assert "is no run" in capsys.readouterr().err
    assert not out.parent.exists()


def test_an_unfinished_run_is_refused_with_what_finishes_it(run, tmp_path):
    last = load_checkpoint(run.checkpoint("last"))
    save_checkpoint(run.checkpoint("last"), dataclasses.replace(last, iteration=2))
    with pytest.raises(MetaprobeError, match=r"unfinished, at iteration 2 of 3; `metaprobe train maml .* --out .*run`"):
        STUDIES["raghu2020"].report([run.path], tmp_path / "report.html", None, None, None)
    run.checkpoint("last").unlink()
    with pytest.raises(MetaprobeError, match=r"unfinished, at iteration 0 of 3"):
        STUDIES["raghu2020"].report([run.path], tmp_path / "report.html", None, None, None)


def test_labels_of_runs_tell_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_labels([Path("a/maml"), Path("a/anil")]) == ("maml", "anil")
    assert run_labels([Path("a/maml"), Path("b/maml")]) == ("a/maml", "b/maml")
    assert run_labels([Path()]) == (tmp_path.name,)


# --- requests ---


def parsed(command):
    """What the command line makes of a command."""
    asked = []

    def run(request, out, data_root, download):
        asked.append((request, str(out), data_root, download))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(STUDIES, "raghu2020", dataclasses.replace(STUDIES["raghu2020"], run=run))
        assert main(shlex.split(command)[1:]) == 0
    return asked[0]


optional = st.none() | st.integers(1, 10**6)
requests = st.builds(
    StudyRequest,
    data=st.sampled_from(
        ["glyphs", "omniglot", "class_folder:my 'old' pictures", "class_folder:$HOME;x", "class_folder:é"]
    ),
    preset=st.sampled_from(list(PRESETS)),
    iterations=optional,
    seeds=optional,
    tasks=optional,
    capture_tasks=optional,
    val_tasks=st.none() | st.integers(2, 10**6),
    n_way=st.integers(2, 30),
    inner_lr=st.floats(1e-12, 1e6),
    norm=st.sampled_from(["transductive", "non-transductive"]),
    image_size=optional,
    device=st.sampled_from(["cpu", "cuda:1"]),
)


@settings(max_examples=12, deadline=None)
@given(requests)
def test_the_command_on_the_page_asks_for_the_same_again(request):
    assert parsed(request.command("raghu2020"))[0] == request


def test_a_bare_command_is_the_quick_preset_in_a_folder_of_its_own():
    command = StudyRequest().command("raghu2020")
    assert command == "metaprobe study raghu2020 --data glyphs --preset quick"
    assert parsed(command) == (StudyRequest(), "runs/raghu2020-glyphs-quick", None, False)
    request, out, _, download = parsed("metaprobe study raghu2020 --data class_folder:a/b --download")
    assert (request.data, out, download) == ("class_folder:a/b", "runs/raghu2020-class_folder-quick", True)


def test_what_is_asked_for_replaces_the_preset():
    assert StudyRequest().amount() == PRESETS["quick"]
    request = StudyRequest(preset="full", tasks=7)
    assert request.amount() == dataclasses.replace(PRESETS["full"], tasks=7)
    config = dataclasses.replace(request, n_way=20, inner_lr=0.5, norm="non-transductive").run_config("anil", 2)
    assert (config.algorithm, config.seed, config.iterations) == ("anil", 2, PRESETS["full"].iterations)
    assert (config.n_way, config.inner_lr, config.norm, config.val_every) == (20, 0.5, "non-transductive", 1500)


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        *(
            (name, 0, 1)
            for name in ("iterations", "seeds", "tasks", "capture_tasks", "n_shot", "n_query", "inner_steps")
        ),
        *((name, -3, 1) for name in ("meta_batch", "image_size", "chunk", "seeds")),
        ("val_tasks", 1, 2),
        ("n_way", 1, 2),
    ],
)
def test_what_cannot_be_is_told_before_any_work(name, value, least, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flag = f"--{name.replace('_', '-')}"
    assert main(["study", "raghu2020", flag, str(value)]) == 2
    assert f"{flag} must be at least {least} and below 2³¹; got {value}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_rate_that_cannot_be_is_told():
    with pytest.raises(MetaprobeError, match=r"--inner-lr must be above 0 and finite; got nan"):
        StudyRequest(inner_lr=float("nan"))


def test_unknown_studies_and_presets_are_named(capsys):
    with pytest.raises(MetaprobeError, match=r"unknown study 'raghu2021'\. Did you mean raghu2020\? Known: raghu2020"):
        study_named("raghu2021")
    with pytest.raises(MetaprobeError, match=r"unknown preset 'quik'\. Did you mean quick\? Known: quick, full"):
        StudyRequest(preset="quik")
    assert main(["study", "raghu2020", "--preset", "quik"]) == 2
    assert "Did you mean quick" in capsys.readouterr().err
