"""Measuring a run: what is kept, what is measured again, and what is in the table."""

import dataclasses
import shutil

import pytest

from analyses.table import COLUMNS, Table
from reports.studies import kept
from reports.studies.raghu2020 import measurements
from reports.studies.raghu2020.measurements import learning_curves
from tests.conftest import make_imageset
from tests.study_runs import IMAGESET, MEASUREMENTS, PLAN, measure_run, steady
from tests.test_training import tiny
from trainers.checkpoint import load_checkpoint, save_checkpoint
from trainers.outer_loop import train
from trainers.run import RunFolder


@pytest.fixture(scope="module", autouse=True)
def clock():
    """Times differ between two runs; the rest must not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analyses.testing.timing._seconds", steady)
        yield


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

    for name in MEASUREMENTS:
        monkeypatch.setattr(measurements, name, counting(name, getattr(measurements, name)))
    return counts


def test_what_was_measured_is_read(measured, run, counted):
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == set()


def test_another_checkpoint_data_set_or_plan_is_measured_anew(measured, run, counted):
    last = load_checkpoint(run.checkpoint("last"))
    moved = {name: value + 0.01 for name, value in last.params.items()}
    save_checkpoint(run.checkpoint("last"), dataclasses.replace(last, params=moved))
    table = measure_run(run, IMAGESET, PLAN)
    assert counted == MEASUREMENTS
    ids = {row.checkpoint for row in table.rows if row.iteration == 3 and row.checkpoint}
    assert ids == {load_checkpoint(run.checkpoint("last")).fingerprint[:12]}
    assert ids.isdisjoint({row.checkpoint for row in measured[1].rows})
    counted.clear()
    assert measure_run(run, IMAGESET, PLAN) == table
    assert counted == set()
    measure_run(run, make_imageset(n_classes=12, per_class=18, size=8, seed=1), PLAN)
    assert counted == MEASUREMENTS
    counted.clear()
    measure_run(run, make_imageset(n_classes=12, per_class=18, size=8, seed=1), dataclasses.replace(PLAN, tasks=2))
    assert counted == MEASUREMENTS


@pytest.mark.parametrize("name", ["freeze", "similarity_over_seeds"])
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
    first = {"accuracy", "freezing-third"}
    more = {"freezing-two-thirds", "freezing-last", "distance", "similarity-third-of-0"}
    assert done == (first if name == "freeze" else first | more)
    assert not list(run.path.rglob("*.part"))
    counted.clear()
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    later = {"similarity_over_seeds", "time_learners"}
    assert counted == (later | {"freeze", "weight_distance"} if name == "freeze" else later)


def test_a_table_without_its_note_is_not_trusted(measured, run, counted):
    (run.path / "measured" / "accuracy.csv").write_text("half a tab")
    (run.path / "measured" / "accuracy.json").unlink()
    assert measure_run(run, IMAGESET, PLAN) == measured[1]
    assert counted == {"accuracy_of", "compare_heads"}


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
    monkeypatch.setattr(measurements if name == "TEST_QUERIES" else kept, name, other[name])
    measure_run(run, IMAGESET, PLAN)
    assert counted == MEASUREMENTS


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
