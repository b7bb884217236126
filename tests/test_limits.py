"""Absurd sizes and rates are a sentence, before anything is built."""

import dataclasses

import pytest
import torch

from metaprobe.probe.cli import main
from metaprobe.probe.store.metadata import LARGEST_SET
from metaprobe.trainers.beginning import check_room, network_config_for
from metaprobe.trainers.config import Adaptation, TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.evaluate import sampler_for
from metaprobe.trainers.limits import MOST_TASKS, fits_float32, parameters_of
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.outer_loop import train

CPU = torch.device("cpu")
SMALL = {"n_way": 3, "n_query": 2, "iterations": 1, "meta_batch": 2, "inner_steps": 1, "filters": 4, "val_tasks": 2}


def test_a_rate_is_one_in_float32():
    assert [fits_float32(value) for value in (1e-45, 0.1, 3.4e38)] == [True] * 3
    assert not any(map(fits_float32, (0.0, -0.1, 1e-46, 3.5e38, 1e300, float("inf"), float("nan"))))


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        *((name, value, "must be above 0 and finite in float32") for name in ("inner_lr", "outer_lr", "clip")
          for value in (1e300, 1e-300)),
        *((name, 1_000_001, "at most 1,000,000; got 1000001") for name in ("val_tasks", "cluster_tasks")),
        ("inner_steps", 2**31 - 1, "at most 100,000"),
        ("meta_batch", 2**31, "below 2³¹"),
        ("data", "class_folder:\udcff", r"--data class_folder:\\udcff is no UTF-8"),
        ("base", "\udcff.safetensors", "is no UTF-8"),
    ],
)  # fmt: skip
def test_options_of_a_run(option, value, told):
    with pytest.raises(MetaprobeError, match=told):
        TrainConfig(**{"algorithm": "maml", "data": "toy", option: value})


def test_an_adaptation_that_a_file_asks_for():
    for steps, rate in ((100_001, 0.1), (1, 1e300), (1, float("inf")), (1, float("nan")), (-1, 0.1)):
        with pytest.raises(MetaprobeError, match=r"an adaptation (takes 100,000 steps at most|needs steps >= 0)"):
            Adaptation(("head",), rate, steps)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"meta_batch": 2**31 - 1}, "lower --meta-batch"),
        ({"filters": 4096, "blocks": 64}, "lower --filters, --blocks or --n-way"),
        ({"filters": 2**31 - 1}, "a network's filters must be from 1 to 4096"),
        ({"n_query": 2**31 - 1}, "lower one of them"),
    ],
)
def test_a_run_that_no_memory_holds_is_refused_before_it_is_made(toy, tmp_path, monkeypatch, options, told):
    monkeypatch.setattr("metaprobe.trainers.outer_loop.begin_network", None)  # which is not called
    with pytest.raises(MetaprobeError, match=told) as error:
        train(TrainConfig("maml", "toy", **(SMALL | options)), toy, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_only_what_is_seen_at_once_counts_of_the_maps(toy):
    config = TrainConfig("maml", "toy", **(SMALL | {"meta_batch": 100_000, "filters": 64}))
    shape = network_config_for(config, toy)
    check_room(config, shape, config.meta_batch, CPU)
    with pytest.raises(MetaprobeError, match=r"needs at least [\d,.]+ GB of memory, and there are [\d,.]+ GB; lower"):
        check_room(dataclasses.replace(config, chunk=2**31 - 1), shape, config.meta_batch, CPU)


@pytest.mark.parametrize("downsample", ["stride", "max-pool"])
def test_parameters_are_counted_by_shape(toy, downsample):
    config = TrainConfig("maml", "toy", **(SMALL | {"blocks": 5, "downsample": downsample}))
    shape = network_config_for(config, toy)
    network = build_network(shape, 0)
    assert parameters_of(shape) == sum(value.numel() for value in network.parameters())  # one pixel is left of 28


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, toy):
    return train(TrainConfig("maml", "toy", **SMALL), toy, tmp_path_factory.mktemp("limits") / "run")


def test_a_test_set_that_no_memory_holds(toy, checkpoint, monkeypatch):
    monkeypatch.setattr("metaprobe.trainers.limits.os.sysconf", lambda _: 100)
    with pytest.raises(MetaprobeError, match="lower --n-query"):
        sampler_for(checkpoint, toy, n_query=4)


@pytest.mark.parametrize("command", ["evaluate", "capture", "distance", "freeze", "clusters"])
def test_commands_take_a_million_tasks_at_most(command, tmp_path, capsys, checkpoint, toy, monkeypatch):
    monkeypatch.setattr("metaprobe.trainers.checkpoint.load_checkpoint", lambda _: checkpoint)
    monkeypatch.setattr("metaprobe.analyses.clustering.clusters.clusters_of", lambda *_: None)
    for place in ("training.load_data", "measuring.load_data", "distances.load_data", "clusters.load_images"):
        monkeypatch.setattr(f"metaprobe.probe.cli.{place}", lambda *_, **__: toy)  # no task is drawn from it
    more = ["--out", str(tmp_path / "store.h5")] if command == "capture" else []
    for tasks in ("1000001", "99999999999999999999", "0"):
        assert main([command, "last.safetensors", "--tasks", tasks, *more]) == 2
        assert f"--tasks must be at least 1 and at most 1,000,000; got {tasks}" in capsys.readouterr().err
    assert LARGEST_SET == MOST_TASKS


def test_workers_and_jobs_are_no_more_than_can_be(capsys):
    assert main(["train", "maml", "--data", "glyphs", "--workers", "2147483647"]) == 2
    assert "--workers 2147483647 cannot share --meta-batch 16" in capsys.readouterr().err
    assert main(["study", "raghu2020", "--jobs", "2147483647"]) == 2
    assert "--jobs must be at least 1 and at most 1024; got 2147483647" in capsys.readouterr().err
