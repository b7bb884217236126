"""Learned rates as rows, and how steadily a run learned."""

import dataclasses

import numpy as np
import pytest
import torch

from metaprobe.analyses.learned_rates import learned_rates
from metaprobe.analyses.stability import training_stability
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import TASK_ACCURACY, RunFolder
from tests.test_training import tiny


def trained(toy, folder, **changes):
    train(tiny(outer_lr=0.1, inner_lr=0.2, **changes), toy, folder)
    return load_checkpoint(RunFolder(folder).checkpoint("last"))


@pytest.mark.parametrize(("rule", "place"), [("lslr", "conv1.conv.weight"), ("lslr_layer", "conv1")])
def test_rows_are_the_rates_of_the_checkpoint_and_their_mean_size_over_the_first_ones(rule, place, toy, tmp_path):
    checkpoint = trained(toy, tmp_path / "r", update_rule=rule, rates_start=0.4)
    negative, full = dict(checkpoint.rule), f"update_rule.{place}.rates"
    negative[full] = negative[full] * torch.tensor([-1.0, 1.0])  # a rate may turn
    found = learned_rates(dataclasses.replace(checkpoint, rule=negative)).rows
    own = [row for row in found if row.layer == "conv1"]
    values = negative[full].double().numpy()
    assert [(row.step, row.value) for row in own if row.measure == "learned_rate"] == list(enumerate(values, 1))
    (kept,) = (row.value for row in own if row.measure == "rate_kept")
    assert kept == pytest.approx(np.abs(values).mean() / 0.4)
    assert {row.layer for row in found} == {"conv1", "conv2", "conv3", "conv4", "head"}


def test_a_rule_without_rates_by_step_is_told(toy, tmp_path):
    checkpoint = trained(toy, tmp_path / "r", update_rule="meta_sgd")
    with pytest.raises(MetaprobeError, match=r"update rule meta_sgd, which has no rate for each step; train with"):
        learned_rates(checkpoint)


def test_the_mean_over_training_and_falls_are_those_of_the_validations(toy, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "r")
    trained(toy, folder.path, iterations=2, val_every=1)
    noted = {2: [50.0, 70.0], 1: [20.0, 40.0], 3: [40.0, 64.0], 4: [44.0, 50.0]}  # means 60, 30, 52, 47
    monkeypatch.setattr(RunFolder, "read_tasks", lambda self, name: noted if name == TASK_ACCURACY else {})
    rows = {(row.measure, row.task): row for row in training_stability(folder).rows}
    assert rows["val_mean", None].value == pytest.approx((30 + 60 + 52 + 47) / 4)
    assert [rows["val_mean", task].value for task in (0, 1)] == [pytest.approx(38.5), pytest.approx(56.0)]
    assert rows["val_mean", None].iteration == 4
    falls = rows["val_falls", None]
    assert (falls.value, falls.n, falls.low) == (pytest.approx(100 / 3), 3, None)  # 60 → 52; 52 → 47 is no more than 5
    monkeypatch.setattr(RunFolder, "read_tasks", lambda self, name: {1: [20.0, 40.0]})
    with pytest.raises(MetaprobeError, match=r"1 validations with the accuracy of each task"):
        training_stability(folder)


def test_rates_that_never_moved_are_as_they_began(toy, tmp_path):
    checkpoint = trained(toy, tmp_path / "r", update_rule="lslr")
    rule = {name: torch.full_like(value, 0.2) for name, value in checkpoint.rule.items()}
    rows = learned_rates(dataclasses.replace(checkpoint, rule=rule)).rows
    kept = [row.value for row in rows if row.measure == "rate_kept"]
    assert kept == [pytest.approx(1.0, abs=1e-6)] * 5
