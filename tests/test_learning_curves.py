"""What a run noted down while it trained, as rows."""

import numpy as np
import pytest

from metaprobe.analyses.learning_curves import learning_curves
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.interval_coverage import solved
from tests.test_training import tiny

VALIDATED = {
    "val_iteration": 2,
    "val_loss": 0.75,
    "val_loss_half_width": 0.25,
    "val_accuracy": 60.0,
    "val_accuracy_half_width": 8.0,
}


@pytest.mark.parametrize("single", [{}, {"val_task_accuracy": [50.0, 70.0], "val_task_loss": [0.5, 1.0]}])
def test_a_point_a_validation_and_means_of_training_between(tmp_path, single):
    folder = RunFolder(tmp_path)
    folder.claim(tiny(iterations=5, val_every=2, seed=3, meta_batch=4, val_tasks=8))
    for iteration in (1, 2, 3, 4, 5):
        record = {
            "iteration": iteration,
            "train_loss": 2.0**-iteration,
            "train_accuracy": 10.0 * iteration,
            "seconds": 0.5,
        }
        folder.append_metrics(record | (VALIDATED | single if iteration in (2, 4, 5) else {}))
    curves = learning_curves(folder)
    assert {(row.algorithm, row.seed, row.source) for row in curves.rows} == {("maml", 3, "metrics.jsonl")}
    means = [row for row in curves.rows if row.task is None]
    assert len(means) == 12
    train_loss = [(row.iteration, row.value, row.n) for row in means if row.measure == "train_loss"]
    assert train_loss == [(2, 0.375, 8), (4, 0.09375, 8), (5, 0.03125, 4)]
    accuracy = [(row.iteration, row.value) for row in means if row.measure == "train_accuracy"]
    assert accuracy == [(2, 15.0), (4, 35.0), (5, 50.0)]
    found = {(row.measure, row.value, row.low, row.high, row.n) for row in means if row.measure.startswith("val")}
    ends = solved(0.75, 0.25, (0.0, np.inf)), solved(60.0, 8.0, (0.0, 100.0))
    assert sorted(found) == [
        ("val_accuracy", 60.0, *map(pytest.approx, ends[1]), 8),
        ("val_loss", 0.75, *map(pytest.approx, ends[0]), 8),
    ]
    tasks = [(row.iteration, row.task, row.measure, row.value, row.n) for row in curves.rows if row.task is not None]
    numbers = {"val_loss": (0.5, 1.0), "val_accuracy": (50.0, 70.0)}
    expected = [(at, i, name, x, 1) for at in (2, 4, 5) for name, each in numbers.items() for i, x in enumerate(each)]
    assert tasks == (expected if single else [])


@pytest.mark.parametrize("algorithm", ["maml", "anil"])
def test_a_run_notes_down_each_validation_task(tmp_path, toy, algorithm):
    train(tiny(algorithm), toy, tmp_path / "run")
    rows = [row for row in learning_curves(RunFolder(tmp_path / "run")).rows if row.measure.startswith("val")]
    for mean in (row for row in rows if row.task is None):
        alike = [row for row in rows if (row.iteration, row.measure) == (mean.iteration, mean.measure)]
        tasks = [row for row in alike if row.task is not None]
        assert [row.task for row in tasks] == list(range(mean.n))
        assert np.mean([row.value for row in tasks]) == pytest.approx(mean.value, abs=1e-4)
