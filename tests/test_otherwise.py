"""Tests of a checkpoint that are otherwise than its training: images, ways, shots, rates; and what a base decides."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from metaprobe.analyses.freezing import TestPlan, accuracy_of, freeze
from metaprobe.analyses.similarity import similarity
from metaprobe.probe.capturing.from_checkpoint import capture_checkpoint
from metaprobe.probe.cli import main
from metaprobe.trainers.as_tested import as_tested
from metaprobe.trainers.checkpoint import load_checkpoint
from metaprobe.trainers.config import TrainConfig
from metaprobe.trainers.errors import MetaprobeError
from metaprobe.trainers.from_base import completed_from_base
from metaprobe.trainers.networks import build_network
from metaprobe.trainers.otherwise import AS_TRAINED, Otherwise
from metaprobe.trainers.outer_loop import train
from tests.conftest import make_imageset

CONFIG = TrainConfig(
    "maml", "toy", n_way=3, n_shot=2, n_query=3, seed=5, iterations=2, meta_batch=2, inner_steps=2, filters=4,
    val_tasks=2, val_query=4, chunk=2, gradient="unrolled",
)  # fmt: skip
IMAGESET = make_imageset(n_classes=18, per_class=10, size=8)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and beside it class folders of other images, ten a class: RGB, of 12 pixels."""
    folder = tmp_path_factory.mktemp("otherwise")
    train(CONFIG, IMAGESET, folder / "run")
    other = make_imageset(n_classes=15, per_class=10, size=12, channels=3, seed=1)
    for class_id, (name, split) in enumerate(zip(other.class_names, other.splits, strict=True)):
        place = folder / "pictures" / split / name
        place.mkdir(parents=True)
        for image in other.images_of(class_id):
            Image.fromarray(np.moveaxis(other.images[image], 0, 2)).save(place / f"{image}.png")
    return folder


@pytest.fixture(scope="module")
def path(base: Path) -> Path:
    return base / "run/checkpoints/last.safetensors"


def test_a_new_head_is_the_networks_own_start_and_the_body_is_kept(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    assert as_tested(checkpoint, AS_TRAINED) == checkpoint
    assert as_tested(checkpoint, Otherwise(n_way=3)).params is checkpoint.params
    tested = as_tested(checkpoint, Otherwise(n_way=4, n_shot=1, inner_lr=0.3))
    fresh = dict(build_network(dataclasses.replace(checkpoint.network_config, n_way=4), 5).named_parameters())
    for name, value in tested.network().named_parameters():
        assert torch.equal(value, fresh[name] if name.startswith("head.") else checkpoint.params[name])
    assert (tested.config.n_way, tested.config.n_shot, tested.adaptation.inner_lr) == (4, 1, 0.3)


def test_rows_say_what_is_otherwise_and_keep_the_checkpoints_name(path: Path) -> None:
    checkpoint, plan = load_checkpoint(path), TestPlan(tasks=3, n_query=2, per_task=True)
    assert not any(row.reason for row in accuracy_of(checkpoint, IMAGESET, plan).rows if row.task is not None)
    for otherwise, told in (
        (Otherwise(n_way=4), "4 ways under a new head, drawn with seed 5 (trained: 3)"),
        (Otherwise(n_shot=1), "1 shot (trained: 2)"),
        (Otherwise(n_query=2), "2 queries a class (trained: 3)"),
        (Otherwise(inner_lr=0.3), "inner rate 0.3 (trained: 0.1)"),
        (Otherwise(image_size=8, colour="grey"), "images brought to 8 × 8 and turned grey"),
    ):
        found = freeze(path, IMAGESET, dataclasses.replace(plan, otherwise=otherwise), nil_head=True)
        assert all(told in str(row.reason) for row in found.rows)
        assert {row.checkpoint for row in found.rows if row.algorithm == "maml"} == {checkpoint.fingerprint[:12]}
    before = accuracy_of(checkpoint, IMAGESET, plan)
    assert (
        accuracy_of(checkpoint, IMAGESET, dataclasses.replace(plan, otherwise=Otherwise(n_way=3, n_shot=2))) == before
    )


def test_a_capture_and_its_similarities_say_it_too(path: Path, tmp_path: Path) -> None:
    for otherwise, told in ((AS_TRAINED, None), (Otherwise(n_way=2, n_shot=3, inner_lr=0.2, image_size=8), "2 ways")):
        out = capture_checkpoint(path, IMAGESET, tmp_path / "store.h5", tasks=3, n_query=3, otherwise=otherwise)
        rows = similarity(out, replicates=0, permutations=0).rows
        assert all(told in str(row.reason) if told else "ways" not in str(row.reason) for row in rows)
    assert "3 shots (trained: 2); inner rate 0.2 (trained: 0.1); images brought to 8 × 8" in str(rows[0].reason)


@pytest.mark.parametrize("wrong", [{"n_way": 1}, {"n_shot": 0}, {"inner_lr": 0.0}, {"inner_lr": float("nan")}])
def test_numbers_that_no_task_can_have_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(MetaprobeError, match=r"--(n-way|n-shot|inner-lr) must be"):
        Otherwise(**wrong)  # pyright: ignore[reportArgumentType]


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.mark.parametrize(
    "command", ["evaluate", "freeze", "distance", "capture"],
)  # fmt: skip
def test_a_learner_is_tested_on_images_of_another_size_and_colour(
    command: str, base: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, path, "--data", f"class_folder:{base / 'pictures'}", "--tasks", 2, "--n-query", 4]
    words += ["--out", tmp_path / "store.h5"] if command == "capture" else ["--json"]
    assert run(*words) == 2
    assert "bring this one to its shape: --image-size 8 --colour grey" in capsys.readouterr().err
    assert run(*words, "--image-size", 8) == 2
    assert "its shape: --colour grey" in capsys.readouterr().err
    assert run(*words, "--image-size", 8, "--colour", "grey", "--n-way", 4, "--n-shot", 1, "--inner-lr", 0.2) == 0
    if command == "capture":
        assert run("similarity", tmp_path / "store.h5", "--json") == 0
        rows = json.loads(capsys.readouterr().out.partition("\n")[2])
    else:
        rows = json.loads(capsys.readouterr().out)
    for row in rows:
        for told in (
            "4 ways under a new head",
            "1 shot (",
            "inner rate 0.2",
            "images brought to 8 × 8 and turned grey",
        ):
            assert told in row["reason"] or row["status"] == "undefined"


def test_validation_asks_for_as_many_queries_as_training(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "maml", "--data", f"class_folder:{base / 'pictures'}", "--n-way", 3, "--iterations", 1]
    words += ["--meta-batch", 2, "--filters", 4, "--inner-steps", 1, "--val-tasks", 2, "--chunk", 2, "--image-size", 16]
    assert run(*words, "--out", tmp_path / "large") == 2
    assert "has 10 images; n_shot=1 + n_query=15 needs 16" in capsys.readouterr().err
    assert run(*words, "--n-query", 3, "--val-query", 10, "--out", tmp_path / "val") == 2
    assert "val split" in capsys.readouterr().err
    for name, more, queries in (("own", [], 3), ("told", ["--val-query=9"], 9)):
        assert run(*words, "--n-query", 3, *more, "--out", tmp_path / name) == 0
        assert load_checkpoint(tmp_path / name / "checkpoints/last.safetensors").config.val_query == queries
        assert run(*words, "--n-query", 3, "--out", tmp_path / name) == 0  # a resume, with its queries


def test_a_run_of_before_goes_on_with_its_fifteen_queries(tmp_path: Path) -> None:
    """Files of earlier versions do not name them."""
    config = dataclasses.replace(CONFIG, data="glyphs", val_query=15, filters=2, n_way=2)
    from metaprobe.trainers.tasks import load_imageset

    train(config, load_imageset("glyphs"), tmp_path / "run")
    assert "val_query" not in (tmp_path / "run/config.toml").read_text()
    words = ["--n-way", 2, "--n-shot", 2, "--n-query", 3, "--seed", 5, "--iterations", 2, "--meta-batch", 2]
    words += ["--inner-steps", 2, "--filters", 2, "--val-tasks", 2, "--chunk", 2, "--gradient", "unrolled"]
    assert run("train", "maml", "--data", "glyphs", *words, "--out", tmp_path / "run") == 0


def test_a_base_brings_images_way_and_network(base: Path, path: Path, tmp_path: Path) -> None:
    data = f"class_folder:{base / 'pictures'}"
    words = ["--n-query", 3, "--iterations", 1, "--meta-batch", 2, "--inner-steps", 1, "--val-tasks", 2, "--chunk", 2]
    assert run("train", "maml_head", "--data", data, "--base", path, *words, "--out", tmp_path / "run") == 0
    found = load_checkpoint(tmp_path / "run/checkpoints/last.safetensors")
    assert found.network_config == load_checkpoint(path).network_config
    config = TrainConfig("maml", data, base=str(path), seed=1)
    taken = completed_from_base(config, told=lambda name: False)
    assert (taken.image_size, taken.colour, taken.n_way, taken.filters) == (8, "grey", 3, 4)
    assert completed_from_base(taken, told=lambda name: False) == taken

    told = dataclasses.replace(config, image_size=16, colour="rgb", filters=7)
    kept = completed_from_base(told, told=lambda name: True)
    assert (kept.image_size, kept.colour, kept.n_way, kept.filters) == (16, "rgb", 5, 7)
    same = completed_from_base(dataclasses.replace(config, data="toy"), told=lambda name: False)
    assert (same.image_size, same.colour) == (None, None)  # as the base's run had them


def test_a_run_is_a_base_too_by_its_last_checkpoint(
    base: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, folder = f"class_folder:{base / 'pictures'}", path.parent.parent
    words = ["--n-query", 3, "--iterations", 1, "--meta-batch", 2, "--inner-steps", 1, "--val-tasks", 2, "--chunk", 2]
    assert run("train", "maml_head", "--data", data, "--base", folder, *words, "--out", tmp_path / "run") == 0
    assert "is a run; its last checkpoint is taken, checkpoints/last.safetensors" in capsys.readouterr().err
    found = load_checkpoint(tmp_path / "run/checkpoints/last.safetensors")
    assert found.provenance["base"] == load_checkpoint(folder / "checkpoints/last.safetensors").fingerprint
    assert run("train", "maml_head", "--data", data, "--base", tmp_path / "none", *words, "--out", tmp_path / "r") == 3
