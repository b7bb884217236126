"""Tiny runs of TSA-MAML that several test modules look at, each trained once."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaprobe.trainers.outer_loop import train
from metaprobe.trainers.run import RunFolder
from tests.conftest import make_imageset
from tests.test_training import tiny

LAYERS = ["conv1", "conv2", "conv3", "conv4", "head"]
RUNS: dict[str, dict[str, Any]] = {
    "two": {"clusters": 2},
    "two, seed 1": {"clusters": 2, "seed": 1},
    "three": {"clusters": 3},
    "one": {"clusters": 1},
    "body": {"clusters": 2, "clustered": "body", "assign_to": "initialisations"},
    "head": {"clusters": 2, "clustered": "head"},
    "orders": {"clusters": 2, "cluster_steps": 3, "label_orders": 4, "cluster_norms": True},
    "symmetric": {"clusters": 2, "clustered": "body", "symmetric_head": True},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The checkpoints of tiny runs by name: "maml", and those of TSA-MAML that start from it."""
    return _trained(tmp_path_factory.getbasetemp() / "clustered-runs")


@functools.cache
def _trained(folder: Path) -> dict[str, Path]:
    images = make_imageset(size=20)
    base = str(RunFolder(folder / "maml").checkpoint("last"))
    clustered = {"algorithm": "tsa_maml", "base": base, "cluster_tasks": 12}
    for name, options in {"maml": {}, **{name: clustered | more for name, more in RUNS.items()}}.items():
        asked: dict[str, Any] = {"filters": 8, "iterations": 2, "val_tasks": 2, "val_every": 2} | options
        train(tiny(**asked), images, folder / name)
    return {name: RunFolder(folder / name).checkpoint("last") for name in ("maml", *RUNS)}


def vector(tensors: dict[str, np.ndarray], part: str, names: list[str], cluster: int | None = None) -> np.ndarray:
    """Return parameters of a file as one vector: of one cluster, or of the base."""
    rows = [tensors[part + name] if cluster is None else tensors[part + name][cluster] for name in names]
    return np.concatenate([row.ravel() for row in rows]).astype("f8")
